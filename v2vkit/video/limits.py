"""Which part of a video is used, in seconds as they were typed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Self

from v2vkit.errors import V2VError
from v2vkit.video.container import OpenVideo
from v2vkit.video.decode import Frame
from v2vkit.video.seeking import packet_stamps


@dataclass(frozen=True)
class Limits:
    """Which part of a source is used: exact seconds after its first frame, and a number of frames."""

    start: Fraction = Fraction(0)
    duration: Fraction | None = None
    max_frames: int | None = None

    @classmethod
    def typed(cls, start: float, duration: float | None, max_frames: int | None) -> Self:
        """From what was typed, not the binary numbers nearest to it: at 25 frames/s frame 40 begins at 1.6 s."""
        return cls(Fraction(str(start)), None if duration is None else Fraction(str(duration)), max_frames)

    def holds(self, time: Fraction) -> bool:
        """Whether a frame shown so many seconds after the first one lies within; `max_frames` is not looked at."""
        return time >= self.start and not self.ends_before(time)

    def ends_before(self, time: Fraction) -> bool:
        """Whether they are over by then."""
        return self.duration is not None and time >= self.start + self.duration

    def count_read(self, num_frames: int, fps: Fraction) -> int:
        """How many frames are read of a source of `num_frames` until the limits end, those left out before them
        included; where the rate varies, about."""
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
        start, num_frames: number of the first of them, and how many there are.
        start_pts: time stamp of the first.
        whole: they are all of the video's frames.
        origin: when the video's first frame is shown, in seconds of its own clock.
        end: when the part ends there (the next frame is shown, else the limits end); None = with the video.
    """

    start: int
    num_frames: int
    start_pts: int
    whole: bool
    origin: Fraction
    end: Fraction | None


def find_part(name: str, video: OpenVideo, limits: Limits) -> Part | None:
    """The frames within the limits, chosen by their time stamps as `find_shots` does; reads packets and decodes none.

    Args:
        name: of the video, for messages.
        video: just opened; afterwards it stands somewhere else.

    Returns:
        None where the packets do not tell when frames are shown: then decoding does.

    Raises:
        V2VError: the video has no frame there.
    """
    end = None if limits.duration is None else limits.start + limits.duration
    found = packet_stamps(video, end)
    if found is None:
        return None
    ticks, time_base = sorted(found), video.stream.time_base or Fraction(1, 90000)
    times = [(tick - ticks[0]) * time_base for tick in ticks]
    inside = [i for i, time in enumerate(times) if limits.holds(time)]
    if not inside:
        raise nothing_within(name)
    first, stop, origin = inside[0], inside[-1] + 1, ticks[0] * time_base
    ends = None if end is None else origin + end  # where the picture ends before the duration does
    if stop < len(ticks):
        ends = ticks[stop] * time_base
    whole = first == 0 and stop == len(ticks)
    return Part(first, stop - first, ticks[first], whole=whole, origin=origin, end=ends)


def within(frames: Iterable[Frame], limits: Limits, *, origin: Fraction | None = None) -> Iterator[Frame]:
    """The frames that lie within the limits, by their time stamps, one held back; the last ends where the next begins.

    Args:
        frames: of a video, in order; those after the limits are not drawn, but for one.
        origin: when the video begins, in seconds of its own clock; None = with the first of these frames.
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


def nothing_within(name: str) -> V2VError:
    """What to say where a video has no frames within the limits."""
    return V2VError(
        "time-range-empty",
        f"No frames of {name} lie within --start and --duration.",
        "Begin earlier, or use more seconds.",
    )
