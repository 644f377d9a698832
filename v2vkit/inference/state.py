"""The state of an unfinished rendering in a file: `render --save-state` and `--resume-state`.

A safetensors file: the past frames and source maps of every rollout as tensors, and a JSON description (`RenderState`)
in the header. Memory layouts are kept, because the rounding of a convolution depends on them.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.errors import V2VError
from v2vkit.inference.anchor import ColourAnchor
from v2vkit.inference.rollout import Rollout
from v2vkit.inference.session import Session

_KEY = "v2vkit-state"
_DAMAGED = (SafetensorError, ValidationError, KeyError, ValueError, TypeError, RecursionError, RuntimeError)


class RolloutState(BaseModel):
    """The numbers of a `Rollout` and of its anchor; its tensors are stored beside them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_first: int = Field(ge=0)
    num_anchored: int | None = Field(default=None, ge=0)


class RenderState(BaseModel):
    """What is stored of a rendering besides tensors.

    Attributes:
        model: `ModelInfo.identity`.
        settings: those that have to be the same when it is resumed.
        source: name of the source.
        num_frames: frames of the source that have been rendered, in all runs.
        shot, age: as in `Session`.
        rollouts: one, two during a cross-fade, none of a model whose frames are independent of each other.
        channels_last: names of the tensors with that memory layout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    settings: dict[str, str | int | float | bool | None]
    source: str
    num_frames: int = Field(ge=0)
    shot: int = Field(ge=0)
    age: int = Field(ge=0)
    rollouts: tuple[RolloutState, ...] = Field(max_length=2)
    channels_last: tuple[str, ...] = ()


def save_state(
    path: str, session: Session, info: ModelInfo, *, source: str, num_frames: int, settings: dict[str, Any]
) -> None:
    """Write the state of a rendering after its last frame; the file appears when it is complete.

    Raises:
        V2VError: the file cannot be written.
    """
    tensors = {name: tensor for i, of in enumerate(session.rollouts) for name, tensor in _tensors(of, i).items()}
    state = RenderState(
        model=info.identity,
        settings=settings,
        source=source,
        num_frames=num_frames,
        shot=session.shot,
        age=session.age,
        rollouts=tuple(
            RolloutState(num_first=of.num_first, num_anchored=None if of.anchor is None else of.anchor.num_frames)
            for of in session.rollouts
        ),
        channels_last=tuple(name for name, tensor in tensors.items() if _is_channels_last(tensor)),
    )
    # Copies, because a rollout that has just begun shares its first source map with the other.
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    parent, name = Path(path).absolute().parent, Path(path).name
    Folder(str(parent)).write(name, save(stored, metadata={_KEY: state.model_dump_json()}))


def load_state(path: str, session: Session, info: ModelInfo, *, settings: dict[str, Any]) -> RenderState:
    """Put a stored state into a session that has not rendered a frame yet.

    Raises:
        V2VError: the file is missing, damaged, or of another model or other settings.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise V2VError(
            "state-missing", f"The state {path} cannot be read: {error.strerror}.", "Check the path."
        ) from None
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        state = RenderState.model_validate_json(header["__metadata__"][_KEY])
    except _DAMAGED as error:
        raise _damaged(path, type(error).__name__) from None
    _refuse_other(path, state, info, settings)
    session.shot, session.age = state.shot, state.age
    device = next(session.generator.parameters()).device
    of_last = set(state.channels_last)
    placed = {name: _placed(tensor, name in of_last).to(device) for name, tensor in tensors.items()}
    model = None if session.first_frames is not None else session.first_frame_model
    if len(state.rollouts) > 1 and not session.refresh:
        raise _damaged(path, "a cross-fade without --refresh")
    try:
        session.rollouts = [
            _rollout(
                Rollout(session.generator, session.downsamplings, model, session.precision, forward=session.forward),
                of,
                i,
                placed,
            )
            for i, of in enumerate(state.rollouts)
        ]
    except ValueError:
        raise _damaged(path, "unknown tensors") from None
    if problem := _misfit(session.rollouts, info):
        raise _damaged(path, problem)
    return state


