"""Identity distance: whether the face in the output is the person of the real frame, by dlib's embeddings."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from v2vkit.arrays import Image
from v2vkit.conditions.landmarks import NUM_LANDMARKS
from v2vkit.estimators.base import IdentityEstimator, estimate_all
from v2vkit.estimators.registry import open_estimator
from v2vkit.evaluation.metrics.contract import MISSED, REAL, Batch, FloatMap, Metric, PerFrame, Value
from v2vkit.evaluation.metrics.repeated import Repeated
from v2vkit.evaluation.metrics.setup import Setup

WEIGHTS = "dlib-face-id"
"""Name of the network in the weights store."""
SAME_PERSON = 0.6
"""Two photos with a smaller distance show the same person (dlib's dnn_face_recognition_ex)."""

Embed = Callable[[Sequence[Image]], list[FloatMap | None]]
"""RGB uint8 [H, W, 3] frames -> the embedding of each one's face, float32 [128]; None = no face."""


def identity_distance(found: FloatMap, expected: FloatMap) -> float:
    """Euclidean distance between two embeddings of faces [128]; below `SAME_PERSON`: the same person."""
    return float(np.linalg.norm(found.astype(np.float64) - expected.astype(np.float64)))


def open_identity(setup: Setup) -> IdentityEstimator:
    """dlib's network with the weights of the setup.

    Raises:
        V2VError: the library is not installed, or the file is not dlib's network.
    """
    network: IdentityEstimator = open_estimator("identity", "dlib", weights=str(setup.weights[WEIGHTS]))
    return network


def embedding(face: Any, identity: IdentityEstimator) -> Embed:
    """The function that embeds the faces of frames.

    Args:
        face: `FaceEstimator` that finds the face.
        identity: the network.
    """

    def embed(images: Sequence[Image]) -> list[FloatMap | None]:
        landmarks: list[FloatMap | None] = estimate_all(face, images)
        return [
            None if points is None else identity(image, points[:NUM_LANDMARKS])  # irises may be behind them
            for image, points in zip(images, landmarks, strict=True)
        ]

    return embed


def open_metric(setup: Setup) -> Metric:
    face: Any = setup.face
    assert face is not None, "needs a face estimator"
    identity = open_identity(setup)
    embed = Repeated(embedding(face, identity))

    def measure(batch: Batch) -> Sequence[Value]:
        if batch.method == REAL or batch.real is None:
            return [None] * len(batch.images)
        pairs = zip(embed(batch.method, batch.images), embed(REAL, batch.real), strict=True)
        return [None if expected is None else _distance(found, expected) for found, expected in pairs]

    about = {
        "backbone": f"{identity.name} {identity.version}",
        "estimator": f"{face.name} {face.version}",
        "same_person_below": SAME_PERSON,
    }
    return PerFrame(measure, about)


def _distance(found: FloatMap | None, expected: FloatMap) -> Value:
    return MISSED if found is None else identity_distance(found, expected)
