"""Safe reading of state dicts from files of others."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from v2vkit.errors import V2VError
from v2vkit.weights import check_stored
from v2vkit.weights.files import refuse_pointer

State = dict[str, Tensor]

_WRAPPERS = ("state_dict", "model_state_dict", "params_ema", "params", "netG", "generator", "network", "net", "model")
"""Entries of training checkpoints that hold a network's state dict; the first one present is used."""
_PREFIXES = ("module.", "_orig_mod.")
"""Prefixes that torch's DataParallel and compile add to every name."""


def read_state(path: str | Path, *, hint: str) -> State:
    """The tensors of a `.pth` or `.safetensors` state dict on the CPU; see `read_wrapped_state`."""
    return _checked(path, _load(path, hint), hint)


def read_wrapped_state(path: str | Path, *, hint: str) -> tuple[State, tuple[str, ...]]:
    """The tensors of a state dict, also from inside a training checkpoint, without prefixes of torch's wrappers.

    No code in the file is executed.

    Args:
        path: the file.
        hint: for the error message: what to do if the file cannot be used.

    Returns:
        the tensors, and notes on the entry that was used and on removed prefixes.

    Raises:
        V2VError: missing, unreadable, not a state dict of dense tensors, or tensors larger than the stored data.
    """
    found: Any = _load(path, hint)
    notes: list[str] = []
    for _ in range(2):  # the checkpoint of a trainer inside that of a framework
        name = next((name for name in _WRAPPERS if isinstance(found, dict) and isinstance(found.get(name), dict)), None)
        if name is None:
            break
        others = ", ".join(sorted(str(key)[:40] for key in found if key != name)[:5])
        notes.append(f"{path}: the network is its entry `{name}`" + (f"; not used: {others}" if others else ""))
        found = found[name]
    state = _checked(path, found, hint)
    while (prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None)) is not None:
        notes.append(f"{path}: `{prefix}` was taken off every name")
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state, tuple(notes)


def load_exactly(network: nn.Module, state: State, *, what: str, hint: str) -> None:
    """Loads a state dict that must have the network's names and shapes, no more and no less.

    Counters of batches, which only training reads, may be absent.

    Args:
        what: the sentence for another network's weights, without its reason.

    Raises:
        V2VError: a tensor is missing, has another shape, or belongs to none of the network's.
    """
    own = network.state_dict()
    state = {key: value for key, value in own.items() if key.endswith(".num_batches_tracked")} | state
    for key in [*own, *state]:
        if key not in own or key not in state or own[key].shape != state[key].shape:
            problem = "is missing" if key not in state else "has another shape" if key in own else "is unknown"
            raise V2VError("weights-unsupported", f"{what}: `{key}` {problem}.", hint)
    network.load_state_dict(state)


def _load(path: str | Path, hint: str) -> Any:
    path = Path(path)
    if not path.is_file():
        raise V2VError("weights-missing", f"The weights {path} do not exist.", hint)
    refuse_pointer(path)
    try:
        return load_file(path) if path.suffix == ".safetensors" else _load_pth(path)
    except MemoryError:
        raise
    except zipfile.BadZipFile as error:
        raise V2VError(
            "weights-damaged", f"The weights {path} are damaged ({error}).", "Download or copy the file again."
        ) from None
    except Exception as error:  # a damaged or hostile file makes the readers raise nearly anything
        raise V2VError(
            "weights-damaged", f"The weights {path} cannot be read safely ({type(error).__name__}).", hint
        ) from None


def _checked(path: str | Path, state: Any, hint: str) -> State:
    if not isinstance(state, dict) or not state:
        raise V2VError("weights-damaged", f"{path} is not a state dict.", hint)
    for key, tensor in state.items():
        check_stored(path, key, tensor, hint=hint)
    return dict(state)


def _load_pth(path: Path) -> object:
    if zipfile.is_zipfile(path):
        _check_sums(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _check_sums(path: Path) -> None:
    """Verify the checksums of torch's zip files, which torch does not do.

    Raises:
        BadZipFile: a checksum does not match.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type == zipfile.ZIP_STORED and entry.CRC:  # torch can save without checksums
                with archive.open(entry) as file:
                    while file.read(1 << 20):
                        pass
