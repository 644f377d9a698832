"""Checks of the arrays and annotations that users of the library give."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.errors import V2VError

_MAX_COORDINATE = 1e5
"""Pixels; a point farther away is a mistake."""


def refuse_size(found: tuple[int, int], wanted: tuple[int, int], what: str) -> None:
    """Refuse a (width, height) that differs from that of the model's frames.

    Raises:
        V2VError: it differs.
    """
    if found != wanted:
        raise V2VError(
            "size-mismatch",
            f"{what} is {found[0]}x{found[1]}; the model takes {wanted[0]}x{wanted[1]} (width x height).",
            f"Resize to {wanted[0]}x{wanted[1]}.",
        )


def check_image(image: Any, size: tuple[int, int], what: str, *, channels: str = "RGB") -> Image:
    """The image unchanged, after checking type, shape and size.

    Args:
        image: uint8 [H, W, 3].
        size: the expected (width, height).
        what: name of the image for messages.
        channels: names of the three channels for messages.

    Raises:
        V2VError: another type, shape or size.
    """
    hint = f"Give {channels} uint8 [H, W, 3]."
    _refuse_no_array(image, what, hint)
    if image.ndim != 3 or image.shape[2] != 3:
        raise V2VError("array-mismatch", f"{what} has the shape {list(image.shape)}.", hint)
    if image.dtype != np.uint8:
        raise V2VError("array-mismatch", f"{what} holds {image.dtype} numbers.", f"{hint[:-1]}, 0 to 255.")
    refuse_size((image.shape[1], image.shape[0]), size, what)
    return image


def check_ids(ids: Any, kind: type[np.unsignedinteger[Any]], what: str, size: tuple[int, int]) -> NDArray[Any]:
    """A map of ids as `kind`.

    Args:
        ids: integers of any dtype, [H, W]; neither bool nor floating point.
        kind: uint8 or uint16.
        what: name of the map for messages.
        size: the expected (width, height).

    Raises:
        V2VError: another dtype, shape or size, or an id outside the range of `kind`.
    """
    hint = "Give [H, W] for a frame, [T, H, W] for several."
    _refuse_no_array(ids, what, hint)
    if ids.ndim != 2:
        raise V2VError("array-mismatch", f"{what} has the shape {list(ids.shape)}.", hint)
    if not np.issubdtype(ids.dtype, np.integer):
        raise V2VError(
            "array-mismatch",
            f"{what} holds {ids.dtype} numbers; ids are whole numbers.",
            f"Convert it: ids.astype('{kind.__name__}').",
        )
    highest = int(np.iinfo(kind).max)
    low, high = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
    if low < 0 or high > highest:
        raise V2VError("id-out-of-range", f"{what} holds id {low if low < 0 else high}.", f"Ids are 0 to {highest}.")
    refuse_size((ids.shape[1], ids.shape[0]), size, what)
    return ids.astype(kind, copy=False)


def check_points(points: Any, shape: tuple[int, int], what: str) -> NDArray[np.float32]:
    """Points as float32.

    Args:
        points: (x, y) in pixels, with a score in [0, 1] if there are three columns.
        shape: the expected shape, [N, 2] or [N, 3].
        what: name of the points for messages.

    Raises:
        V2VError: another shape, not numbers, not finite, or far outside any frame.
    """
    wanted = f"Give {shape[0]} points as {'(x, y)' if shape[1] == 2 else '(x, y, score)'}: {list(shape)}."
    _refuse_no_array(points, what, wanted)
    found: NDArray[Any] = points
    if found.shape != shape:
        raise V2VError("array-mismatch", f"{what} has the shape {list(found.shape)}.", wanted)
    if found.dtype == bool or not (np.issubdtype(found.dtype, np.floating) or np.issubdtype(found.dtype, np.integer)):
        raise V2VError("array-mismatch", f"{what} holds {found.dtype}, not numbers.", wanted)
    if not np.isfinite(found).all() or np.abs(found).max(initial=0) > _MAX_COORDINATE:
        raise V2VError("point-out-of-range", f"{what} has a coordinate that is infinite or not in pixels.", wanted)
    if shape[1] == 3 and not ((found[:, 2] >= 0) & (found[:, 2] <= 1)).all():
        raise V2VError(
            "score-out-of-range",
            f"{what} has a score that is not between 0 and 1.",
            "Give 0 for points that are missing.",
        )
    return found.astype(np.float32, copy=False)


def check_annotation(value: Any, condition: Any, size: tuple[int, int]) -> Any:
    """The value unchanged, if it is an annotation of the condition (`Condition[A]`: an A) with this (width, height).

    Raises:
        V2VError: another type or size.
    """
    arguments = (getattr(of, "__pydantic_generic_metadata__", {}).get("args") for of in type(condition).__mro__)
    (kind,) = next(filter(None, arguments))
    if not isinstance(value, kind):
        given = "an array" if isinstance(value, np.ndarray) else _kind_of(value)
        raise V2VError(
            "annotation-mismatch",
            f"The value for {condition.name} is {given}.",
            f"Give {_article(kind.__name__)}" + (f", or {condition.arrays}." if condition.arrays else "."),
        )
    refuse_size(value.size, size, f"The annotation for {condition.name}")
    return value


def _refuse_no_array(value: Any, what: str, hint: str) -> None:
    if not isinstance(value, np.ndarray):
        raise V2VError("array-mismatch", f"{what} is {_kind_of(value)}, not an array.", hint)


def _kind_of(value: Any) -> str:
    return "None" if value is None else _article(type(value).__name__)


def _article(noun: str) -> str:
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"
