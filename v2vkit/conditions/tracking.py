"""Object tracking: instance ids that stay the same over a whole shot, frame by frame in constant memory.

Tracking by detection (SORT: Bewley et al. 2016), with masks in place of boxes and optical flow in place of a Kalman
filter:

- Object: an instance of the frame (its class is the label of most of its pixels) or, without instance maps, a connected
  area (8 neighbours) of one `things` label.
- Prediction: the ids of the frame before, warped by the backward flow where the flow is trusted; elsewhere, and for
  what was not seen in the frame before, a track's last whole view, shifted by its last motion.
- Match: within a class, the assignment with the largest sum of overlaps (Hungarian algorithm). A pair counts from
  `min_overlap` on; the overlap is intersection over union. For a hidden track half of the intersection over the smaller
  area is enough: what comes out from behind something is small at first, and visible tracks go first. What is left over
  is matched by the distance of centres, for objects too small or too fast to overlap.
- Hidden: an object (of 16 pixels or more) with less than 0.85 of the area of its last whole view is partly hidden. That
  view and its motion are kept for `bridge` frames, so that it may come out on the other side; then the smaller view is
  a whole one.
- Entry: an object without a match begins a track with the next unused id. Ids begin at 1 and are never used again.
- Gap: a track without a match goes on along its last motion for `bridge` frames. Found again, it keeps its id.
- Exit: a track ends after `bridge` frames without a match, or when its prediction has left the frame. If the object
  comes back later, it has a new id.
- Merge: two tracks under one object: the track with more overlap goes on, the other one has a gap.
- Split: one track over several objects: one of them keeps the id; another one gets the id of a track with a gap that
  lies there (so a merge and a split soon after leave both ids as they were), else a new one.

Frame t depends on frames up to t only, and not on how the input numbers its instances, so a stage and a stream get the
same ids from the same maps and flow.
"""

from dataclasses import dataclass, replace

import numpy as np

from v2vkit.conditions.track_matching import (
    FloatMap,
    Labels,
    Numbers,
    Objects,
    assign,
    centre,
    closeness,
    find_objects,
    overlaps,
    predicted_map,
    predicted_mask,
)
from v2vkit.conditions.tracks import MAX_ID, Instances, Mask, Track, TrackState
from v2vkit.errors import V2VError

TRUSTED = 0.5
"""Flow with at least this confidence predicts where a pixel was."""
_GROWN = 1.5  # times that area; beyond, two objects touch, or one comes out from behind something
_LARGE = 16  # pixels; the area of smaller objects changes too much to tell that they are hidden
_ENOUGH = 4  # pixels whose mean flow is the motion of an object
_WHOLE = 0.85  # share of the area of the last whole view from which on a view is whole


@dataclass(frozen=True)
class TrackSettings:
    """How objects are found and matched.

    Attributes:
        things: labels whose objects are tracked; none = those of every instance.
        bridge: frames for which a track outlasts a gap, and for which the view of a partly hidden object is kept.
        min_overlap: least overlap of a match, in (0, 1].
        min_pixels: smaller connected areas are no object (where there is no instance map).
    """

    things: tuple[int, ...] = ()
    bridge: int = 15
    min_overlap: float = 0.2
    min_pixels: int = 16


@dataclass(frozen=True)
class Tracked:
    """What one frame gives.

    Attributes:
        state: to give with the next frame.
        instances: uint16 [H, W], ids that are stable over the shot; 0 = no object.
        num_new: tracks that begin here.
        num_bridged: gaps that end here, because the object was found again.
    """

    state: TrackState
    instances: Instances
    num_new: int
    num_bridged: int


