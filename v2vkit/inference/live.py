"""Source maps made of a video's frames on the fly, exactly as the stages make them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.base import Condition
from v2vkit.conditions.conditioning import annotate, to_unit, was_found
from v2vkit.conditions.domains import domains_that
from v2vkit.conditions.regions import Regions
from v2vkit.conditions.settings import Origin
from v2vkit.engine.threads import batched
from v2vkit.errors import V2VError
from v2vkit.estimators.base import FaceEstimator, frame_itself
from v2vkit.estimators.registry import chosen, open_estimator
from v2vkit.weights import file_digest

Image = NDArray[np.uint8]
Mapped = tuple[Image, NDArray[np.float32], Regions | None, bool]
Placed = Callable[[Image], Placement | None]
"""A frame of the model's size, RGB uint8 [H, W, 3] -> where its subject is, in pixels; None = none was found."""
Live = Callable[[Iterable[Image]], Iterator[Mapped]]
"""Consecutive frames of one shot, RGB uint8 [H, W, 3] -> (frame, s float32 [C, H, W] in [0, 1], regions, found) of
each, in order, with a bounded look-ahead. `regions`: as in `v2vkit.conditions.regions`, None where the model has none;
`found`: the estimators saw something in this very frame."""

_DRAWING_THREADS = 2


def open_live(info: ModelInfo, source: str, *, device: str = "cpu") -> Live:
    """What makes the model's source maps, its estimators ready.

    Args:
        source: the video, for messages.
        device: where the estimators run, if they are networks of torch (`v2vkit.engine.devices`), wherever they ran for
            the training's maps.

    Raises:
        V2VError: the model needs maps that no estimator makes here, or an estimator or the device is missing.
    """
    for condition, origin in info.conditions:
        _check_weights(condition, origin)
        condition.refuse_other_footage(origin, source)
    annotators = [
        partial(
            condition.annotate,
            estimator=_open(condition, origin, device),
            settings=origin.settings,
            size=(info.width, info.height),
        )
        for condition, origin in info.conditions
    ]
    together = min(condition.together for condition, _ in info.conditions)

    def maps(frames: Iterable[Image]) -> Iterator[Mapped]:
        with ThreadPoolExecutor(_DRAWING_THREADS) as pool:
            for batch in batched(annotate(annotators, frames), together):
                prepared = info.conditioning.prepare([annotations for _, annotations in batch])
                images = [image for image, _ in batch]
                yield from [*pool.map(draw, images, prepared)]  # nothing is drawn any more when the first is given

    def draw(image: Image, annotations: tuple[Any, ...]) -> Mapped:
        drawn = info.conditioning.draw(annotations, image)
        s = to_unit(info.conditioning.channels(drawn, image))
        return image, s, info.conditioning.regions(drawn), was_found(drawn)

    return maps


def _check_weights(condition: Condition[Any], origin: Origin) -> None:
    """Whether the weights behind the model's maps, where their checksum is known, are the same as then."""
    path, known = condition.Settings.model_validate(origin.settings).weights, origin.estimator.get("weights")
    if path is None or known is None:
        return
    missing = not Path(path).is_file()
    if not missing and file_digest(path) == known:
        return
    raise V2VError(
        "weights-missing" if missing else "weights-mismatch",
        f"The {condition.artifact} that this model was trained on were made with the weights {path}, which "
        f"{'are not there any more' if missing else 'have changed since'}.",
        f"Put them back, or make a workspace of the driving video with `v2v {origin.stage}` and render with --maps.",
    )


def _open(condition: Condition[Any], origin: Origin, device: str) -> Any:
    """The estimator behind a condition, on this device; where there is none the frame is the annotation."""
    if condition.task is None:  # others are refused before
        return frame_itself
    name, own = chosen(condition.task, origin.settings | {"device": device})
    return open_estimator(condition.task, name, **own)


def open_face(settings: dict[str, Any]) -> FaceEstimator:
    """The face estimator of the settings of `make-sketches`."""
    name, own = chosen("face", settings)
    estimator: FaceEstimator = open_estimator("face", name, **own)
    return estimator


def open_placement(info: ModelInfo, *, device: str = "cpu") -> Placed:
    """What finds the subject of a frame of the model's size, as the stage of its maps does: RGB uint8 [H, W, 3] in.

    Args:
        device: as in `open_live`.

    Raises:
        V2VError: the model's conditions have no subject, or the estimator or the device is missing.
    """
    subject = info.conditioning.with_subject
    if subject is None:
        shown = " and ".join(domains_that("has_subject"))
        raise V2VError(
            "alignment-unsupported",
            f"--align moves {shown}, and this model is conditioned on {info.conditioning.names}.",
            "Leave it out.",
        )
    origin = info.origins[info.conditioning.conditions.index(subject)]
    estimator = _open(subject, origin, device)
    alone = origin.settings | {"smooth": 0, "missing": "blank"}

    def place(image: Image) -> Placement | None:
        ((_, annotation),) = subject.annotate([image], estimator, alone, size=(info.width, info.height))
        return subject.align(annotation)

    return place
