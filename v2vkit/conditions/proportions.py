"""Proportions of the subject (a face or a body): measured on the training footage, applied to a driving video."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from v2vkit.arrays import Image
from v2vkit.conditions.body_proportions import BodyProportions
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.face_proportions import FaceProportions

Annotate = Callable[[Iterable[Image]], Iterator[tuple[Image, Any]]]
Proportions = Annotated[FaceProportions | BodyProportions, Field(discriminator="kind")]

LOOK_AHEAD = 48
"""Frames at the beginning of a shot from which the driver's proportions are measured; they are kept in memory."""
_SAMPLE = 200
"""Frames of the training footage that are measured."""


def typical_proportions(reader: ClipReader, conditioning: Conditioning) -> FaceProportions | BodyProportions | None:
    """The proportions of the clips' subject over evenly spread frames; None if there is no subject."""
    found = conditioning.with_subject
    if found is None:
        return None
    frames = [(clip.name, t) for clip in reader.clips for t in range(clip.num_frames)]
    chosen = np.unique(np.linspace(0, len(frames) - 1, _SAMPLE).round().astype(int))
    measured: FaceProportions | BodyProportions | None = found.measure(
        reader.annotation(found, *frames[number], "align") for number in chosen
    )
    return measured


def retargeting(annotate: Annotate, condition: Any, target: Any, *, keep_place: bool) -> Annotate:
    """The annotations of a shot with the target's proportions.

    The driver's own are measured on the first `LOOK_AHEAD` frames of the shot. Where these show no subject, the shot is
    left as it is.

    Args:
        annotate: of the condition.
        condition: the one with the subject.
        target: proportions of the training footage.
        keep_place: as in `retarget_face`.
    """

    def retargeted(frames: Iterable[Image]) -> Iterator[tuple[Image, Any]]:
        stream = annotate(frames)
        head = list(islice(stream, LOOK_AHEAD))
        own = condition.measure(annotation for _, annotation in head)
        for image, annotation in chain(head, stream):
            if own is None:
                yield image, annotation
            else:
                moved = image if keep_place else condition.retarget_frame(image, own, target)
                yield moved, condition.retarget(annotation, own, target, keep_place=keep_place)

    return retargeted
