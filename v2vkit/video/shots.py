"""Where the clips of a source lie: one pass over its frames, small and streaming."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from v2vkit.video.cuts import DETECTION_SIDE, CutMethod, find_cuts
from v2vkit.video.footage import read_frames
from v2vkit.video.limits import Limits
from v2vkit.video.sources import Source

_COUNTING_SIDE = 32
"""Longer side when frames are only counted and checked, not compared."""


@dataclass(frozen=True)
class Piece:
    """Frames `start` to `stop` (exclusive), the number of their shot, and the time stamp of the first when it can be
    sought by it."""

    start: int
    stop: int
    shot: int = 0
    start_pts: int | None = None


@dataclass(frozen=True)
class Shots:
    """Result of the pass.

    Attributes:
        pieces: the clips.
        short: (start, stop) of the shots left out because they are shorter than the minimum.
        num_read: frames read; all frames of the source when it was read to its end.
    """

    pieces: tuple[Piece, ...]
    short: tuple[tuple[int, int], ...]
    num_read: int


def split_shot(start: int, stop: int, max_length: int) -> list[tuple[int, int]]:
    """The fewest parts of frames `start` to `stop` of at most `max_length`; their lengths differ by at most 1."""
    length = stop - start
    parts = -(-length // max_length)
    bounds = [start + length * i // parts for i in range(parts + 1)] if parts else []
    return list(pairwise(bounds))


def find_shots(
    source: Source,
    *,
    fps: Fraction,
    cuts: CutMethod,
    limits: Limits,
    min_length: int,
    max_length: int,
    whole: bool = False,
    progress: Callable[[int], object] = lambda count: None,
) -> Shots:
    """Reads the source once and divides it into clips.

    Args:
        source: video file or image sequence.
        fps: rate of an image sequence, and for the detector.
        cuts: how shot cuts are found.
        limits: the part that is used; cuts are looked for in it alone.
        min_length, max_length: of a clip, in frames; a longer shot is split evenly.
        whole: read on to the end of the source although the limits end before, to count its frames.
        progress: called with 1 for every frame read.

    Raises:
        V2VError: the source cannot be read to the end of the part.
    """
    stamps: list[int] = []
    first = num_read = 0
    exact = True

    def used() -> Iterator[NDArray[np.uint8]]:
        nonlocal first, num_read, exact
        origin: Fraction | None = None
        side = DETECTION_SIDE if cuts != "none" else _COUNTING_SIDE
        for frame in read_frames(source, fps=fps, long_side=side):
            time = frame.pts * frame.time_base
            origin = time if origin is None else origin
            exact = exact and not frame.repaired
            late = limits.duration is not None and time - origin >= limits.start + limits.duration
            full = limits.max_frames is not None and len(stamps) >= limits.max_frames
            if (late or full) and not whole:
                return
            num_read += 1
            progress(1)
            if time - origin < limits.start or late or full:
                continue
            if not stamps:
                first = frame.index
            stamps.append(frame.pts)
            yield frame.image

    found = find_cuts(used(), method=cuts, fps=fps)
    bounds = [0, *found, len(stamps)]
    pieces: list[Piece] = []
    short: list[tuple[int, int]] = []
    for shot, (begin, end) in enumerate(pairwise(bounds)):
        if end - begin < min_length:
            if end > begin:
                short.append((first + begin, first + end))
            continue
        for a, b in split_shot(begin, end, max_length):
            pts = stamps[a] if exact and not source.images else None
            pieces.append(Piece(first + a, first + b, shot, pts))
    return Shots(tuple(pieces), tuple(short), num_read)
