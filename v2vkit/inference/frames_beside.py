"""The frames that a folder of label maps belongs to: a simulator's, from which edges and pictures are made."""

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.errors import V2VError
from v2vkit.inference.framing import crop_of
from v2vkit.video.footage import Footage
from v2vkit.video.framing import crop_window, reframe
from v2vkit.video.paired import find_pictures, match_pictures, open_pictures, read_pictures
from v2vkit.video.sources import SourceFiles

Image = NDArray[np.uint8]


def open_frames(
    labels: SourceFiles, frames: str, info: ModelInfo, *, size: tuple[int, int], fps: Fraction
) -> Callable[[], Iterator[Image]]:
    """What reads the frames of label maps, RGB uint8 [H, W, 3] as the model's footage, one for each in their order.

    Args:
        labels: the label maps.
        frames: video or folder of images, paired with them as `ingest --picture` pairs.
        size: (width, height) of the label maps.
        fps: rate of the label maps.

    Raises:
        V2VError: a frame is missing, there are too many, or they show another part of the scene (proportions).
    """
    count = len(labels.images)
    footage = Footage(size[0], size[1], fps, count)
    found = match_pictures(labels, count, open_pictures(labels, footage, find_pictures(labels, frames, several=False)))
    start = found.ticks[0] if found.ticks else None

    def read() -> Iterator[Image]:
        for image in read_pictures(found.source, range(count), fps=fps, start_pts=start):
            window = crop_window(crop_of(info), image.shape[1], image.shape[0], (info.width, info.height))
            yield reframe(image, window, (info.width, info.height))

    return read


def refuse_missing_frames(conditioning: Conditioning, frames: str | None) -> None:
    """Whether the frames beside label maps are given where the model needs them, and only there.

    Raises:
        V2VError: they are not.
    """
    of_frames = [condition.artifact for condition in conditioning.conditions if condition.from_frame]
    if of_frames and frames is None:
        raise V2VError(
            "frame-required",
            f"This model is conditioned on {' and '.join(of_frames)} of the frames, and label maps alone have none.",
            "Give the video or folder of the frames that they belong to with --frames, or a workspace with --maps.",
        )
    if frames is not None and not of_frames:
        raise V2VError(
            "setting-unused",
            f"This model is conditioned on {conditioning.names}, for which it needs no frames.",
            "Leave out --frames.",
        )
