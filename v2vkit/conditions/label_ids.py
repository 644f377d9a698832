"""Arithmetic of label maps: selection of labels, one-hot channels, edges and colours."""

import colorsys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.classes.colours import palette_of
from v2vkit.classes.table import ClassTable
from v2vkit.config import IGNORE
from v2vkit.errors import V2VError, counted

# Cityscapes' labelIds: void classes (unlabeled, ego vehicle, ..., ground), and the classes that are evaluated.
_VOID = frozenset(range(7))
_CITYSCAPES = frozenset({7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33})
_ENOUGH = 10  # of the evaluated ones; trainIds (0 to 18) include at most 6 of them


def keep_labels(
    labels: NDArray[np.uint8], instances: NDArray[np.uint16] | None, keep: tuple[int, ...]
) -> tuple[NDArray[np.uint8], NDArray[np.uint16] | None]:
    """Only the labels in `keep`, renumbered 0, 1, ... in its order; other pixels become 255 (ignore) and no instance.

    Args:
        labels: uint8 [H, W].
        instances: uint16 [H, W], 0 = none; or None.
        keep: ids below 255; empty = all, with their own ids.
    """
    if not keep:
        return labels, instances
    table = np.full(256, IGNORE, np.uint8)
    table[list(keep)] = np.arange(len(keep))
    kept = table[labels]
    return kept, None if instances is None else np.where(kept == IGNORE, np.uint16(0), instances)


def are_label_ids(ids: Iterable[int]) -> bool:
    """Whether these ids look like Cityscapes' `labelIds`: many of its evaluated ones, and none that it does not use.

    The table is that of cityscapesScripts (labels.py).
    """
    known = set(ids) - {IGNORE}
    return len(known & _CITYSCAPES) >= _ENOUGH and known <= _VOID | _CITYSCAPES


def are_train_ids(ids: Iterable[int]) -> bool:
    """Whether ids that occur are Cityscapes' `trainIds` (0 road, 2 building, 10 sky ... 18 bicycle).

    As labelIds those three are unlabeled, rectification border and rail track, hardly ever all without a higher id.
    """
    known = set(ids) - {IGNORE}
    return {0, 2, 10} <= known <= set(range(19))


def one_hot(labels: NDArray[Any], num_labels: int) -> NDArray[np.bool_]:
    """uint8 [H, W] ids -> bool [num_labels, H, W]; ignored pixels (255) are in no channel.

    Raises:
        V2VError: an id that is neither below `num_labels` nor 255.
    """
    wrong = (labels >= num_labels) & (labels != IGNORE)
    if wrong.any():
        raise V2VError(
            "label-id-out-of-range",
            f"A label map holds id {int(labels[wrong].max())}, but the model has {counted(num_labels, 'label')}.",
            f"Train with --num-labels above the highest id, or set such pixels to {IGNORE} (ignore).",
        )
    hot: NDArray[np.bool_] = labels[None] == np.arange(num_labels, dtype=np.uint8)[:, None, None]
    return hot


def instance_edges(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels whose id differs from any of their four neighbours (both sides of an edge): [H, W] -> bool [H, W]."""
    edges = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        a = ids[1:] if axis == 0 else ids[:, 1:]
        b = ids[:-1] if axis == 0 else ids[:, :-1]
        differs = a != b
        if axis == 0:
            edges[1:] |= differs
            edges[:-1] |= differs
        else:
            edges[:, 1:] |= differs
            edges[:, :-1] |= differs
    return edges


def label_channels(
    labels: NDArray[Any], instances: NDArray[Any] | None, num_labels: int, *, edges: bool
) -> NDArray[np.uint8]:
    """One-hot labels and, with `edges`, a channel of the edges between labels and between instances.

    Returns:
        uint8 [C, H, W], 0 or 255.
    """
    channels = one_hot(labels, num_labels)
    if edges:
        borders = instance_edges(labels)
        if instances is not None and instances.any():
            borders |= instance_edges(instances)
        channels = np.concatenate([channels, borders[None]])
    return np.multiply(channels.view(np.uint8), np.uint8(255))


def palette() -> NDArray[np.uint8]:
    """RGB uint8 [256, 3]: distinct colours for the first ids (golden-angle hues), black for 255 (ignore)."""
    colors = np.zeros((256, 3), np.uint8)
    for i in range(255):
        value = (0.95, 0.7, 0.5)[(i // 8) % 3]
        colors[i] = [round(255 * c) for c in colorsys.hsv_to_rgb((0.58 + i * 0.381966) % 1.0, 0.65, value)]
    return colors


_PALETTE = palette()


def colorize(ids: NDArray[Any], table: ClassTable | None = None) -> NDArray[np.uint8]:
    """Label ids [H, W] -> RGB uint8 [H, W, 3]; instance ids above 255 wrap around.

    Args:
        table: whose colours the classes have; those without one, and all where there is no table, have `palette`'s.
    """
    colours = _PALETTE if table is None else palette_of(table, _PALETTE)
    return colours[ids.astype(np.int64) % 256]
