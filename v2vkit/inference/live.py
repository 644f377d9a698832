"""Source maps made of a video's frames on the fly, exactly as the stages make them: one row for each domain."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.alignment import Placement, place_face, place_people
from v2vkit.conditions.curves import Strokes, strokes_of
from v2vkit.conditions.labels import keep_labels
from v2vkit.conditions.landmarks import Landmarks, follow_face
from v2vkit.conditions.people import People, estimated_people, follow_people
from v2vkit.conditions.regions import Regions, region_ids
from v2vkit.conditions.skeleton import draw_people, skeleton_channels
from v2vkit.conditions.sketch import draw_sketch, face_channels
from v2vkit.conditions.source import DOMAINS, street_channels, to_unit
from v2vkit.config import IGNORE, DomainName
from v2vkit.engine.threads import batched
from v2vkit.errors import V2VError
from v2vkit.estimators.base import FaceEstimator, PoseEstimator, SegmentEstimator, look_at
from v2vkit.estimators.registry import chosen, open_estimator
from v2vkit.weights import file_digest

T = TypeVar("T")
Image = NDArray[np.uint8]
Mapped = tuple[Image, NDArray[np.float32], Regions | None, bool]
Placed = Callable[[Image], Placement | None]
"""A frame of the model's size, RGB uint8 [H, W, 3] -> where its subject is, in pixels; None = none was found."""
Live = Callable[[Iterable[Image]], Iterator[Mapped]]
"""Consecutive frames of one shot, RGB uint8 [H, W, 3] -> (frame, s float32 [C, H, W] in [0, 1], regions, found) of
each, in order, with a bounded look-ahead. `regions`: as in `v2vkit.conditions.regions`, None where the domain has none;
`found`: the estimator saw something in this very frame."""

_BATCH = 4  # frames that are looked at, and drawn, together
_DRAWING_THREADS = 2


def open_live(info: ModelInfo, source: str, *, device: str = "cpu") -> Live:
    """What makes the model's source maps, its estimator ready.

    Args:
        source: the video, for messages.
        device: where the estimator runs, if it is a network of torch (`v2vkit.engine.devices`), wherever it ran for
            the training's maps.

    Raises:
        V2VError: the model needs maps that no estimator makes here, or the estimator or the device is missing.
    """
    _check_weights(info)
    return _LIVE[info.source.domain](_running_on(info, device), source)


def _running_on(info: ModelInfo, device: str) -> ModelInfo:
    """The same description, with the estimator of its maps on this device."""
    return info.model_copy(update={"maps": info.maps | {"device": device}})


def _check_weights(info: ModelInfo) -> None:
    """Whether the weights behind the model's maps, where their checksum is known, are the same as then."""
    path, known = info.map_settings.weights, info.estimator.get("weights")
    if path is None or known is None:
        return
    what = f"{DOMAINS[info.source.domain].kind} that this model was trained on were made with the weights {path}"
    if not Path(path).is_file():
        problem = "which are not there any more"
    elif file_digest(path) != known:
        problem = "which have changed since"
    else:
        return
    raise V2VError(
        f"The {what}, {problem}.",
        f"Put them back, or make a workspace of the driving video with `v2v {info.maps_stage}` and render with --maps.",
    )


def open_face(settings: dict[str, Any]) -> FaceEstimator:
    """The face estimator of the settings of `make-sketches`."""
    estimator: FaceEstimator = _open("face", settings)
    return estimator


def _open(task: str, settings: dict[str, Any]) -> Any:
    name, own = chosen(task, settings)
    return open_estimator(task, name, **own)


def open_placement(info: ModelInfo, *, device: str = "cpu") -> Placed:
    """What finds the subject of a frame of the model's size, as the stage of its maps does: RGB uint8 [H, W, 3] in.

    Args:
        device: as in `open_live`.

    Raises:
        V2VError: the model's domain has no subject, or the estimator or the device is missing.
    """
    place = _PLACED.get(info.source.domain)
    if place is None:
        raise V2VError(f"--align moves faces and people, and this model is of a {info.source.domain}.", "Leave it out.")
    return place(_running_on(info, device))


