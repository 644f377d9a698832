"""Turns annotations in memory (arrays or typed values) into conditioned frames for `Model.generate`."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch

from v2vkit.arrays import Image
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.base import Condition
from v2vkit.conditions.conditioning import to_unit
from v2vkit.conditions.given import check_image
from v2vkit.errors import V2VError, counted
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.video.stream import InputFrame

FRAMES = "frames"
_END = object()


def given_frames(annotations: Any, info: ModelInfo, frames: Any = None) -> Iterator[ConditionedFrame]:
    """The conditioned frames of one shot, computed lazily from annotations in memory.

    Args:
        annotations: one for each frame: an array [T, ...] (numpy or torch) or an iterable; for a model with several
            conditions, a dict of these by the conditions' names, or an iterable of dicts. See `Condition.given`.
        info: description of the model.
        frames: the frames themselves, RGB uint8 [T, H, W, 3] or an iterable of [H, W, 3], for conditions that draw
            from the frame.

    Raises:
        V2VError: at once, if an argument is no sequence; while reading, if an annotation does not fit (the message
            names its frame) or the sequences have different lengths.
    """
    columns = _columns(annotations, info, framed=frames is not None)
    if frames is not None:
        columns[FRAMES] = each_frame(frames, FRAMES)
    return (_conditioned(t, row, info) for t, row in enumerate(_rows(columns)))


def each_frame(column: Any, what: str) -> Iterator[Any]:
    """The items of an array or iterable, one for each frame.

    Args:
        what: its name in messages.

    Raises:
        V2VError: it is neither.
    """
    hint = "Give an array [T, ...], or a list or generator with one item for each frame."
    if isinstance(column, str | bytes | os.PathLike):
        raise V2VError(
            "annotation-mismatch",
            f"{what}: {os.fspath(column)!r} is a path, not annotations.",
            "Use `model.render` for files, or read them first.",
        )
    column = as_numpy(column) if isinstance(column, torch.Tensor) else column
    if (isinstance(column, np.ndarray) and not column.ndim) or not isinstance(column, Iterable):
        raise V2VError("annotation-mismatch", f"{what}: {type(column).__name__} is not a sequence of frames.", hint)
    return iter(column)


def as_numpy(value: Any) -> Any:
    """The value with torch tensors replaced by numpy arrays, also within tuples and dataclasses."""
    if isinstance(value, torch.Tensor):
        there = value.detach().cpu()
        return (there.float() if there.dtype == torch.bfloat16 else there).numpy()  # numpy has no bfloat16
    if type(value) is tuple:
        items = tuple(map(as_numpy, value))
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        changed = {name: new for name, old in fields.items() if (new := as_numpy(old)) is not old}
        return dataclasses.replace(value, **changed) if changed else value
    return value


def _conditioned(t: int, row: Mapping[str, Any], info: ModelInfo) -> ConditionedFrame:
    try:
        image: Image | None = None
        if FRAMES in row:
            image = check_image(as_numpy(row[FRAMES]), (info.width, info.height), "A picture in `frames`")
        given = _annotations(row, info, image)
        drawn = info.conditioning.draw(given, image)
        s = to_unit(info.conditioning.channels(drawn, image))
    except V2VError as error:
        raise V2VError(error.code, f"Frame {t}: {error.message}", error.hint) from None
    regions = None if info.encoder is None else info.conditioning.regions(drawn)
    return ConditionedFrame(s, InputFrame(image, annotations=given), regions=regions)


def _annotations(row: Mapping[str, Any], info: ModelInfo, image: Image | None) -> tuple[Any, ...]:
    """The annotation of each condition, in their order; those not given are made from the frame where possible."""
    conditions, framed = info.conditioning.conditions, image is not None
    if "" in row:  # one item for each frame, for all conditions
        item, needed = row[""], _needed(info, framed=framed)
        if isinstance(item, Mapping):
            _check_names(item, info, framed=framed)
            row = item
        elif len(needed) == 1:
            row = {needed[0].name: item}
        else:
            raise _several(info)
    size = (info.width, info.height)

    def annotation(of: Condition[Any]) -> Any:
        if of.name not in row and image is not None:
            return of.of_frame(image)
        return of.given(as_numpy(row[of.name]), size=size)

    return tuple(map(annotation, conditions))


def _needed(info: ModelInfo, *, framed: bool) -> tuple[Condition[Any], ...]:
    """The conditions whose annotations must be given: with frames, only those that cannot be made from them.

    If all can be made from the frame, all conditions are returned.
    """
    conditions = info.conditioning.conditions
    return tuple(of for of in conditions if not (framed and of.from_frame)) or conditions


def _columns(annotations: Any, info: ModelInfo, *, framed: bool) -> dict[str, Iterator[Any]]:
    """Condition -> iterator over frames; key "" if each item is for all conditions."""
    if isinstance(annotations, Mapping):
        _check_names(annotations, info, framed=framed)
        return {name: each_frame(column, name) for name, column in annotations.items()}
    if isinstance(annotations, np.ndarray | torch.Tensor) and len(_needed(info, framed=framed)) > 1:
        raise _several(info)
    return {"": each_frame(annotations, "annotations")}


def _check_names(given: Mapping[str, Any], info: ModelInfo, *, framed: bool) -> None:
    possible = {condition.name for condition in info.conditioning.conditions}
    if {condition.name for condition in _needed(info, framed=framed)} <= given.keys() <= possible:
        return
    names = ", ".join(map(repr, given)) or "nothing"
    raise V2VError(
        "condition-mismatch",
        f"The model is conditioned on {info.conditioning.names}; the annotations are of {names}.",
        _hint(info),
    )


def _several(info: ModelInfo) -> V2VError:
    return V2VError("condition-mismatch", f"The model has several conditions ({info.conditioning.names}).", _hint(info))


def _hint(info: ModelInfo) -> str:
    keys = ", ".join(f"{condition.name!r}: …" for condition in info.conditioning.conditions)
    return f"Give a dict: {{{keys}}}."


def _rows(columns: Mapping[str, Iterator[Any]]) -> Iterator[Mapping[str, Any]]:
    """For each frame, column -> item; the columns must have the same length."""
    for t, items in enumerate(zip_longest(*columns.values(), fillvalue=_END)):
        if any(item is _END for item in items):
            raise _unequal(t, list(columns), items)
        yield dict(zip(columns, items, strict=True))


def _unequal(t: int, names: Sequence[str], items: Sequence[Any]) -> V2VError:
    shown = [name or "annotations" for name in names]
    ended = " and ".join(name for name, item in zip(shown, items, strict=True) if item is _END)
    longer = " and ".join(name for name, item in zip(shown, items, strict=True) if item is not _END)
    return V2VError(
        "frame-count-mismatch",
        f"{ended} ended after {counted(t, 'frame')}, {longer} did not.",
        "Give the same number of each.",
    )
