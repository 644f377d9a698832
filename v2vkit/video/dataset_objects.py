"""The objects in label and instance maps: class, box and mask, as data sets describe them."""

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.config import IGNORE

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """One object of a frame.

    Attributes:
        label: id of its class.
        instance: its id in the instance map; 0 = found as a connected area.
        mask: bool [H, W].
    """

    label: int
    instance: int
    mask: Mask

    @property
    def area(self) -> int:
        """Number of its pixels."""
        return int(self.mask.sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height in whole pixels, of the smallest rectangle that holds all its pixels."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        left, top = int(columns[0]), int(rows[0])
        return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def find_objects(
    labels: NDArray[np.uint8], instances: NDArray[np.uint16] | None, things: Collection[int], *, min_pixels: int = 1
) -> tuple[LabelledObject, ...]:
    """The objects of the classes in `things`, by class and instance id (or place).

    Args:
        labels: ids [H, W], 255 = ignore.
        instances: ids [H, W], 0 = none; an instance has the class of most of its labelled pixels. None = connected
            areas of one class (8 neighbours) are objects.
        things: ids of classes that have objects.
        min_pixels: smaller objects are left out.
    """
    found: list[LabelledObject] = []
    if instances is not None:
        for instance in np.flatnonzero(np.bincount(instances[np.isin(labels, list(things))].ravel())):
            mask = instances == instance
            counts = np.bincount(labels[mask & (labels != IGNORE)], minlength=1)
            if instance > 0 and int(counts.argmax()) in things:
                found.append(LabelledObject(int(counts.argmax()), int(instance), mask))
    else:
        for label in sorted(things):
            number, areas = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)
            found += [LabelledObject(label, 0, areas == area) for area in range(1, number)]
    found = [of for of in found if of.area >= min_pixels]
    return tuple(sorted(found, key=lambda of: (of.label, of.instance)))


def run_lengths(mask: Mask) -> list[int]:
    """COCO's uncompressed run lengths: pixels in column order, lengths of runs of 0 and 1 in turn, beginning with 0."""
    pixels = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(pixels)) + 1
    lengths = np.diff([0, *changes.tolist(), pixels.size]).tolist()
    return [0, *lengths] if pixels[0] else lengths
