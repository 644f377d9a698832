"""Frame rate reduction: selects frames of a video, and never repeats one."""

from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction
from math import ceil
from typing import TypeVar

from v2vkit.video.decode import Frame

T = TypeVar("T")
SAME_RATE = Fraction(2, 1000)
"""Relative difference up to which frame rates count as equal: 29.97 and 30, 23.976 and 24 (1 in 1001)."""


def subsample(items: Iterable[tuple[Fraction, T]], rate: Fraction, own: Fraction) -> Iterator[tuple[Fraction, T]]:
    """For each tick (0, 1 / rate, 2 / rate, ...) the item nearest to it in time, each item at most once.

    Nearest, and not the one shown at that time: time stamps are rounded (to milliseconds in .mkv and .webm), so at
    60 frames per second every fourth frame would begin randomly just before or just after its tick.

    Args:
        items: (seconds after the first one, item), in order.
        rate: ticks per second.
        own: average number of items per second; the last item counts for 1 / (2 own) seconds after its time.
    """
    tick = 0
    before: tuple[Fraction, T] | None = None
    for item in items:
        if before is not None:
            middle = (before[0] + item[0]) / 2
            if tick < middle * rate:
                yield before
                tick = ceil(middle * rate)
        before = item
    if before is not None and tick < (before[0] + 1 / (2 * own)) * rate:
        yield before


def kept_rate(own: Fraction, wanted: Fraction | None) -> Fraction | None:
    """The rate for `subsample` that reduces a video of `own` to about `wanted` frames per second; None = keep all.

    If `own` is a multiple of `wanted` to within 0.2 %, the result is an exact fraction of `own`.
    """
    if wanted is None:
        return None
    each = round(own / wanted)
    if each and abs(own - each * wanted) < SAME_RATE * own:
        return own / each if each > 1 else None
    return wanted


def only(frames: Iterable[Frame], numbers: Collection[int] | None) -> Iterator[Frame]:
    """The frames with these numbers; None = all."""
    chosen = None if numbers is None else frozenset(numbers)
    return (frame for frame in frames if chosen is None or frame.index in chosen)
