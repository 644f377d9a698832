"""Which part of a video is used, in seconds as they were typed."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Self

from v2vkit.errors import V2VError
from v2vkit.video.decode import time_stamps


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
    """Frames `start` to `stop` (exclusive; None = to the end), and the time stamp of the first when it can be sought by
    it.

    `span` is when the part begins and ends (None = at the end) in seconds of the file's own clock.
    """

    start: int = 0
    stop: int | None = None
    start_pts: int | None = None
    span: tuple[Fraction, Fraction | None] = (Fraction(0), None)

    @property
    def whole(self) -> bool:
        return self.start == 0 and self.stop is None


def find_part(path: str, limits: Limits) -> Part:
    """The frames of a video that lie within the limits, chosen by their time stamps as `find_shots` does.

    Raises:
        V2VError: the video cannot be read, or has no frame there.
    """
    if limits == Limits():
        return Part()
    end = None if limits.duration is None else limits.start + limits.duration
    ticks, time_base, exact = time_stamps(path, until=end)
    times = [(tick - ticks[0]) * time_base for tick in ticks]
    inside = [i for i, time in enumerate(times) if time >= limits.start and (end is None or time < end)]
    inside = inside[: limits.max_frames]
    if not inside:
        raise V2VError(f"No frames of {path} lie within --start and --duration.", "Begin earlier, or use more seconds.")
    first, stop = inside[0], inside[-1] + 1
    sound_ends = None if end is None else ticks[0] * time_base + end  # where the picture ends before the duration does
    if stop < len(times):
        sound_ends = ticks[stop] * time_base
    span = ticks[first] * time_base, sound_ends
    return Part(first, None if stop == len(times) else stop, ticks[first] if exact else None, span)
