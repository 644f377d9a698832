"""Footage at a lower frame rate: some of the frames of a video, and never one twice."""

from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction
from math import ceil
from typing import TypeVar

from v2vkit.video.decode import Frame

T = TypeVar("T")
SAME_RATE = Fraction(2, 1000)
"""Difference of frame rates that is none where the user says so: of 29.97 and 30, of 23.976 and 24 (1 in 1001)."""


def thin(items: Iterable[tuple[Fraction, T]], rate: Fraction, own: Fraction) -> Iterator[tuple[Fraction, T]]:
    """For each tick (0, 1 / rate, 2 / rate, ...) the item nearest to it in time, each item once at most.

    The nearest one and not the one shown then: time stamps are rounded (to milliseconds in .mkv and .webm), so that of
    a video at 60 frames per second every fourth frame would now be shown just before its tick and now just behind it.

    Args:
        items: (seconds after the first one, item), in order.
        rate: ticks per second.
        own: average number of items per second: the last one is taken to be there for half of 1 / own more.
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
    """At how many frames per second a video of rate `own` is thinned, so that `wanted` are kept; None = all are.

    A rate that differs from a multiple of `wanted` by less than 0.2 % counts as that multiple.
    """
    if wanted is None:
        return None
    each = round(own / wanted)
    if each and abs(own - each * wanted) < SAME_RATE * own:
        return own / each if each > 1 else None
    return wanted


def only(frames: Iterable[Frame], numbers: Collection[int] | None) -> Iterator[Frame]:
    """The frames of these numbers; None = all."""
    chosen = None if numbers is None else frozenset(numbers)
    return (frame for frame in frames if chosen is None or frame.index in chosen)
