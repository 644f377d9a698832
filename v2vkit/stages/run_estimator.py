"""What an estimator sees in every frame of a clip."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from v2vkit.pipeline.stage import Clip

if TYPE_CHECKING:
    from v2vkit.estimators.base import Image

Result = TypeVar("Result")

_MOST = 8  # frames; more gain little
_BYTES = 2**25  # of the frames together


def frames_together(clip: Clip) -> int:
    """How many frames of a clip go through a stage together: what is done for several at once takes less time.

    Fewer where they are large, because several such batches are in memory.
    """
    return max(1, min(_MOST, _BYTES // (3 * clip.info.width * clip.info.height)))


def look_at_frames(clip: Clip, estimators: "Sequence[Callable[[Image], Result]]") -> "Iterator[tuple[Image, Result]]":
    """Every frame of a clip, in order, RGB uint8 [H, W, 3], and what the estimator gives for it.

    Frames are decoded and looked at in as many threads as there are estimators; the result does not depend on who is
    first, and memory is bounded.

    Args:
        estimators: the same estimator once or several times, as `open_estimators` gives it.

    Raises:
        V2VError: a frame is missing, damaged or of another size than its clip.
    """
    from v2vkit.engine.threads import batched, map_in_threads, whichever_is_free
    from v2vkit.estimators.base import look_at

    estimate = whichever_is_free([partial(look_at, estimator) for estimator in estimators])

    def look(numbers: list[int]) -> "list[tuple[Image, Result]]":
        frames = [clip.frame(t) for t in numbers]
        return list(zip(frames, estimate(frames), strict=True))

    batches = batched(range(clip.info.num_frames), frames_together(clip))
    for looked_at in map_in_threads(look, batches, threads=len(estimators), waiting=len(estimators)):
        yield from looked_at
