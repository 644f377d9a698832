"""Label maps: which labels are kept, and how they look as pictures."""

import colorsys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.config import IGNORE

# Of Cityscapes' labelIds: what all its pictures have (unlabeled, ego vehicle, ..., ground), and the classes that count.
_VOID = frozenset(range(7))
_CITYSCAPES = frozenset({7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33})
_ENOUGH = 10  # of the latter; trainIds (0 to 18) have at most 6 of them


def keep_labels(
    labels: NDArray[np.uint8], instances: NDArray[np.uint16] | None, keep: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
    """Only the labels in `keep`, renumbered 0, 1, ... in its order; the rest is 255 (ignore) and no instance.

    Args:
        labels: uint8 [H, W].
        instances: uint16 [H, W], 0 = none; or None.
        keep: ids below 255; none = all are kept as they are.
    """
    if not keep:
        return labels, instances
    table = np.full(256, IGNORE, np.uint8)
    table[list(keep)] = np.arange(len(keep))
    kept = table[labels]
    return kept, None if instances is None else np.where(kept == IGNORE, np.uint16(0), instances)


def are_label_ids(ids: Iterable[int]) -> bool:
    """Whether ids that occur are Cityscapes' `labelIds`: many of those, and none of the ids between that are not used.

    The table is that of cityscapesScripts (labels.py).
    """
    known = set(ids) - {IGNORE}
    return len(known & _CITYSCAPES) >= _ENOUGH and known <= _VOID | _CITYSCAPES


def palette() -> NDArray[np.uint8]:
    """RGB uint8 [256, 3]: distinct colours for the first ids (golden-angle hues), black for 255 (ignore)."""
    colors = np.zeros((256, 3), np.uint8)
    for i in range(255):
        value = (0.95, 0.7, 0.5)[(i // 8) % 3]
        colors[i] = [round(255 * c) for c in colorsys.hsv_to_rgb((0.58 + i * 0.381966) % 1.0, 0.65, value)]
    return colors


_PALETTE = palette()


def colorize(ids: NDArray[Any]) -> NDArray[np.uint8]:
    """Label ids [H, W] -> RGB uint8 [H, W, 3]; instance ids above 255 wrap around."""
    return _PALETTE[ids.astype(np.int64) % 256]