def _refuse_other(path: str, state: RenderState, info: ModelInfo, settings: dict[str, Any]) -> None:
    if state.model != info.identity:
        raise V2VError(
            "state-mismatch",
            f"The state {path} was saved with another model, or before this one was trained further.",
            "Name the checkpoint with which it was saved.",
        )
    other = sorted(name for name, value in settings.items() if state.settings.get(name) != value)
    if other:
        name = other[0]
        flag = name.replace("_", "-")
        raise V2VError(
            "state-mismatch",
            f"The state {path} was saved with --{flag} {state.settings.get(name)}; now it is {settings[name]}.",
            f"Give the same --{flag}.",
        )


def _tensors(rollout: Rollout, number: int) -> dict[str, Tensor]:
    """The tensors of a rollout by their names in the file."""
    found = {f"{number}.history.{i}": of for i, of in enumerate(rollout.history or ())}
    found |= {f"{number}.source.{i}": of for i, of in enumerate(rollout.sources)}
    if rollout.given:
        found[f"{number}.given"] = torch.from_numpy(np.stack(rollout.given))
    if rollout.anchor is not None and rollout.anchor.reference is not None and rollout.anchor.now is not None:
        found[f"{number}.anchor"] = torch.stack([rollout.anchor.reference, rollout.anchor.now])
    return found


def _rollout(rollout: Rollout, state: RolloutState, number: int, tensors: dict[str, Tensor]) -> Rollout:
    """The rollout with its tensors and numbers."""
    rollout.history = _numbered(tensors, f"{number}.history.") or None
    rollout.sources, rollout.num_first = _numbered(tensors, f"{number}.source."), state.num_first
    given = tensors.get(f"{number}.given")
    rollout.given = [] if given is None else [image.cpu().numpy() for image in given]
    if state.num_anchored is not None:
        anchor = tensors.get(f"{number}.anchor")
        reference, now = (None, None) if anchor is None or len(anchor) != 2 else (anchor[0], anchor[1])
        rollout.anchor = ColourAnchor(state.num_anchored, reference, now)
    return rollout


def _numbered(tensors: dict[str, Tensor], prefix: str) -> list[Tensor]:
    names = (name for name in tensors if name.startswith(prefix))
    return [tensors[name] for name in sorted(names, key=lambda name: int(name.removeprefix(prefix)))]


def _misfit(rollouts: Iterable[Rollout], info: ModelInfo) -> str | None:
    """What does not fit the model: compared with a rollout that has made one frame; None = everything fits."""
    for rollout in rollouts:
        fresh = Rollout(rollout.generator, rollout.downsamplings, precision=rollout.precision, forward=rollout.forward)
        fresh.step(np.zeros((rollout.generator.config.source_channels, info.height, info.width), np.float32))
        for mine, of in ((rollout.history or (), fresh.history or ()), (rollout.sources, fresh.sources)):
            if [tensor.shape for tensor in mine] != [tensor.shape for tensor in of]:
                return "past frames of another size or number"
            if not all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in mine):
                return "past frames that are not finite numbers"
        if any(image.shape != (info.height, info.width, 3) or image.dtype != np.uint8 for image in rollout.given):
            return "first frames of another size"
        anchor = rollout.anchor
        if anchor is not None and (anchor.reference is None or anchor.reference.shape != (2, 3)):
            return "another number of colour statistics"
    return None


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def _placed(tensor: Tensor, channels_last: bool) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if channels_last and tensor.dim() == 4 else tensor


def _damaged(path: str, what: str) -> V2VError:
    return V2VError(
        "state-damaged", f"{path} is not the state of a rendering ({what}).", "Render again from the start."
    )
