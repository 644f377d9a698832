"""The frames beside a folder of label maps (such as a simulator's), for conditions that are made from frames."""

from collections.abc import Callable, Iterator
from fractions import Fraction

from v2vkit.arrays import Image
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.errors import V2VError
from v2vkit.inference.framing import crop_of
from v2vkit.video.footage import Footage
from v2vkit.video.framing import crop_window, reframe
from v2vkit.video.paired import find_pictures, match_pictures, open_pictures, read_pictures
from v2vkit.video.sources import SourceFiles


def open_frames(
    labels: SourceFiles, frames: str, info: ModelInfo, *, size: tuple[int, int], fps: Fraction
) -> Callable[[], Iterator[Image]]:
    """Opens the frames of label maps; gives a function that reads them, cropped and resized as the training footage.

    Args:
        labels: the label maps.
        frames: video or folder of images, paired with the label maps as by `ingest --picture`.
        size: (width, height) of the label maps.
        fps: frame rate of the label maps.

    Returns:
        Function that yields one frame RGB uint8 [H, W, 3] for each label map, in order.

    Raises:
        V2VError: a frame is missing, there are too many, or they have another aspect ratio.
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
    """Check that frames beside label maps are given if and only if the model needs them.

    Raises:
        V2VError: they are missing, or not needed.
    """
    of_frames = [condition.artifact for condition in conditioning.conditions if condition.from_frame]
    if of_frames and frames is None:
        raise V2VError(
            "frame-required",
            f"This model is conditioned on {' and '.join(of_frames)}, which are made from frames that label maps lack.",
            "Give the video or folder of their frames with --frames, or a workspace with --maps.",
        )
    if frames is not None and not of_frames:
        raise V2VError(
            "setting-unused",
            f"This model is conditioned on {conditioning.names} and needs no frames.",
            "Leave out --frames.",
        )