def _placed_face(info: ModelInfo) -> Placed:
    face = open_face(info.maps)
    return lambda image: place_face(face(image))


def _placed_pose(info: ModelInfo) -> Placed:
    pose: PoseEstimator = _open("pose", info.maps)
    score = info.map_settings.point_score
    return lambda image: place_people(estimated_people(pose(image), score))


def _looked_at(frames: Iterable[Image], estimator: Callable[[Image], T]) -> Iterator[tuple[Image, T]]:
    """Every frame and what the estimator gives for it; drawn `_BATCH` at a time."""
    for images in batched(frames, _BATCH):
        yield from zip(images, look_at(estimator, images), strict=True)


def _live_face(info: ModelInfo, source: str) -> Live:
    settings, estimator = info.map_settings, open_face(info.maps)

    def maps(frames: Iterable[Image]) -> Iterator[Mapped]:
        looked_at = _looked_at(frames, estimator)
        followed = follow_face(looked_at, itemgetter(1), smooth=settings.smooth, missing=settings.missing)
        with ThreadPoolExecutor(_DRAWING_THREADS) as pool:
            for batch in batched(followed, _BATCH):
                strokes = strokes_of([landmarks for _, landmarks, _ in batch])
                yield from [*pool.map(draw, batch, strokes)]  # nothing is drawn any more when the first is given

    def draw(followed: tuple[tuple[Image, object], Landmarks | None, bool], strokes: Strokes | None) -> Mapped:
        (image, _), landmarks, found = followed
        sketch, parts = draw_sketch(image, landmarks, canny=settings.canny, strokes=strokes)
        return image, to_unit(face_channels(landmarks, sketch, strokes=strokes)), region_ids(parts), found

    return maps


def _live_pose(info: ModelInfo, source: str) -> Live:
    settings = info.map_settings
    if settings.openpose is not None:
        raise V2VError(
            "This model was trained on key points that OpenPose wrote; nothing here makes them from a video.",
            "Make a workspace of the driving video with `v2v estimate-pose --openpose FOLDER`, and render with --maps.",
        )
    estimator: PoseEstimator = _open("pose", info.maps)

    def maps(frames: Iterable[Image]) -> Iterator[Mapped]:
        followed = follow_people(
            _looked_at(frames, estimator),
            itemgetter(1),
            smooth=settings.smooth,
            missing=settings.missing,
            min_score=settings.point_score,
        )
        with ThreadPoolExecutor(_DRAWING_THREADS) as pool:
            for batch in batched(followed, _BATCH):
                yield from [*pool.map(draw, batch)]

    def draw(followed: tuple[tuple[Image, object], People | None, bool]) -> Mapped:
        (image, _), people, found = followed
        drawing = draw_people(people, (image.shape[1], image.shape[0]), stroke=settings.stroke)
        return image, to_unit(skeleton_channels(drawing)), None, found

    return maps


def _live_street(info: ModelInfo, source: str) -> Live:
    if info.maps_stage != "segment":
        raise V2VError(
            f"This model is conditioned on labels that came with their frames, which cannot be made from {source}.",
            "Give a folder of label maps instead of a video, or a workspace with --maps.",
        )
    estimator: SegmentEstimator = _open("segment", info.maps)
    keep = info.map_settings.keep

    def maps(frames: Iterable[Image]) -> Iterator[Mapped]:
        for image in frames:
            segments = estimator(image)
            labels, instances = keep_labels(segments.labels, segments.instances, keep)
            s, regions = street_channels(labels, instances, info.source), region_ids(labels, instances)
            yield image, to_unit(s), regions, bool((labels != IGNORE).any())

    return maps


_PLACED: dict[DomainName, Callable[[ModelInfo], Placed]] = {"face": _placed_face, "pose": _placed_pose}
_LIVE: dict[DomainName, Callable[[ModelInfo, str], Live]] = {
    "face": _live_face,
    "pose": _live_pose,
    "street": _live_street,
}
