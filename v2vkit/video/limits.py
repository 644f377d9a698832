"""The part of a video that is used: --start and --duration."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Self

from v2vkit.errors import V2VError
from v2vkit.video.container import MPEG_TICK, OpenVideo
from v2vkit.video.decode import Frame
from v2vkit.video.seeking import packet_stamps


@dataclass(frozen=True)
class Limits:
    """The part of a source that is used: exact seconds after its first frame, and a number of frames."""

    start: Fraction = Fraction(0)
    duration: Fraction | None = None
    max_frames: int | None = None

    @classmethod
    def typed(cls, start: float, duration: float | None, max_frames: int | None) -> Self:
        """From decimal numbers as typed: 1.6 s is exactly frame 40 at 25 frames/s, which the binary float is not."""
        return cls(Fraction(str(start)), None if duration is None else Fraction(str(duration)), max_frames)

    def holds(self, time: Fraction) -> bool:
        """Whether a frame shown `time` seconds after the first lies within; ignores `max_frames`."""
        return time >= self.start and not self.ends_before(time)

    def ends_before(self, time: Fraction) -> bool:
        """Whether `time`, in seconds after the first frame, is beyond the end."""
        return self.duration is not None and time >= self.start + self.duration

    def count_read(self, num_frames: int, fps: Fraction) -> int:
        """Number of frames that are read until the limits end, including those before `start`; approximate for variable
        rate."""
        counts = [num_frames]
        if self.duration is not None:
            counts.append(ceil((self.start + self.duration) * fps))
        if self.max_frames is not None:
            counts.append(ceil(self.start * fps) + self.max_frames)
        return min(counts)


@dataclass(frozen=True)
class Part:
    """The frames of an open video that lie within limits.

    Attributes:
        start, num_frames: number of the first frame, and how many there are.
        start_pts: time stamp of the first frame.
        whole: the part is the whole video.
        origin: time of the video's first frame, in seconds of its own clock.
        end: end of the part on that clock (the next frame, else the end of the limits); None = the video's end.
    """

    start: int
    num_frames: int
    start_pts: int
    whole: bool
    origin: Fraction
    end: Fraction | None


def find_part(name: str, video: OpenVideo, limits: Limits) -> Part | None:
    """The frames within the limits, by their time stamps as in `find_shots`; reads packets and decodes none.

    Args:
        name: of the video, for messages.
        video: just opened; its read position changes.
        limits: the part.

    Returns:
        None if the packets do not state when frames are shown; then they have to be decoded.

    Raises:
        V2VError: the video has no frame within the limits.
    """
    end = None if limits.duration is None else limits.start + limits.duration
    found = packet_stamps(video, end)
    if found is None:
        return None
    ticks, time_base = sorted(found), video.stream.time_base or MPEG_TICK
    times = [(tick - ticks[0]) * time_base for tick in ticks]
    inside = [i for i, time in enumerate(times) if limits.holds(time)]
    if not inside:
        raise no_frames_within(name)
    first, stop, origin = inside[0], inside[-1] + 1, ticks[0] * time_base
    ends = None if end is None else origin + end  # if the video ends before the duration does
    if stop < len(ticks):
        ends = ticks[stop] * time_base
    whole = first == 0 and stop == len(ticks)
    return Part(first, stop - first, ticks[first], whole=whole, origin=origin, end=ends)


def within(frames: Iterable[Frame], limits: Limits, *, origin: Fraction | None = None) -> Iterator[Frame]:
    """The frames within the limits, by their time stamps, delayed by one: the last ends where the next frame begins.

    Args:
        frames: of a video, in order; at most one after the limits is read.
        limits: the part.
        origin: begin of the video in seconds of its own clock; None = the first of these frames.
    """
    held: Frame | None = None
    for frame in frames:
        time = frame.pts * frame.time_base
        origin = time if origin is None else origin
        if limits.ends_before(time - origin):
            if held is not None:
                yield replace(held, duration=frame.pts - held.pts)
            return
        if held is not None:
            yield held
            held = None
        if limits.holds(time - origin):
            held = frame
    if held is not None:
        yield held


def no_frames_within(name: str) -> V2VError:
    """The error for a video without frames within the limits."""
    return V2VError(
        "time-range-empty",
        f"No frames of {name} lie within --start and --duration.",
        "Begin earlier, or use more seconds.",
    )
