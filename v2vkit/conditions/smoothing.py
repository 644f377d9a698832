"""Gap filling and temporal smoothing of an estimator's results for single frames.

Everything is a generator with a bounded look-ahead, used for whole clips and for streams, so that `render` gives the
same numbers as training. T is the result for a frame: facial landmarks, or the people; None = nothing was found.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
F = TypeVar("F")
Missing = Literal["hold", "blank"]
Weights = NDArray[np.float32]

HOLD_FRAMES = 15  # look-ahead of `fill_gaps`: half a second of video


@dataclass(frozen=True)
class Interpolation(Generic[T]):
    """Interpolation and averaging of one type of result.

    Attributes:
        between: (before, after, share) -> linear interpolation; share 0..1 of the way from before to after.
        mean: (2 r + 1 consecutive results, their weights) -> weighted mean. The middle one is not None; others may be,
            and the remaining weights are renormalised.
        rounded: the precision of the file, so that maps drawn now and later from disk are the same.
    """

    between: Callable[[T, T, float], T]
    mean: Callable[[Sequence[T | None], Weights], T]
    rounded: Callable[[T], T]


def fill_gaps(found: Iterable[T | None], kind: Interpolation[T]) -> Iterator[T | None]:
    """Fill the frames in which nothing was found (policy `hold`).

    A gap of at most `HOLD_FRAMES` frames is interpolated linearly between its neighbours. In a longer gap the last
    result is repeated, and the final `HOLD_FRAMES` frames are interpolated to the next one. The last result is repeated
    to the end; the first one fills at most `HOLD_FRAMES` frames before it, and earlier frames stay None. So no frame
    depends on more than `HOLD_FRAMES` later ones, and a stream gives the same numbers as the whole clip.
    """
    last: T | None = None
    waiting = 0
    for current in found:
        if current is None:
            waiting += 1
            if waiting > HOLD_FRAMES:
                waiting -= 1
                yield last
            continue
        for step in range(1, waiting + 1):
            yield current if last is None else kind.between(last, current, step / (waiting + 1))
        waiting, last = 0, current
        yield current
    for _ in range(waiting):
        yield last


def smooth(items: Iterable[T | None], kind: Interpolation[T], window: int) -> Iterator[T | None]:
    """Smooth in time with a centred Gaussian over `window` frames; 0 or 1 = off.

    The standard deviation is a quarter of the window. At the ends of the clip and beside frames that are None, the
    remaining weights are renormalised; None stays None. It yields with a delay of `window // 2` frames, and a stream
    gives exactly the same numbers as the whole clip.

    Args:
        items: one entry per frame.
        window: number of frames; an even number counts as the next odd one.
    """
    radius = window // 2
    weights = _gaussian(window)
    around: deque[T | None] = deque([None] * (2 * radius + 1), maxlen=2 * radius + 1)
    for count, current in enumerate(chain(items, [None] * radius), start=1):
        around.append(current)
        if count > radius:
            yield None if around[radius] is None else kind.mean(around, weights)


def hold_last(found: Iterable[T | None]) -> Iterator[T | None]:
    """Fill gaps without look-ahead: the last result is repeated; frames before the first one stay None."""
    last: T | None = None
    for current in found:
        last = last if current is None else current
        yield last


def smooth_causal(items: Iterable[T | None], kind: Interpolation[T], window: int) -> Iterator[T | None]:
    """Smooth in time without look-ahead: the earlier half of the Gaussian of `smooth`, renormalised.

    It yields without delay. The result lags behind motion, by a fifth of the window at constant speed.

    Args:
        items, window: as in `smooth`.
    """
    radius = window // 2
    weights = _gaussian(window)
    past: deque[T | None] = deque([None] * (radius + 1), maxlen=radius + 1)
    for current in items:
        past.append(current)
        yield None if current is None else kind.mean([*past, *([None] * radius)], weights)


def _gaussian(window: int) -> Weights:
    """Weights of the frames around one, with a standard deviation of a quarter of the window."""
    radius = window // 2
    return np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(window / 4, 1e-6)) ** 2).astype(np.float32)


def smooth_estimates(
    frames: Iterable[F],
    estimate: Callable[[F], T | None],
    kind: Interpolation[T],
    *,
    window: int = 0,
    missing: Missing = "hold",
    causal: bool = False,
) -> Iterator[tuple[F, T | None, bool]]:
    """Estimate, fill gaps and smooth the frames of one clip: (frame, result or None, found) in frame order.

    `found`: the estimator found something in this very frame. Frames are read only as far ahead as needed:
    `window // 2`, and `HOLD_FRAMES` more while nothing is found.

    Args:
        frames: consecutive frames of one shot, in the form that `estimate` takes (images, or numbers of files).
        estimate: an estimator, or a reader of its results.
        window: of `smooth` in frames, 0 = off.
        missing: `hold` fills frames in which nothing was found (`fill_gaps`), `blank` leaves them None.
        causal: without look-ahead (`hold_last`, `smooth_causal`): each frame is yielded before the next is read.
    """
    buffered: deque[tuple[F, bool]] = deque()

    def estimates() -> Iterator[T | None]:
        for frame in frames:
            thing = estimate(frame)
            buffered.append((frame, thing is not None))
            yield thing

    things: Iterator[T | None] = estimates()
    # mypy infers `T | None` for the T of both calls
    if missing == "hold":
        things = hold_last(things) if causal else fill_gaps(things, kind)  # type: ignore[arg-type]
    if window > 1:
        things = (smooth_causal if causal else smooth)(things, kind, window)  # type: ignore[arg-type]
    for thing in things:
        frame, found = buffered.popleft()
        yield frame, None if thing is None else kind.rounded(thing), found
