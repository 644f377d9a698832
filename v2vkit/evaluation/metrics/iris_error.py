"""Iris error: where the eyes look in the output, against where they look in the real frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.landmarks import NUM_IRISES, NUM_LANDMARKS
from v2vkit.estimators.base import estimate_all
from v2vkit.evaluation.metrics.contract import MISSED, REAL, Batch, FloatMap, Metric, PerFrame, Value
from v2vkit.evaluation.metrics.repeated import Repeated
from v2vkit.evaluation.metrics.setup import Setup

OPEN = 0.15
"""Height of an eye's opening / its width: below it the real eye is closed and its iris a guess."""

_CORNERS = np.array([[36, 39], [42, 45]])
_UPPER_LID, _LOWER_LID = np.array([[37, 38], [43, 44]]), np.array([[41, 40], [47, 46]])
_CENTRES = np.array([NUM_LANDMARKS, NUM_LANDMARKS + NUM_IRISES // 2])


def gaze(points: FloatMap) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the irises lie in their eyes.

    Args:
        points: float32 [78, 2], landmarks and irises.

    Returns:
        of the right and the left eye: position of the iris [2, 2], from the middle between the corners, along the line
        through them (right in the image positive) and across it (down positive), in widths of the eye; and the opening
        of the eye [2], in widths.
    """
    points = points.astype(np.float64)
    first, last = points[_CORNERS[:, 0]], points[_CORNERS[:, 1]]
    width = np.maximum(np.linalg.norm(last - first, axis=1, keepdims=True), 1e-6)
    along = (last - first) / width
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    offset = points[_CENTRES] - (first + last) / 2
    place = np.stack([(offset * along).sum(1), (offset * across).sum(1)], 1) / width
    opening = np.linalg.norm(points[_UPPER_LID] - points[_LOWER_LID], axis=2).mean(1) / width[:, 0]
    return place, opening


def iris_error(found: FloatMap, expected: FloatMap) -> float | None:
    """Mean distance between the irises' positions in their eyes, [78, 2] each, in widths of the eye.

    Eyes that are closed in `expected` are left out; None where both are.
    """
    place, opening = gaze(expected)
    seen = opening >= OPEN
    if not seen.any():
        return None
    return float(np.linalg.norm(gaze(found)[0] - place, axis=1)[seen].mean())


def open_metric(setup: Setup) -> Metric:
    face: Any = setup.face
    assert face is not None, "needs a face estimator with irises"
    find = Repeated(lambda images: estimate_all(face, images))

    def measure(batch: Batch) -> Sequence[Value]:
        if batch.method == REAL or batch.real is None:
            return [None] * len(batch.images)
        pairs = zip(find(batch.method, batch.images), find(REAL, batch.real), strict=True)
        return [None if expected is None else _error(found, expected) for found, expected in pairs]

    return PerFrame(measure, {"estimator": f"{face.name} {face.version}", "closed_below": OPEN})


def _error(found: FloatMap | None, expected: FloatMap) -> Value:
    return MISSED if found is None else iris_error(found, expected)
