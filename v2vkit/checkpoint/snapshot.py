"""Snapshots of training to resume from: safetensors and JSON, never a pickle.

`state-*.safetensors` holds all weights and optimiser moments; `state.json`, written after it, names the current file
and the position in the schedule. An imported checkpoint has no training to resume; its discriminators, if any, are in
`networks.safetensors`.
"""

import hashlib

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.train_state import TrainState
from v2vkit.errors import V2VError

STATE = "state.json"
NETWORKS = "networks.safetensors"
_SCALER = ("scale", "_growth_tracker")  # the state of a GradScaler


class FittedSchedule(BaseModel):
    """What a time budget was found to leave of a schedule: `epochs` of `full_epochs`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: str
    epochs: int
    full_epochs: int


class TrainingPosition(BaseModel):
    """Position of training: the next batch, the file of the snapshot, and the schedule that a budget has left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    file: str
    sha256: str
    epoch: int
    batch: int
    steps: int
    fitted: FittedSchedule | None = None


def snapshot_tensors(state: TrainState) -> dict[str, Tensor]:
    """The tensors of a snapshot by their names in it.

    Moments that `--zero` has shared out must have been collected before (`Parallel.collect`).
    """
    tensors: dict[str, Tensor] = {f"ema/{name}": tensor for name, tensor in state.ema.items()}
    for name, module in state.modules.items():
        tensors |= {f"network/{name}/{key}": value for key, value in module.state_dict().items()}
    scaler = state.scaler.state_dict()  # empty where losses are not scaled
    tensors |= {f"scaler/{key}": torch.tensor(scaler[key]) for key in _SCALER if key in scaler}
    for name, optimizer in state.optimizers.items():
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{name}/{index}/{key}": torch.as_tensor(value) for key, value in moments.items()}
    return tensors


def save_state(
    folder: Folder,
    state: TrainState,
    *,
    fingerprint: str,
    fitted: FittedSchedule | None = None,
    tensors: dict[str, Tensor] | None = None,
) -> None:
    """Write everything that an exact resume needs, then remove the snapshot before.

    Args:
        tensors: gathered from all processes, where the state is sharded; None = `snapshot_tensors` of it.
    """
    tensors = snapshot_tensors(state) if tensors is None else tensors
    # Copied, because safetensors refuses tensors that share storage.
    data = save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})
    file = f"state-{state.steps:08d}.safetensors"
    folder.write(file, data)
    progress = TrainingPosition(
        fingerprint=fingerprint,
        file=file,
        sha256=hashlib.sha256(data).hexdigest(),
        epoch=state.epoch,
        batch=state.batch,
        steps=state.steps,
        fitted=fitted,
    )
    folder.write(STATE, progress.model_dump_json().encode())
    for name in folder.names():
        if name.startswith("state-") and name != file:
            folder.remove(name)


def _read(folder: Folder) -> tuple[TrainingPosition, dict[str, Tensor]] | None:
    """The snapshot in `folder`, None without one. Raises V2VError for a damaged one."""
    progress = read_progress(folder)
    if progress is None:
        return None
    try:
        data = folder.read(progress.file)
        if hashlib.sha256(data).hexdigest() != progress.sha256:
            raise ValueError("its checksum does not match")
        return progress, load(data)
    except (FileNotFoundError, SafetensorError, ValueError) as error:
        raise _damaged(folder, error) from None


def _damaged(folder: Folder, error: Exception) -> V2VError:
    return V2VError(
        "snapshot-damaged",
        f"The training snapshot in {folder.url} cannot be used ({str(error).splitlines()[0]}).",
        "Put it back from a copy, or train again from the beginning with --overwrite.",
    )


def read_progress(folder: Folder) -> TrainingPosition | None:
    """The position of the snapshot in `folder`, None without one; the content of its tensors is not read.

    Raises:
        V2VError: it is damaged: the position cannot be read, or the file of the tensors is gone.
    """
    try:
        progress = TrainingPosition.model_validate_json(folder.read(STATE))
    except FileNotFoundError:
        return None
    except ValidationError:
        raise _damaged(folder, ValueError(f"{STATE} is damaged")) from None
    if not folder.exists(progress.file):
        raise _damaged(folder, ValueError(f"{progress.file} is gone"))
    return progress


