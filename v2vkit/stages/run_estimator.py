"""From the frames of a clip to the files of its annotations: what an estimator sees, followed in time, and drawn."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from v2vkit.pipeline.stage import Clip, Sample

if TYPE_CHECKING:
    from v2vkit.conditions.base import Condition
    from v2vkit.estimators.base import Image

Result = TypeVar("Result")

_MOST = 8  # frames; more gain little
_BYTES = 2**25  # of the frames together
_DRAWING_THREADS = 2


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


def annotate_clip(
    clip: Clip,
    *,
    condition: "Condition[Any]",
    estimators: "Sequence[Callable[[Image], Any]]",
    settings: Mapping[str, Any],
    estimator: str,
    look: "Callable[[Clip], Iterable[tuple[Any, Any]]] | None" = None,
) -> Iterator[Sample]:
    """The files of a condition for every frame of a clip, in order.

    Frames are decoded and looked at in some threads and drawn in others, because all of it leaves the interpreter lock;
    the result does not depend on who is first, and memory is bounded.

    Args:
        clip: frames in.
        estimators: the same estimator of the condition's task once or several times, for as many threads.
        settings: of the stage.
        estimator: its name and version, for the files.
        look: gives (frame, what an estimator gives for it) for every frame of a clip, where no estimator looks.

    Raises:
        V2VError: a frame is missing, damaged or of another size than its clip.
    """
    from v2vkit.engine.threads import batched, map_in_threads

    looked_at = look_at_frames(clip, estimators) if look is None else look(clip)
    followed = condition.follow(looked_at, settings, size=(clip.info.width, clip.info.height))
    write = partial(_write, condition=condition, estimator=estimator)
    batches = batched(enumerate(followed), frames_together(clip))
    yield from chain.from_iterable(map_in_threads(write, batches, threads=_DRAWING_THREADS, waiting=_DRAWING_THREADS))


def _write(batch: list[tuple[int, tuple[Any, Any]]], *, condition: "Condition[Any]", estimator: str) -> list[Sample]:
    prepared = condition.prepare([annotation for _, (_, annotation) in batch])
    samples = []
    for (t, (frame, _)), annotation in zip(batch, prepared, strict=True):
        files = condition.encode(condition.draw(annotation, frame), estimator=estimator)
        samples.append(Sample(t, files, None if annotation.found else condition.nothing))
    return samples
