"""Pose error and recall: where people's key points are in the output, against where they should be, and how many.

The error is of the key points that were found, so the two are read together.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from v2vkit.conditions.people import MIN_SCORE, Persons, estimated_people
from v2vkit.estimators.base import estimate_all
from v2vkit.evaluation.metrics.contract import MISSED, Batch, Metric, PerFrame, Value
from v2vkit.evaluation.metrics.repeated import Repeated
from v2vkit.evaluation.metrics.setup import Setup

_FAR = 0.5
"""Of the expected person's diagonal: a body that is farther away is not this person."""


def pose_error(found: Persons, expected: Persons) -> float | None:
    """Mean distance between body key points and the expected ones, in units of the expected person's diagonal.

    The diagonal is that of the box around the person's expected points, so the value does not depend on the frame's
    size. Each expected person is matched with at most one that was found; points that one of the two lacks are left
    out.

    Returns:
        the mean over all matched points; None where nobody was matched.
    """
    distances = _matched_distances(found, expected)
    return float(np.concatenate(distances).mean()) if distances else None


def pose_recall(found: Persons, expected: Persons) -> float | None:
    """Share of the expected body key points that the matched people have, in [0, 1].

    Returns:
        None where no expected person has two key points, so that nobody can be matched.
    """
    wanted = sum(number for person in expected if (number := int((person.body[:, 2] > 0).sum())) > 1)
    if not wanted:
        return None
    return sum(map(len, _matched_distances(found, expected))) / wanted


def _matched_distances(found: Persons, expected: Persons) -> list[NDArray[np.float64]]:
    """The distances between each expected person and the one that was matched with it."""
    costs = np.full((len(expected), len(found)), np.inf)
    for row, person in enumerate(expected):
        for column, other in enumerate(found):
            if len(distances := _distances(other.body, person.body)):
                costs[row, column] = distances.mean()
    matched = zip(*linear_sum_assignment(np.where(costs <= _FAR, costs, 1e6)), strict=True)
    return [_distances(found[c].body, expected[r].body) for r, c in matched if costs[r, c] <= _FAR]


def _distances(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of the points that both have, in units of the diagonal around the expected ones."""
    known = expected[:, 2] > 0
    both = known & (found[:, 2] > 0)
    if known.sum() < 2 or not both.any():
        return np.zeros(0)
    diagonal = float(np.linalg.norm(np.ptp(expected[known, :2].astype(np.float64), axis=0)))
    return np.linalg.norm((found - expected)[both, :2].astype(np.float64), axis=1) / max(diagonal, 1e-6)


def open_metric(setup: Setup) -> Metric:
    return _of_people(setup, _error)


def open_recall(setup: Setup) -> Metric:
    return _of_people(setup, pose_recall)


def _of_people(setup: Setup, value: Callable[[Persons, Persons], Value]) -> Metric:
    """The metric with this value of the people that were found and the expected ones."""
    pose: Any = setup.pose
    assert pose is not None, "needs a pose estimator"
    find = setup.once("people", lambda: Repeated(lambda images: estimate_all(pose, images)))

    def measure(batch: Batch) -> Sequence[Value]:
        expected: Sequence[Persons | None] = batch.beside["people"]
        wanted = [image for image, people in zip(batch.images, expected, strict=True) if people]
        found = iter(find(batch.method, wanted))
        return [
            value(estimated_people(next(found), MIN_SCORE) or (), people) if people else None for people in expected
        ]

    return PerFrame(measure, {"estimator": f"{pose.name} {pose.version}"}, needs="people")


def _error(found: Persons, expected: Persons) -> Value:
    value = pose_error(found, expected)
    return MISSED if value is None else value
