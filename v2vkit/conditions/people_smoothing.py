"""Temporal smoothing and gap filling of people's key points."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.people import DECIMALS, F, Person, Persons, Points, estimated_people, map_points, parts_of
from v2vkit.conditions.smoothing import Interpolation, Missing, smooth_estimates

_SAME_PERSON = 0.25  # of a body's diagonal; a body farther away is another person's


def smooth_people(
    frames: Iterable[F],
    estimate: Callable[[F], Points | Persons],
    *,
    smooth: int = 0,
    missing: Missing = "hold",
    min_score: float = 0.0,
    causal: bool = False,
) -> Iterator[tuple[F, Persons | None, bool]]:
    """People of one clip, gaps filled and smoothed: (frame, people or None, found); see `smooth_estimates`.

    Args:
        estimate: a pose estimator, RGB uint8 [H, W, 3] -> float32 [people, 25, 3], or a reader of its results.
        min_score: points that score less count as missing.
        smooth, missing, causal: as in `smooth_estimates` (`smooth` is its window).
    """
    return smooth_estimates(
        frames,
        lambda frame: estimated_people(estimate(frame), min_score),
        PEOPLE,
        window=smooth,
        missing=missing,
        causal=causal,
    )


def _match(person: Person, people: Persons) -> Person | None:
    """The same person in another frame: the nearest body; None if none is near enough."""
    there = person.body[:, 2] > 0
    if not there.any():
        return None
    limit = _SAME_PERSON * float(np.linalg.norm(np.ptp(person.body[there, :2], axis=0)))
    best: Person | None = None
    for other in people:
        shared = there & (other.body[:, 2] > 0)
        if shared.any():
            distance = float(np.linalg.norm(person.body[shared, :2] - other.body[shared, :2], axis=1).mean())
            if distance <= limit:
                best, limit = other, distance
    return best


def _blend(middle: Points, others: Sequence[tuple[Points | None, float]], weight: float) -> Points:
    """Weighted mean of x and y over those that have the point; scores and missing points are those of `middle`."""
    total, sums = middle[:, :2] * np.float32(weight), np.full((len(middle), 1), weight, np.float32)
    for points, share in others:
        if points is not None:
            there = (points[:, 2:] > 0) * np.float32(share)
            total, sums = total + there * points[:, :2], sums + there
    blended = np.concatenate([total / np.maximum(sums, np.float32(1e-6)), middle[:, 2:]], 1)
    return np.where((middle[:, 2:] > 0) & (sums > 0), blended, middle).astype(np.float32)


def _blend_person(person: Person, others: Sequence[tuple[Person | None, float]], weight: float) -> Person:
    blended: dict[str, Any] = {
        name: _blend(points, [(getattr(other, name), share) for other, share in others if other], weight)
        for name, points in parts_of(person).items()
    }
    return replace(person, **blended)


def _between(before: Persons, after: Persons, share: float) -> Persons:
    """The people of `before` moved by `share` towards their positions in `after`; without a match they stay."""
    return tuple(_blend_person(person, [(_match(person, after), share)], 1 - share) for person in before)


def _mean(around: Sequence[Persons | None], weights: NDArray[np.float32]) -> Persons:
    radius = len(around) // 2
    middle = around[radius]
    assert middle is not None
    neighbours = [(people, float(weights[i])) for i, people in enumerate(around) if people is not None and i != radius]
    return tuple(
        _blend_person(person, [(_match(person, people), share) for people, share in neighbours], float(weights[radius]))
        for person in middle
    )


def _rounded(people: Persons) -> Persons:
    def keep(points: Points) -> Points:
        kept = np.round(points.astype(np.float64), DECIMALS).astype(np.float32)
        kept[kept[:, 0] == 0, 2] = 0  # so that memory equals what is read from the file
        return kept

    return tuple(map_points(person, keep) for person in people)


PEOPLE: Interpolation[Persons] = Interpolation(_between, _mean, _rounded)
"""Interpolation and averaging of people in time."""
