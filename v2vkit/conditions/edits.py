"""Edits of label maps: functions annotation -> annotation, between `annotate` and `channels`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.labels import LabelMap
from v2vkit.errors import V2VError

Region = tuple[int, int, int, int]
"""x, y, width and height of a rectangle in pixels; parts outside the frame are ignored."""


@dataclass(frozen=True)
class Relabelling:
    """New labels for the pixels of some frames; all changes apply at once, so that two labels can be swapped.

    Attributes:
        changes: label before -> label after.
        region: only in this rectangle.
        objects: only pixels of the objects with these ids; empty = all pixels.
        frames: only in the frames from the first number up to, not including, the second, counted from 0; None = open.
        things: labels that have objects: pixels that get another label lose their object; None = all keep it.
    """

    changes: Mapping[int, int]
    region: Region | None = None
    objects: tuple[int, ...] = ()
    frames: tuple[int | None, int | None] = (None, None)
    things: frozenset[int] | None = None


def relabel(
    annotation: LabelMap,
    changes: Mapping[int, int],
    *,
    region: Region | None = None,
    objects: Collection[int] = (),
    things: Collection[int] | None = None,
) -> LabelMap:
    """The label map with other labels; all changes apply at once: `relabel(map, {3: 5, 5: 3})` swaps 3 and 5.

    Args:
        annotation: is not changed.
        changes: label before -> label after, both 0 to 255 (255 = ignore).
        region: only in this rectangle, (x, y, width, height) in pixels.
        objects: only pixels of the objects with these instance ids; empty = all pixels.
        things: labels that have objects: pixels that get another label lose their object. None = all keep it.

    Raises:
        V2VError: a label is out of range, or objects are named and the map has no instances.
    """
    if wrong := [label for pair in changes.items() for label in pair if not 0 <= label <= 255]:
        raise V2VError("label-id-out-of-range", f"{wrong[0]} is no label id.", "Give ids from 0 to 255.")
    labels, instances = annotation.labels, annotation.instances
    where = np.isin(labels, list(changes))
    if region is not None:
        where &= _rectangle(region, labels.shape)
    if objects:
        if instances is None:
            raise V2VError(
                "instances-missing",
                "Objects are named by their ids, but this label map has no instances.",
                "Give instance maps, or run `v2v track`.",
            )
        where &= np.isin(instances, list(objects))
    table = np.arange(256, dtype=labels.dtype)
    for before, after in changes.items():
        table[before] = after
    changed = np.where(where, table[labels], labels)
    if instances is not None and things is not None:
        instances = np.where(where & ~np.isin(changed, list(things)), instances.dtype.type(0), instances)
    return replace(annotation, labels=changed, instances=instances)


def edit_frame(annotation: LabelMap, edits: Collection[Relabelling], number: int) -> LabelMap:
    """Frame `number` of a video after these edits, one after another.

    Raises:
        V2VError: as `relabel`.
    """
    for edit in edits:
        first, end = edit.frames
        if (first is None or number >= first) and (end is None or number < end):
            annotation = relabel(annotation, edit.changes, region=edit.region, objects=edit.objects, things=edit.things)
    return annotation


def _rectangle(region: Region, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    x, y, width, height = region
    inside = np.zeros(shape, bool)
    inside[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = True
    return inside
