"""A stream of frames that is read once: each frame carries its time stamp, shot and annotations."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.video.audio import Span
from v2vkit.video.audio_feeds import AudioFeed
from v2vkit.video.cuts import CutMethod, number_shots
from v2vkit.video.framing import Window


@dataclass(frozen=True)
class InputFrame:
    """One frame of a stream.

    Attributes:
        image: RGB uint8 [H, W, 3], as displayed; None where only annotations are given.
        pts: time stamp in ticks of the source's `time_base`; None = constant rate.
        duration: ticks for which it is shown if it is the last frame; None = as long as frames are on average.
        shot: number of its shot, from 0.
        annotations: precomputed annotations of the frame, one for each condition of the model; () = none.
        flow: precomputed backward flow in pixels and confidence, float32 [3, H, W].
        original, window: the picture before it was cropped, and the crop window; None where they are not needed.
    """

    image: Image | None = None
    pts: int | None = None
    duration: int | None = None
    shot: int = 0
    annotations: tuple[Any, ...] = ()
    flow: NDArray[np.float32] | None = None
    original: Image | None = None
    window: Window | None = None


@dataclass(frozen=True)
class AudioTrack:
    """The sound of a stream: the part `span` of its audio (`audio_span` of `VideoWriter`), copied without decoding.

    `origin` is a file, which is opened again for it, or the feed of a pipe, whose packets arrive with the frames.
    """

    origin: str | AudioFeed
    span: Span = (None, None)


@dataclass(frozen=True)
class Source:
    """A stream of frames and what is known about it before it is read.

    Attributes:
        name: for messages.
        width, height: pixels of its frames, as displayed.
        fps: average frame rate.
        read: returns an iterator over its frames; the first call continues the pass that opening has begun.
        time_base: seconds per tick of `pts`; None = constant rate.
        num_frames: number of frames; None = unknown.
        audio: the sound that belongs to the frames.
        repeatable: `frames` may be called again and returns the same frames; False for pipes.
        annotated: the frames carry the annotations that condition the model.
        tracked: object ids of the annotations are the same over a shot, because `v2v track` made them.
        missing: reason -> number of frames that lack a part of their annotations.
        note: a message to the user.
        timed: it has time stamps, so the user must not set a frame rate.
        remarks: sentences on conversions that a user may not expect, to be printed after its name.
        problems: after the frames have been read, returns sentences on frames that could not be decoded or are damaged.
        names: file name of each frame without ending and Cityscapes' suffix; empty where frames are not files.
    """

    name: str
    width: int
    height: int
    fps: Fraction
    read: Callable[[], Iterator[InputFrame]]
    time_base: Fraction | None = None
    num_frames: int | None = None
    audio: AudioTrack | None = None
    repeatable: bool = True
    annotated: bool = False
    tracked: bool = False
    missing: Mapping[str, int] = field(default_factory=dict)
    note: str | None = None
    timed: bool = False
    remarks: tuple[str, ...] = ()
    problems: Callable[[], list[str]] = list
    names: tuple[str, ...] = ()

    def frames(self) -> Iterator[InputFrame]:
        """The frames, produced on demand."""
        return self.read()


def with_shots(frames: Iterable[InputFrame], *, method: CutMethod, fps: Fraction) -> Iterator[InputFrame]:
    """The frames with their shot numbers, delayed by some frames; `method` and `fps` as in `number_shots`."""
    numbered = number_shots(((frame, image_of(frame)) for frame in frames), method=method, fps=fps)
    return (replace(frame, shot=shot) for frame, shot in numbered)


def image_of(frame: InputFrame) -> Image:
    """The picture of a frame, RGB uint8 [H, W, 3]; it must have one."""
    assert frame.image is not None, "the frame has only annotations"
    return frame.image
