"""Splits a source into clips: one streaming pass over its downsized frames."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from v2vkit.video.cuts import DETECTION_SIDE, CutMethod, find_cuts
from v2vkit.video.damage import Damage
from v2vkit.video.decode import Frame
from v2vkit.video.footage import read_frames
from v2vkit.video.limits import Limits
from v2vkit.video.sources import SourceFiles
from v2vkit.video.subsampling import subsample

_COUNTING_SIDE = 32
"""Longer side in pixels when frames are only counted and checked, not compared."""


@dataclass(frozen=True)
class ClipRange:
    """A clip: consecutive frames of one shot.

    Attributes:
        frames: their numbers in the source.
        stop: number of the frame at which the shot's next clip begins, or one more than that of the shot's last frame.
        shot: number of the shot.
        start_pts: time stamp of the first frame if it can be sought by it.
    """

    frames: tuple[int, ...]
    stop: int
    shot: int = 0
    start_pts: int | None = None

    @property
    def start(self) -> int:
        return self.frames[0]

    @property
    def subsampled(self) -> bool:
        """Whether frames were left out to lower the frame rate."""
        return len(self.frames) < self.stop - self.start


@dataclass(frozen=True)
class Shots:
    """The clips of a source.

    Attributes:
        clip_ranges: the clips.
        short: (start, stop) of the shots left out because they are shorter than the minimum.
        num_read: number of frames read; all frames of the source if it was read to its end.
        problems: sentences on frames that could not be decoded or are damaged.
    """

    clip_ranges: tuple[ClipRange, ...]
    short: tuple[tuple[int, int], ...]
    num_read: int
    problems: tuple[str, ...] = ()


def split_shot(start: int, stop: int, max_length: int) -> list[tuple[int, int]]:
    """The fewest parts of frames `start` to `stop` of at most `max_length`; their lengths differ by at most 1."""
    length = stop - start
    parts = -(-length // max_length)
    bounds = [start + length * i // parts for i in range(parts + 1)] if parts else []
    return list(pairwise(bounds))


def find_shots(
    source: SourceFiles,
    *,
    fps: Fraction,
    rate: Fraction | None = None,
    cuts: CutMethod,
    limits: Limits,
    min_length: int,
    max_length: int,
    whole: bool = False,
    progress: Callable[[int], object] = lambda count: None,
) -> Shots:
    """Reads the source once and splits it into clips.

    Args:
        source: video file or image sequence.
        fps: rate of an image sequence, and average rate of a video.
        rate: frames per second to keep (see `subsample`); None = all. Other frames are ignored.
        cuts: shot detection method.
        limits: the part that is used; cuts are only searched in it.
        min_length, max_length: of a clip, in frames; a longer shot is split evenly.
        whole: read to the end of the source even if the limits end before, to count its frames.
        progress: called with 1 for every frame read.

    Raises:
        V2VError: the source cannot be read to the end of the part.
    """
    stamps: list[int] = []
    numbers: list[int] = []
    num_read = 0
    exact = True
    damage = Damage()

    def beyond(time: Fraction) -> bool:
        late = limits.duration is not None and time >= limits.start + limits.duration
        return late or (limits.max_frames is not None and len(stamps) >= limits.max_frames)

    def read() -> Iterator[tuple[Fraction, Frame]]:
        nonlocal num_read, exact
        origin: Fraction | None = None
        side = DETECTION_SIDE if cuts != "none" else _COUNTING_SIDE
        for frame in read_frames(source, fps=fps, long_side=side, damage=damage):
            time = frame.pts * frame.time_base
            origin = time if origin is None else origin
            exact = exact and not frame.repaired
            if beyond(time - origin) and not whole:
                return
            num_read += 1
            progress(1)
            yield time - origin, frame

    def used() -> Iterator[NDArray[np.uint8]]:
        for time, frame in read() if rate is None else subsample(read(), rate, fps):
            if time >= limits.start and not beyond(time):
                stamps.append(frame.pts)
                numbers.append(frame.index)
                yield frame.image

    found = find_cuts(used(), method=cuts, fps=rate or fps)
    bounds = [0, *found, len(stamps)]
    clip_ranges: list[ClipRange] = []
    short: list[tuple[int, int]] = []
    for shot, (begin, end) in enumerate(pairwise(bounds)):
        if end - begin < min_length:
            if end > begin:
                short.append((numbers[begin], numbers[end - 1] + 1))
            continue
        for a, b in split_shot(begin, end, max_length):
            pts = stamps[a] if exact and not source.images else None
            stop = numbers[b] if b < end else numbers[b - 1] + 1
            clip_ranges.append(ClipRange(tuple(numbers[a:b]), stop, shot, pts))
    return Shots(tuple(clip_ranges), tuple(short), num_read, tuple(damage.problems()))