def track_frame(
    state: TrackState,
    *,
    labels: Labels,
    instances: Instances | None = None,
    flow: FloatMap | None = None,
    confidence: FloatMap | None = None,
    settings: TrackSettings,
) -> Tracked:
    """Match the objects of the next frame of a shot with its tracks.

    Args:
        state: after the frame before; `TrackState()` at the start of a shot.
        labels: uint8 [H, W].
        instances: uint16 [H, W], 0 = none, numbered in any way; None = connected areas of `settings.things`.
        flow: backward flow float32 [H, W, 2] into the frame before, in pixels; None = unknown.
        confidence: of the flow, float32 [H, W] in [0, 1]; None = 1 everywhere.

    Raises:
        V2VError: the shot has more objects than ids.
    """
    objects = find_objects(labels, instances, things=settings.things, min_pixels=settings.min_pixels)
    trusted = np.zeros(labels.shape, bool)
    if flow is not None:
        trusted = np.isfinite(flow).all(axis=2)
        flow = np.where(trusted[..., None], flow, np.float32(0))
        trusted &= confidence is None or confidence >= TRUSTED
    predicted = predicted_map(state, labels.shape, flow, trusted)
    pairs = _match(state.tracks, predicted, objects, settings.min_overlap)
    motions = _motions_by_flow(predicted, objects.numbers, pairs, flow, trusted)

    tracks: dict[int, Track] = {}
    ids = np.zeros(len(objects.classes) + 1, np.uint16)
    for row, column in pairs.items():
        old = state.tracks[row]
        tracks[old.id] = _go_on(old, _begin(objects, column, old.id), motions.get(row), labels.shape, settings.bridge)
        ids[column + 1] = old.id
    new = sorted(set(range(len(objects.classes))) - set(pairs.values()))
    if state.next_id + len(new) - 1 > MAX_ID:
        raise V2VError(
            "objects-too-many",
            f"A shot has more than {MAX_ID} objects, which is all that instance maps can number.",
            "Track fewer --things, raise --min-pixels, or cut the footage.",
        )
    for number, column in enumerate(new, start=state.next_id):
        tracks[number] = _begin(objects, column, number)
        ids[column + 1] = number
    for row, old in enumerate(state.tracks):
        lost = replace(old, hidden=old.hidden + 1, unseen=old.unseen + 1)
        if row not in pairs and lost.unseen <= settings.bridge and predicted_mask(lost, labels.shape) is not None:
            tracks[old.id] = lost
    found = ids[objects.numbers]
    after = TrackState(state.next_id + len(new), tuple(tracks[number] for number in sorted(tracks)), found)
    num_bridged = sum(state.tracks[row].unseen > 0 for row in pairs)
    return Tracked(after, found, len(new), num_bridged)


def _match(tracks: tuple[Track, ...], predicted: Numbers, objects: Objects, min_overlap: float) -> dict[int, int]:
    """Track -> the object that continues it: by overlap, then, what is left over, by distance."""
    overlap = overlaps(tracks, predicted, objects)
    pairs = assign(np.where(overlap >= min_overlap, overlap, 0))
    close = closeness(tracks, objects)
    close[list(pairs)] = 0
    close[:, list(pairs.values())] = 0
    return pairs | assign(close)


def _begin(objects: Objects, column: int, number: int) -> Track:
    box = objects.boxes[column]
    mask = np.asarray(objects.numbers[box] == column + 1)
    return Track(number, objects.classes[column], box[0].start, box[1].start, mask)


def _go_on(old: Track, seen: Track, by_flow: tuple[float, float] | None, shape: tuple[int, ...], bridge: int) -> Track:
    """The track after a match. Its motion is half the last one and half the new one.

    Without flow the new one is that of the centre, between whole views of about the same area: the centre of a part, or
    of two objects that touch, is another point.
    """
    expected = predicted_mask(old, shape)
    share = 1.0 if expected is None else float(seen.mask.sum() / expected[1].sum())
    motion = by_flow
    if motion is None and not old.hidden and _WHOLE <= share <= _GROWN:
        (x, y), (last_x, last_y) = centre(seen), centre(old)
        motion = x - last_x, y - last_y
    if motion is None:
        motion = old.motion
    elif old.motion is not None:
        motion = (old.motion[0] + motion[0]) / 2, (old.motion[1] + motion[1]) / 2
    if share < _WHOLE and old.mask.sum() >= _LARGE and old.hidden < bridge:
        return replace(old, motion=motion, hidden=old.hidden + 1, unseen=0)
    return replace(seen, motion=motion)


def _motions_by_flow(
    predicted: Numbers, numbers: Numbers, pairs: dict[int, int], flow: FloatMap | None, trusted: Mask
) -> dict[int, tuple[float, float]]:
    """Track -> its mean motion (x, y) by the flow, where enough of its pixels have one that is trusted."""
    if flow is None:
        return {}
    partner = np.full(int(numbers.max(initial=0)) + 1, -1)
    for row, column in pairs.items():
        partner[column + 1] = row + 1
    counted = trusted & (predicted > 0) & (partner[numbers] == predicted)
    tracks, vectors = predicted[counted], flow[counted]
    count = np.bincount(tracks)
    x, y = (np.bincount(tracks, weights=vectors[:, axis]) for axis in (0, 1))
    enough = np.flatnonzero(count >= _ENOUGH)
    return {int(n) - 1: (-float(x[n] / count[n]), -float(y[n] / count[n])) for n in enough}
