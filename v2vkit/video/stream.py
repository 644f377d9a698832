"""A stream of frames that is read once: every frame carries its time stamp, its shot and what came with it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.video.audio import Span
from v2vkit.video.audio_feeds import AudioFeed
from v2vkit.video.cuts import CutMethod, number_shots

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class InputFrame:
    """One frame of a stream.

    Attributes:
        image: RGB uint8 [H, W, 3], as displayed; None where only annotations are given.
        pts: time stamp in ticks of the source's `time_base`; None = constant rate.
        duration: ticks for which it is shown if it is the last frame; None = as long as frames are on average.
        shot: number of its shot, from 0: nothing before the first frame of a shot belongs to it.
        annotations: those that came with the frame, one for each condition of the model; () = none.
        flow: backward flow in pixels and confidence that came with it, float32 [3, H, W].
    """

    image: Image | None = None
    pts: int | None = None
    duration: int | None = None
    shot: int = 0
    annotations: tuple[Any, ...] = ()
    flow: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class AudioTrack:
    """The sound that belongs to a stream: the part `span` (as `VideoWriter` takes it) of its audio.

    A regular file is opened once more for it; of a pipe the packets come along with the frames. They are copied, not
    decoded.
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
        read: makes the iterator over its frames; the first one goes on where opening the source has stopped.
        time_base: seconds per tick of `pts`; None = constant rate.
        num_frames: how many there will be; None where nothing tells.
        audio: the sound that belongs to the frames.
        repeatable: `frames` may be called again and gives the same frames; a pipe is read once.
        annotated: the frames come with the annotations that condition the model.
        missing: reason -> number of frames that lack a part of their annotations.
        problems: gives, once the frames have been read, sentences on those that could not be decoded or are damaged.
        note: a sentence on what its user should know.
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
    missing: Mapping[str, int] = field(default_factory=dict)
    problems: Callable[[], list[str]] = list
    note: str | None = None

    def frames(self) -> Iterator[InputFrame]:
        """The frames, each made when it is asked for."""
        return self.read()


def with_shots(frames: Iterable[InputFrame], *, method: CutMethod, fps: Fraction) -> Iterator[InputFrame]:
    """The frames with the numbers of their shots, some frames late; `method` and `fps` as of `number_shots`."""
    numbered = number_shots(((frame, image_of(frame)) for frame in frames), method=method, fps=fps)
    return (replace(frame, shot=shot) for frame, shot in numbered)


def image_of(frame: InputFrame) -> Image:
    """The picture of a frame that has one, RGB uint8 [H, W, 3]."""
    assert frame.image is not None, "only annotations are given"
    return frame.image
