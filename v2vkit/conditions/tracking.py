"""Object tracking: instance ids that are stable over a shot, frame by frame in constant memory.

Tracking by detection (SORT: Bewley et al. 2016), with masks in place of boxes and optical flow in place of a Kalman
filter:

- Object: an instance of the frame (its class is the label of most of its pixels) or, without instance maps, a connected
  area (8 neighbours) of one `things` label.
- Prediction: the ids of the previous frame, warped by the backward flow where its confidence is high; elsewhere, and
  for objects not seen in the previous frame, a track's last whole view, shifted by its last motion.
- Match: within a class, the assignment with the largest sum of overlaps (Hungarian algorithm). A pair counts from
  `min_overlap` on; the overlap is intersection over union. For a hidden track, half of the intersection over the
  smaller area counts if it is larger: a reappearing object is small at first, and visible tracks are preferred. The
  rest is matched by the distance of centres, for objects too small or too fast to overlap.
- Hidden: an object (of 16 pixels or more) with less than 0.85 of the area of its last whole view is partly hidden. That
  view and its motion are kept for `bridge` frames, so that it may reappear on the other side; after that the smaller
  view counts as whole.
- Entry: an object without a match begins a track with the next unused id. Ids begin at 1 and are never reused.
- Gap: a track without a match continues along its last motion for `bridge` frames. Found again, it keeps its id.
- Exit: a track ends after `bridge` frames without a match, or when its prediction has left the frame. An object that
  comes back later gets a new id.
- Merge: two tracks on one object: the track with more overlap continues, the other one has a gap.
- Split: one track on several objects: one of them keeps the id; another one gets the id of a track with a gap at that
  position (so both ids survive a merge and a split soon after), else a new one.

Frame t depends on frames up to t only, and not on the numbers of the input's instances, so a stage and a stream give
the same ids for the same maps and flow.
"""

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from v2vkit.conditions.settings import TrackerSettings
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
"""Flow with at least this confidence is used for predictions."""
_GROWN = 1.5  # times the last whole area; beyond, two objects touch, or a hidden one reappears
_LARGE = 16  # pixels; the area of smaller objects varies too much to detect hiding
_ENOUGH = 4  # fewest pixels for the mean flow of an object
_WHOLE = 0.85  # smallest share of the last whole area at which a view is whole


@dataclass(frozen=True)
class TrackSettings:
    """How objects are found and matched.

    Attributes:
        things: labels whose objects are tracked; empty = those of every instance.
        bridge: longest gap of a track, and longest hiding of an object, in frames.
        min_overlap: smallest overlap of a match, in (0, 1].
        min_pixels: smaller connected areas are ignored (without instance maps).
    """

    things: tuple[int, ...] = ()
    bridge: int = 15
    min_overlap: float = 0.2
    min_pixels: int = 16


def track_settings(stored: TrackerSettings, fps: Fraction) -> TrackSettings:
    """The tracker's settings from those of `v2v track`, which count time in seconds."""
    return TrackSettings(stored.things, round(stored.bridge * fps), stored.min_overlap, stored.min_pixels)


@dataclass(frozen=True)
class Tracked:
    """Result of one frame.

    Attributes:
        state: input of the next frame.
        instances: uint16 [H, W], ids that are stable over the shot; 0 = no object.
        num_new: number of tracks that begin here.
        num_bridged: number of gaps that end here: the object was found again.
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
        state: after the previous frame; `TrackState()` at the start of a shot.
        labels: uint8 [H, W].
        instances: uint16 [H, W], 0 = none, numbered in any way; None = connected areas of `settings.things`.
        flow: backward flow float32 [H, W, 2] into the previous frame, in pixels; None = unknown.
        confidence: of the flow, float32 [H, W] in [0, 1]; None = 1 everywhere.

    Raises:
        V2VError: the shot has more than `MAX_ID` objects.
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
        tracks[old.id] = _continue_track(
            old, _begin_track(objects, column, old.id), motions.get(row), labels.shape, settings.bridge
        )
        ids[column + 1] = old.id
    new = sorted(set(range(len(objects.classes))) - set(pairs.values()))
    if state.next_id + len(new) - 1 > MAX_ID:
        raise V2VError(
            "objects-too-many",
            f"A shot has more than {MAX_ID} objects, the most that an instance map can hold.",
            "Track fewer --things, raise --min-pixels, or cut the footage.",
        )
    for number, column in enumerate(new, start=state.next_id):
        tracks[number] = _begin_track(objects, column, number)
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
    """Track -> the object that continues it: by overlap first, the rest by distance."""
    overlap = overlaps(tracks, predicted, objects)
    pairs = assign(np.where(overlap >= min_overlap, overlap, 0))
    close = closeness(tracks, objects)
    close[list(pairs)] = 0
    close[:, list(pairs.values())] = 0
    return pairs | assign(close)


def _begin_track(objects: Objects, column: int, number: int) -> Track:
    box = objects.boxes[column]
    mask = np.asarray(objects.numbers[box] == column + 1)
    return Track(number, objects.classes[column], box[0].start, box[1].start, mask)


def _continue_track(
    old: Track, seen: Track, by_flow: tuple[float, float] | None, shape: tuple[int, ...], bridge: int
) -> Track:
    """The track after a match. Its motion is the mean of the last and the new motion.

    Without flow the new motion is that of the centre, between whole views of similar area only: the centre of a part,
    or of two touching objects, is another point.
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
    """Track -> its mean motion (x, y) by the flow, if enough of its pixels have confident flow."""
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
