"""What metrics are opened with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from v2vkit.estimators.base import FaceEstimator, PoseEstimator

LabelMap = NDArray[np.uint8]
T = TypeVar("T")


@dataclass(frozen=True)
class Segmenter:
    """A fixed segmentation network.

    Attributes:
        name: what it is, with its weights' checksum, for the report.
        num_labels: label ids are below it.
        classes: their names; empty where they are not known.
        label: RGB uint8 [H, W, 3] -> label ids uint8 [H, W], 255 = nothing recognised.
    """

    name: str
    num_labels: int
    classes: tuple[str, ...]
    label: Callable[[NDArray[np.uint8]], LabelMap]


@dataclass(frozen=True)
class Setup:
    """What there is to measure with.

    Attributes:
        height, width: of the frames.
        weights: name in the store -> file, those that a metric's row names.
        device: where networks run (`v2vkit.engine.devices`).
        face: with irises where it can find them; None where there is none.
        pose, segmenter: None where there is none.
    """

    height: int
    width: int
    weights: dict[str, Path]
    device: str = "cpu"
    face: FaceEstimator | None = None
    pose: PoseEstimator | None = None
    segmenter: Segmenter | None = None
    _opened: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, build: Callable[[], T]) -> T:
        """What several metrics share, built for the first of them."""
        if name not in self._opened:
            self._opened[name] = build()
        found: T = self._opened[name]
        return found
