"""Augmentation of label maps alone: what simulators' labels have otherwise than those of photographs.

The frame stays as it is, so a model learns to render from labels that are a little wrong. A draw holds for a whole
sequence: noise that changed from frame to frame would teach a video model to flicker.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.config import IGNORE

Labels = NDArray[np.uint8]
Instances = NDArray[np.uint16]

_CELL = 8
"""Pixels between the random shifts of boundaries, which are interpolated between them."""
THIN = 5
"""Objects narrower than this many pixels are thin."""


@dataclass(frozen=True)
class LabelNoise:
    """What is changed in the label maps of a sequence.

    Attributes:
        jitter: standard deviation in pixels of the shift of boundaries.
        drop_thin: probability with which every class loses what is thin.
        drop_classes: probability with which every class becomes 255 (no label).
        seed: of the random choices.
    """

    jitter: float = 0.0
    drop_thin: float = 0.0
    drop_classes: float = 0.0
    seed: tuple[int, ...] = (0,)

    def __bool__(self) -> bool:
        return bool(self.jitter or self.drop_thin or self.drop_classes)

    def apply(self, labels: Labels, instances: Instances | None) -> tuple[Labels, Instances | None]:
        """Maps [H, W] after dropping thin objects, jittering boundaries and dropping classes, in this order."""
        thin, shifts, classes = (np.random.default_rng([*self.seed, number]) for number in range(3))
        if self.drop_thin:
            chosen = np.flatnonzero(thin.random(IGNORE) < self.drop_thin)
            labels, instances = without_thin(labels, instances, chosen)
        if self.jitter:
            labels, instances = jittered(labels, instances, shifts, self.jitter)
        if self.drop_classes:
            gone = np.isin(labels, np.flatnonzero(classes.random(IGNORE) < self.drop_classes))
            labels = np.where(gone, np.uint8(IGNORE), labels)
            instances = None if instances is None else np.where(gone, np.uint16(0), instances)
        return labels, instances


def jittered(
    labels: Labels, instances: Instances | None, rng: np.random.Generator, pixels: float
) -> tuple[Labels, Instances | None]:
    """Maps whose boundaries are shifted smoothly, both by the same field; the border is repeated.

    Args:
        pixels: standard deviation of the shift along each axis, at the points of a grid.
    """
    height, width = labels.shape
    grid = (height // _CELL + 2, width // _CELL + 2)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    shifts = [
        cv2.resize(rng.normal(0, pixels, grid).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    ]
    x, y = (columns + shifts[0]).astype(np.float32), (rows + shifts[1]).astype(np.float32)

    def moved(ids: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.remap(ids, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), ids.dtype)

    return moved(labels), None if instances is None else moved(instances)


def without_thin(
    labels: Labels, instances: Instances | None, classes: NDArray[np.integer]
) -> tuple[Labels, Instances | None]:
    """Maps without the parts of these classes that are narrower than `THIN` pixels; the nearest other pixel fills them.

    A part is thin if no square of `THIN` pixels inside the class covers it (morphological opening).
    """
    square = np.ones((THIN, THIN), np.uint8)
    thin = np.zeros(labels.shape, bool)
    for label in np.intersect1d(np.unique(labels), classes):
        of_class = (labels == label).astype(np.uint8)
        # Beyond the border the class goes on: a road that ends there is not thin.
        opened = cv2.morphologyEx(
            cv2.copyMakeBorder(of_class, THIN, THIN, THIN, THIN, cv2.BORDER_REPLICATE), cv2.MORPH_OPEN, square
        )[THIN:-THIN, THIN:-THIN]
        thin |= (of_class > 0) & (opened == 0)
    if not thin.any() or thin.all():
        return labels, instances
    _, nearest = cv2.distanceTransformWithLabels(
        thin.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Every pixel that stays has a number of its own, which pixels that are filled share.
    place = np.zeros(int(nearest.max()) + 1, np.int64)
    stays = np.flatnonzero(~thin)
    place[nearest.ravel()[stays]] = stays
    source = place[nearest]
    filled = labels.ravel()[source]
    return filled, None if instances is None else instances.ravel()[source]
