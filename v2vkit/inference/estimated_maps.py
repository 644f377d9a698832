"""Estimates the conditions of a video on the fly, with the same results as the stages."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.base import Condition
from v2vkit.conditions.conditioning import annotate, to_unit, was_found
from v2vkit.conditions.domains import domains_that
from v2vkit.conditions.proportions import Annotate, Proportions, retargeting
from v2vkit.conditions.regions import Regions
from v2vkit.conditions.settings import Origin
from v2vkit.engine.threads import batched
from v2vkit.errors import V2VError
from v2vkit.estimators.base import FaceEstimator, frame_itself
from v2vkit.estimators.registry import chosen, open_estimator
from v2vkit.weights import file_digest

EstimatedFrame = tuple[Image, NDArray[np.float32], Regions | None, bool]
FindPlacement = Callable[[Image], Placement | None]
"""A frame of the model's size, RGB uint8 [H, W, 3] -> position and size of its subject in pixels; None = not found."""
MapMaker = Callable[[Iterable[Image]], Iterator[EstimatedFrame]]
"""Consecutive frames of one shot, RGB uint8 [H, W, 3] -> (frame, s float32 [C, H, W] in [0, 1], regions, found) of
each, in order, with a bounded look-ahead. `regions`: as in `v2vkit.conditions.regions`, None if the model has none;
`found`: the estimators found something in this frame."""

EditShot = Callable[[Iterable[tuple[Image, tuple[Any, ...]]]], Iterator[tuple[Image, tuple[Any, ...]]]]
"""(frame, annotations) of one shot in order -> the same with edited annotations."""

_DRAWING_THREADS = 2


def open_map_maker(
    info: ModelInfo,
    source: str,
    *,
    device: str = "cpu",
    causal: bool = False,
    edit: EditShot | None = None,
    target: Proportions | None = None,
    keep_place: bool = False,
) -> MapMaker:
    """Opens the estimators of the model's conditions; gives the function that makes source maps of frames.

    Args:
        source: name of the video, for messages.
        device: where estimators that are torch networks run (`v2vkit.engine.devices`), wherever they ran for training.
        causal: without look-ahead, which changes smoothing and gap filling; each frame is yielded before the next one
            is read.
        edit: applied to the annotations of every shot before they are drawn.
        target, keep_place: as in `retargeting`; None = the subject keeps its proportions.

    Raises:
        V2VError: a condition cannot be estimated, or an estimator or the device is missing.
    """
    for condition, origin in info.conditions:
        _check_weights(condition, origin)
        condition.refuse_other_footage(origin, source)
    annotators: list[Annotate] = [
        partial(
            condition.annotate,
            estimator=_open(condition, origin, device),
            settings=origin.settings | ({"causal": True} if causal else {}),
            size=(info.width, info.height),
            together=1 if causal else None,
        )
        for condition, origin in info.conditions
    ]
    if target is not None and (subject := info.conditioning.with_subject) is not None:
        at = info.conditioning.conditions.index(subject)
        annotators[at] = retargeting(annotators[at], subject, target, keep_place=keep_place)
    together = 1 if causal else min(condition.together for condition, _ in info.conditions)

    def maps(frames: Iterable[Image]) -> Iterator[EstimatedFrame]:
        with ThreadPoolExecutor(_DRAWING_THREADS) as pool:
            annotated = annotate(annotators, frames)
            for batch in batched(annotated if edit is None else edit(annotated), together):
                prepared = info.conditioning.prepare([annotations for _, annotations in batch])
                images = [image for image, _ in batch]
                yield from [*pool.map(draw, images, prepared)]  # all are drawn before the first is yielded

    def draw(image: Image, annotations: tuple[Any, ...]) -> EstimatedFrame:
        drawn = info.conditioning.draw(annotations, image)
        s = to_unit(info.conditioning.channels(drawn, image))
        return image, s, info.conditioning.regions(drawn), was_found(drawn)

    return maps


def _check_weights(condition: Condition[Any], origin: Origin) -> None:
    """Check that the estimator's weights have the checksum that they had when the training maps were made, if known."""
    path, known = condition.Settings.model_validate(origin.settings).weights, origin.estimator.get("weights")
    if path is None or known is None:
        return
    missing = not Path(path).is_file()
    if not missing and file_digest(path) == known:
        return
    raise V2VError(
        "weights-missing" if missing else "weights-mismatch",
        f"The {condition.artifact} of the training were made with the weights {path}, which "
        f"{'do not exist any more' if missing else 'have changed since'}.",
        f"Put them back, or make a workspace of the input video with `v2v {origin.stage}` and render it with --maps.",
    )


def _open(condition: Condition[Any], origin: Origin, device: str) -> Any:
    """The estimator of a condition on this device; for conditions without one, the identity."""
    if condition.task is None:  # the frame itself is the annotation; other conditions were refused before
        return frame_itself
    name, own = chosen(condition.task, origin.settings | {"device": device})
    return open_estimator(condition.task, name, **own)


def open_face(settings: dict[str, Any]) -> FaceEstimator:
    """The face estimator that these settings of `make-sketches` name."""
    name, own = chosen("face", settings)
    estimator: FaceEstimator = open_estimator("face", name, **own)
    return estimator


def open_placement(info: ModelInfo, *, device: str = "cpu") -> FindPlacement:
    """Opens the function that finds the subject of a frame, with the estimator of the model's training maps.

    Args:
        device: as in `open_map_maker`.

    Raises:
        V2VError: no condition of the model has a subject, or the estimator or the device is missing.
    """
    subject = info.conditioning.with_subject
    if subject is None:
        shown = " and ".join(domains_that("has_subject"))
        raise V2VError(
            "alignment-unsupported",
            f"--align is for {shown}; this model is conditioned on {info.conditioning.names}.",
            "Leave it out.",
        )
    origin = info.origins[info.conditioning.conditions.index(subject)]
    estimator = _open(subject, origin, device)
    alone = origin.settings | {"smooth": 0, "missing": "blank"}

    def place(image: Image) -> Placement | None:
        ((_, annotation),) = subject.annotate([image], estimator, alone, size=(info.width, info.height))
        return subject.align(annotation)

    return place
