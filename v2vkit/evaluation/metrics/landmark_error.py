"""Landmark error: where the face's landmarks are in the output, against where they should be."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from v2vkit.conditions.landmarks import NUM_LANDMARKS, landmark_errors
from v2vkit.estimators.base import estimate_all
from v2vkit.evaluation.metrics.contract import MISSED, Batch, FloatMap, Metric, PerFrame, Value
from v2vkit.evaluation.metrics.repeated import Repeated
from v2vkit.evaluation.metrics.setup import Setup


def landmark_error(found: FloatMap, expected: FloatMap) -> float:
    """Mean distance between 68 landmarks [68, 2] and the expected ones, in units of the expected outer eye distance."""
    return float(landmark_errors(found.astype(np.float64), expected.astype(np.float64)).mean())


def open_metric(setup: Setup) -> Metric:
    face: Any = setup.face
    assert face is not None, "needs a face estimator"
    find = Repeated(lambda images: [_landmarks(points) for points in estimate_all(face, images)])

    def measure(batch: Batch) -> Sequence[Value]:
        expected = batch.beside["landmarks"]
        wanted = [image for image, points in zip(batch.images, expected, strict=True) if points is not None]
        found = iter(find(batch.method, wanted))
        return [None if points is None else _error(next(found), points) for points in expected]

    return PerFrame(measure, {"estimator": f"{face.name} {face.version}"}, needs="landmarks")


def _landmarks(points: FloatMap | None) -> FloatMap | None:
    """The landmarks of an estimator's points, which may have irises behind them."""
    return None if points is None else points[:NUM_LANDMARKS]


def _error(found: FloatMap | None, expected: FloatMap) -> Value:
    return MISSED if found is None else landmark_error(found, expected)
