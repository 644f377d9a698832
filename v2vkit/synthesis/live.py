"""Source maps made of a video's frames on the fly, exactly as the stages make them: one row for each domain."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.config import DomainName
from v2vkit.errors import V2VError
from v2vkit.estimators.base import FaceEstimator, PoseEstimator
from v2vkit.estimators.table import open_estimator
from v2vkit.maps.landmarks import follow_face
from v2vkit.maps.people import MIN_SCORE, follow_people
from v2vkit.maps.skeleton import draw_people, skeleton_channels
from v2vkit.maps.sketch import draw_sketch, face_channels
from v2vkit.maps.source import DOMAINS
from v2vkit.synthesis.model import ModelInfo

Image = NDArray[np.uint8]
Mapped = tuple[Image, NDArray[np.float32], bool]


@dataclass(frozen=True)
class Live:
    """How a domain's source maps come from frames.

    Attributes:
        maps: consecutive frames, RGB uint8 [H, W, 3] -> (frame, s float32 [C, H, W] in [0, 1], found) of each, in
            order, with a bounded look-ahead; `found` = the estimator saw something in this very frame.
        nothing: what a frame is counted under in which nothing was found.
        find_face: the face estimator that crops are placed with, where the maps need one, too.
    """

    maps: Callable[[Iterable[Image]], Iterator[Mapped]]
    nothing: str
    find_face: FaceEstimator | None = None


def open_live(info: ModelInfo, source: str) -> Live:
    """What makes the model's source maps, its estimator ready.

    Args:
        source: the video, for messages.

    Raises:
        V2VError: the model needs maps that no estimator makes here, or the estimator is missing.
    """
    domain = info.source.domain
    if domain not in _LIVE:
        raise V2VError(
            f"This model is conditioned on {DOMAINS[domain].kind}, which cannot be made from {source}.",
            "Give a folder of label maps instead of a video, or a workspace with --maps.",
        )
    return _LIVE[domain](info.maps)


def open_face(settings: dict[str, Any], *, weights: str = "weights") -> FaceEstimator:
    """The face estimator of a stage's settings (`face`, and its weights under that name)."""
    path = settings.get(weights)
    estimator: FaceEstimator = open_estimator(
        "face", settings.get("face", "mediapipe"), **({"weights": path} if path else {})
    )
    return estimator


def _live_face(settings: dict[str, Any]) -> Live:
    estimator = open_face(settings)

    def maps(frames: Iterable[Image]) -> Iterator[Mapped]:
        followed = follow_face(
            frames, estimator, smooth=settings.get("smooth", 0), missing=settings.get("missing", "hold")
        )
        for image, landmarks, found in followed:
            sketch, _ = draw_sketch(image, landmarks, canny=settings.get("canny", True))
            yield image, face_channels(landmarks, sketch), found

    return Live(maps, "no face", estimator)


def _live_pose(settings: dict[str, Any]) -> Live:
    if settings.get("openpose") is not None:
        raise V2VError(
            "This model was trained on key points that OpenPose wrote; nothing here makes them from a video.",
            "Make a workspace of the driving video with `v2v estimate-pose --openpose FOLDER`, and render with --maps.",
        )
    estimator: PoseEstimator = open_estimator("pose", settings.get("pose", "mediapipe"))
    score = settings.get("min_score")

    def maps(frames: Iterable[Image]) -> Iterator[Mapped]:
        followed = follow_people(
            frames,
            estimator,
            smooth=settings.get("smooth", 0),
            missing=settings.get("missing", "hold"),
            min_score=MIN_SCORE if score is None else score,
        )
        for image, people, found in followed:
            size = (image.shape[1], image.shape[0])
            yield image, skeleton_channels(draw_people(people, size, stroke=settings.get("stroke", 0))), found

    return Live(maps, "no person")


_LIVE: dict[DomainName, Callable[[dict[str, Any]], Live]] = {"face": _live_face, "pose": _live_pose}