def verified_progress(folder: Folder) -> TrainingPosition | None:
    """As `read_progress`, and reads the whole snapshot to find damage: before files of the training are replaced."""
    found = _read(folder)
    return None if found is None else found[0]


def remove_damaged_snapshot(folder: Folder) -> bool:
    """Remove an unreadable snapshot, so that training starts from the beginning; True if there was one."""
    try:
        _read(folder)
    except V2VError:
        folder.remove(STATE)
        return True
    return False


def load_state(folder: Folder, state: TrainState, *, fingerprint: str, continued: str | None = None) -> None:
    """Restore the snapshot of this run, if there is one, into `state`: weights, moments, EMA, position in the schedule.

    Args:
        fingerprint: of this run; snapshots of other runs are ignored.
        continued: checksum of another run's snapshot that this run resumes (`--continue`).

    Raises:
        V2VError: the snapshot is damaged.
    """
    found = _read(folder)
    if found is None or (found[0].fingerprint != fingerprint and found[0].sha256 != continued):
        return
    progress, tensors = found
    try:
        for name, module in state.modules.items():
            module.load_state_dict(_below(tensors, f"network/{name}/"))
        for name, tensor in _below(tensors, "ema/").items():
            state.ema[name].copy_(tensor)
        scaler = {key: tensor.item() for key, tensor in _below(tensors, "scaler/").items()}
        if scaler and state.scaler.is_enabled():
            state.scaler.load_state_dict(state.scaler.state_dict() | scaler)
        for name, optimizer in state.optimizers.items():
            moments: dict[int, dict[str, Tensor]] = {}
            for path, tensor in _below(tensors, f"optimizer/{name}/").items():
                index, _, key = path.partition("/")
                moments.setdefault(int(index), {})[key] = tensor
            groups, start = [], 0
            for group in optimizer.param_groups:
                numbers = list(range(start, start := start + len(group["params"])))
                groups.append(group | {"params": numbers})
            optimizer.load_state_dict({"state": moments, "param_groups": groups})
            # Files hold contiguous tensors; fused Adam needs the layout of the weights, and does not check it on a CPU.
            for parameter, values in getattr(optimizer, "optim", optimizer).state.items():  # this process's share
                for key, value in values.items():
                    if value.shape == parameter.shape:
                        values[key] = torch.empty_like(parameter).copy_(value)
                    elif optimizer.defaults.get("fused"):  # counts of steps, which sharding leaves on the CPU
                        values[key] = value.to(parameter.device)
    except (ValueError, KeyError, RuntimeError):
        raise _damaged(folder, ValueError(f"{progress.file} holds other networks or optimisers")) from None
    state.epoch, state.batch, state.steps = progress.epoch, progress.batch, progress.steps


def save_networks(folder: Folder, networks: dict[str, dict[str, Tensor]]) -> None:
    """Write the weights of each network; `read_networks` reads them when another training starts from them."""
    tensors = {f"network/{name}/{key}": value for name, state in networks.items() for key, value in state.items()}
    folder.write(NETWORKS, save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}))


def read_networks(folder: Folder) -> dict[str, dict[str, Tensor]]:
    """Network -> its weights, from the snapshot in `folder`; of an imported checkpoint, from `networks.safetensors`.

    Empty if neither can be read.
    """
    try:
        snapshot = _read(folder)
        tensors = snapshot[1] if snapshot else load(folder.read(NETWORKS))
    except (V2VError, FileNotFoundError, SafetensorError):
        return {}
    found: dict[str, dict[str, Tensor]] = {}
    for path, tensor in _below(tensors, "network/").items():
        name, _, key = path.partition("/")
        found.setdefault(name, {})[key] = tensor
    return found


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
