"""Parts of tracking: objects of a frame, predicted positions of tracks, and assignment of objects to tracks.

Maps are [H, W]. Numbers in a map are positions in a list, counted from 1; 0 = nothing.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects as find_boxes
from scipy.optimize import linear_sum_assignment

from v2vkit.conditions.tracks import MAX_ID, Box, Instances, Mask, Track, TrackState

Labels = NDArray[np.uint8]
Numbers = NDArray[np.int32]
Floats = NDArray[np.float64]
FloatMap = NDArray[np.float32]

_HIDDEN_WEIGHT = 0.5  # visible tracks are preferred to hidden ones
_REACH = 1.5  # pixels: allowed error of a prediction, even for the smallest object


@dataclass(frozen=True)
class Objects:
    """The objects of one frame, in the order of their first pixels, row by row.

    Attributes:
        numbers: int32 [H, W].
        classes: majority label of each.
        boxes: bounding box of each.
        areas: number of pixels of each, [N].
        centres: (x, y) of each, [N, 2].
    """

    numbers: Numbers
    classes: list[int]
    boxes: list[Box]
    areas: NDArray[np.int64]
    centres: Floats


def find_objects(labels: Labels, instances: Instances | None, *, things: tuple[int, ...], min_pixels: int) -> Objects:
    """The objects of a frame.

    Args:
        labels: uint8 [H, W].
        instances: uint16 [H, W], 0 = none; None = connected areas of the labels `things`.
        things: labels that objects can have; empty = any.
        min_pixels: smaller connected areas are ignored; instances may have any size.
    """
    found = _connected(labels, things, min_pixels) if instances is None else instances
    pixels = np.flatnonzero(found)
    values = found.ravel()[pixels]
    first = np.full(int(values.max(initial=0)) + 1, -1, np.int64)
    first[values[::-1]] = pixels[::-1]  # the last write wins: the first pixel
    present = np.flatnonzero(first >= 0)
    order = present[np.argsort(first[present])]
    table = np.zeros(len(first), np.int32)
    table[order] = np.arange(len(order))
    count = np.bincount(table[values] * 256 + labels.ravel()[pixels], minlength=256 * len(order))
    majority = count.reshape(-1, 256).argmax(1)
    kept = np.isin(majority, things) if things else np.ones(len(order), bool)
    table[order] = np.where(kept, np.cumsum(kept), 0)
    numbers = table[found]
    at = table[values]
    areas = np.bincount(at, minlength=int(kept.sum()) + 1)
    y, x = np.divmod(pixels, labels.shape[1])
    sums = [np.bincount(at, weights=axis, minlength=len(areas)) for axis in (x, y)]
    centres = np.stack(sums, 1)[1:] / areas[1:, None]
    return Objects(numbers, majority[kept].tolist(), list(find_boxes(numbers)), areas[1:], centres)


def _connected(labels: Labels, things: tuple[int, ...], min_pixels: int) -> Numbers:
    """Connected areas (8 neighbours) of each label, numbered from 1."""
    numbers, count = np.zeros(labels.shape, np.int32), 0
    for label in things:
        _, areas, stats, _ = cv2.connectedComponentsWithStats((labels == label).astype(np.uint8), connectivity=8)
        large = stats[:, cv2.CC_STAT_AREA] >= min_pixels
        large[0] = False  # everything else
        numbers += np.where(large, np.cumsum(large) + count, 0).astype(np.int32)[areas]
        count += int(large.sum())
    return numbers


def predicted_mask(track: Track, shape: tuple[int, ...]) -> tuple[Box, Mask] | None:
    """Predicted position of a track in the next frame by its last motion: a box and the mask in it; None = outside."""
    (x, y), steps = track.motion or (0.0, 0.0), track.hidden + 1
    top, left = track.top + round(y * steps), track.left + round(x * steps)
    (height, width), (rows, columns) = track.mask.shape, shape
    bottom, right = min(top + height, rows), min(left + width, columns)
    mask = track.mask[max(0, -top) : max(0, bottom - top), max(0, -left) : max(0, right - left)]
    return ((slice(max(0, top), bottom), slice(max(0, left), right)), mask) if mask.any() else None


def predicted_map(state: TrackState, shape: tuple[int, ...], flow: FloatMap | None, trusted: Mask) -> Numbers:
    """Predicted map of the tracks without a gap in the next frame; hidden tracks lie behind visible ones.

    Args:
        state: after the frame before.
        shape: height, width.
        flow: backward flow of the next frame, float32 [H, W, 2], all finite; None = unknown.
        trusted: bool [H, W], where the flow is used; elsewhere the last motion is.
    """
    predicted = np.zeros(shape, np.int32)
    for number, track in sorted(enumerate(state.tracks, start=1), key=lambda pair: -pair[1].hidden):
        if track.unseen == 0 and (found := predicted_mask(track, shape)) is not None:
            predicted[found[0]][found[1]] = number
    if flow is None or state.instances is None:
        return predicted
    numbers = np.zeros(MAX_ID + 1, np.float32)
    numbers[[track.id for track in state.tracks]] = np.arange(1, len(state.tracks) + 1)
    before = numbers[state.instances]
    grid = np.stack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in shape[::-1])), 2)
    # Outside the frame there is no track.
    warped = cv2.remap(before, grid + flow, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)  # type: ignore[call-overload]
    return np.where(trusted, warped.astype(np.int32), predicted)


def overlaps(tracks: tuple[Track, ...], predicted: Numbers, objects: Objects) -> Floats:
    """Overlap of every track [K] with every object [N] of its class, in [0, 1].

    Intersection over union; for a hidden track, if larger, half of the intersection over the smaller area.
    """
    size = len(objects.classes) + 1
    joint = np.bincount((predicted * size + objects.numbers).ravel(), minlength=(len(tracks) + 1) * size)
    joint = joint.reshape(len(tracks) + 1, size)
    common = joint[1:, 1:]
    union = joint.sum(1)[1:, None] + objects.areas - common
    overlap = common / np.maximum(union, 1)
    for row, track in enumerate(tracks):
        if track.hidden and (found := predicted_mask(track, predicted.shape)) is not None:
            box, mask = found
            shared = np.bincount(objects.numbers[box][mask], minlength=size)[1:]
            part = _HIDDEN_WEIGHT * shared / np.minimum(objects.areas, mask.sum())
            overlap[row] = np.maximum(overlap[row], part)
    return np.asarray(overlap * _same_class(tracks, objects))


def closeness(tracks: tuple[Track, ...], objects: Objects) -> Floats:
    """Closeness of every track's predicted centre [K] to every object's [N] of its class: 1 = equal, 0 = too far.

    Too far: more than 1.5 pixels plus half the side of a square with the area of the smaller one.
    """
    if not tracks:
        return np.zeros((0, len(objects.classes)))
    motion = np.array([track.motion or (0.0, 0.0) for track in tracks])
    steps = np.array([track.hidden + 1 for track in tracks])[:, None]
    expected = np.array([centre(track) for track in tracks]) + motion * steps
    distance = np.linalg.norm(expected[:, None] - objects.centres[None], axis=2)
    smaller = np.minimum.outer([int(track.mask.sum()) for track in tracks], objects.areas)
    return np.asarray(np.maximum(0, 1 - distance / (_REACH + np.sqrt(smaller) / 2)) * _same_class(tracks, objects))


def _same_class(tracks: tuple[Track, ...], objects: Objects) -> NDArray[np.bool_]:
    labels = np.array([track.label for track in tracks], int)
    return np.asarray(labels[:, None] == np.array(objects.classes, int))


def assign(scores: Floats) -> dict[int, int]:
    """Row -> column of the assignment with the largest sum; pairs with score 0 are left out."""
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if scores[row, column] > 0}


def centre(track: Track) -> tuple[float, float]:
    """Centre (x, y) of a track's last whole view."""
    y, x = np.nonzero(track.mask)
    return track.left + float(x.mean()), track.top + float(y.mean())
