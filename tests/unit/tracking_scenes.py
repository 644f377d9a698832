"""Small made-up scenes for the tests of tracking: boxes that move, with instance maps numbered anew in every frame."""

from collections.abc import Sequence

import numpy as np

from v2vkit.conditions.tracking import Tracked, TrackSettings, TrackState, track_frame

CAR, PERSON, ROAD = 6, 7, 2
SIZE = (40, 96)  # height, width

Box = tuple[int, int, int, int]  # top, left, height, width


def draw(boxes: Sequence[Box | None], *, labels: Sequence[int] = (), shuffle: int | None = None) -> tuple:
    """Labels uint8, instances uint16 and truth uint16 (number in the list, from 1) of boxes; later ones are in front.

    `shuffle` is the seed by which the instances are numbered; without it they are in their order.
    """
    truth = np.zeros(SIZE, np.uint16)
    classes = np.full(len(boxes) + 1, ROAD, np.uint8)
    for number, box in enumerate(boxes, start=1):
        classes[number] = labels[number - 1] if labels else CAR
        if box is not None:
            top, left, height, width = box
            truth[max(0, top) : top + height, max(0, left) : max(0, left + width)] = number
    table = np.zeros(len(boxes) + 1, np.uint16)
    order = np.arange(len(boxes)) if shuffle is None else np.random.default_rng(shuffle).permutation(len(boxes))
    table[1:] = 11 * (order + 1)
    return classes[truth], table[truth], truth


def track(frames: Sequence[tuple], *, state: TrackState | None = None, **settings: object) -> list[Tracked]:
    """Every frame's result; a frame is (labels, instances or None) and what else `track_frame` takes by name."""
    chosen = TrackSettings(**settings)
    results, state = [], state or TrackState()
    for labels, instances, *more in frames:
        results.append(
            track_frame(state, labels=labels, instances=instances, **(more[0] if more else {}), settings=chosen)
        )
        state = results[-1].state
    return results


def ids_of(truth: np.ndarray, instances: np.ndarray) -> dict[int, int]:
    """True number -> the id that most of its pixels have."""
    return {int(number): int(np.bincount(instances[truth == number]).argmax()) for number in np.unique(truth) if number}


def switches(truths: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> int:
    """How often an object has another id than when it was seen last."""
    last: dict[int, int] = {}
    count = 0
    for truth, instances in zip(truths, maps, strict=True):
        for number, found in ids_of(truth, instances).items():
            count += last.get(number, found) != found
            last[number] = found
    return count


def exact_flow(before: Sequence[Box], now: Sequence[Box]) -> np.ndarray:
    """Backward flow float32 [H, W, 2] of boxes before a background that stands still."""
    flow = np.zeros((*SIZE, 2), np.float32)
    for old, new in zip(before, now, strict=True):
        top, left, height, width = new
        flow[max(0, top) : top + height, max(0, left) : max(0, left + width)] = old[1] - left, old[0] - top
    return flow
