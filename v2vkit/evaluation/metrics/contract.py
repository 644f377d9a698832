"""What a metric is: it takes frames of one method at a time, and gives values per frame, per method, or both."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image

FloatMap = NDArray[np.float32]

OURS: Final = "ours"
REPEAT: Final = "repeat first frame"
SOURCE: Final = "source shown as is"
REAL_COARSE: Final = "real frames, as coarse"
REAL: Final = "real frames"
"""The methods; the frames of `REAL` are the reference of every distance between sets."""

MISSED: Final = "missed"
"""A value of a frame: something was expected there and not found (a face, a person)."""
Value = float | Literal["missed"] | None
"""Of one frame; None = the metric does not apply there."""
Values = dict[str, Any]
"""Of one method over all its frames, JSON-ready; `value` is the number that tables show."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive frames of one method from one clip.

    Attributes:
        method: whose frames they are; `REAL` for the real ones.
        clip, shot: where they are from.
        times: number of each frame in its shot, from 0.
        images: RGB uint8 [H, W, 3], all of one size.
        real: the real frame beside each; None where there is no counterpart (`evaluate --unpaired`).
        previous: the frame of the method before each; None at the start of a clip.
        beside: what is known of each frame, by name: `flow` (backward flow and confidence of the real video, or None),
            `landmarks` ([68, 2] or None), `people` (or None), `labels` (uint8 [H, W]), `place` (a name of the real
            frame, where batches may overlap).
    """

    method: str
    clip: str
    shot: str
    times: Sequence[int]
    images: Sequence[Image]
    real: Sequence[Image] | None = None
    previous: Sequence[Image | None] = ()
    beside: Mapping[str, Sequence[Any]] = field(default_factory=dict)


class Metric(Protocol):
    """One metric over all methods.

    Attributes:
        about: what a reader must know to compare its values: backbone, layer, weights, input size. JSON-ready.
    """

    about: Mapping[str, Any]

    def update(self, batch: Batch) -> Sequence[Value]:
        """Takes some frames; returns their values, or nothing where the metric is only of whole sets."""
        ...

    def compute(self) -> dict[str, Values]:
        """Method -> values over all frames that were taken; {} where the values of the frames are all there is."""
        ...


@runtime_checkable
class WithPictures(Protocol):
    """A metric that has something to show."""

    def pictures(self) -> dict[str, Image]:
        """File name without extension -> RGB uint8 [H, W, 3]."""
        ...


class PerFrame:
    """A metric that is a function of frames; it keeps nothing.

    Args:
        measure: a batch -> a value per frame.
        about: see `Metric`.
        needs: what must be known beside the frames (`Batch.beside`); frames without it have no value.
    """

    def __init__(
        self,
        measure: Callable[[Batch], Sequence[Value]],
        about: Mapping[str, Any] | None = None,
        *,
        needs: str | None = None,
    ):
        self._measure, self._needs = measure, needs
        self.about: Mapping[str, Any] = about or {}

    def update(self, batch: Batch) -> Sequence[Value]:
        if self._needs is not None and self._needs not in batch.beside:
            return [None] * len(batch.images)
        return self._measure(batch)

    def compute(self) -> dict[str, Values]:
        return {}


def compared(
    measure: Callable[[Sequence[Image], Sequence[Image]], Sequence[Value]], about: Mapping[str, Any] | None = None
) -> PerFrame:
    """The metric that compares frames with the real ones; real frames themselves have no value.

    Args:
        measure: frames, the real frames beside them -> a value per frame.
        about: see `Metric`.
    """

    def update(batch: Batch) -> Sequence[Value]:
        if batch.method == REAL or batch.real is None:
            return [None] * len(batch.images)
        return measure(batch.images, batch.real)

    return PerFrame(update, about)


def one_by_one(
    measure: Callable[[Image, Image], Value],
) -> Callable[[Sequence[Image], Sequence[Image]], Sequence[Value]]:
    """A comparison of two images as one of several pairs."""
    return lambda images, real: [measure(image, other) for image, other in zip(images, real, strict=True)]
