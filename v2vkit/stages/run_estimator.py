"""Runs estimators on the frames of a clip, smooths the results in time and draws them into annotation files."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from v2vkit.pipeline.stage import Clip, Sample

if TYPE_CHECKING:
    from v2vkit.arrays import Image
    from v2vkit.conditions.base import Condition

Result = TypeVar("Result")

_MOST = 8  # frames; larger batches gain little
_BYTES = 2**25  # of the frames of a batch
_DRAWING_THREADS = 2


def frames_together(clip: Clip) -> int:
    """Number of frames of a clip that are processed in one batch, which is faster than one by one.

    Fewer for large frames, because several batches are in memory.
    """
    return max(1, min(_MOST, _BYTES // (3 * clip.info.width * clip.info.height)))


def estimate_frames(clip: Clip, estimators: "Sequence[Callable[[Image], Result]]") -> "Iterator[tuple[Image, Result]]":
    """Every frame of a clip in order, RGB uint8 [H, W, 3], with the estimator's result.

    Frames are decoded and estimated in one thread per instance of the estimator. The result does not depend on timing,
    and memory is bounded.

    Args:
        estimators: one or more instances of an estimator, as `open_estimators` gives them.

    Raises:
        V2VError: a frame is missing, damaged or of another size than its clip.
    """
    from v2vkit.engine.threads import batched, map_in_threads, pool_calls
    from v2vkit.estimators.base import estimate_all

    estimate = pool_calls([partial(estimate_all, estimator) for estimator in estimators])

    def decode_and_estimate(numbers: list[int]) -> "list[tuple[Image, Result]]":
        frames = [clip.frame(t) for t in numbers]
        return list(zip(frames, estimate(frames), strict=True))

    batches = batched(range(clip.info.num_frames), frames_together(clip))
    for batch in map_in_threads(decode_and_estimate, batches, threads=len(estimators), waiting=len(estimators)):
        yield from batch


def annotate_clip(
    clip: Clip,
    *,
    condition: "Condition[Any]",
    estimators: "Sequence[Callable[[Image], Any]]",
    settings: Mapping[str, Any],
    estimator: str,
    read: "Callable[[Clip], Iterable[tuple[Any, Any]]] | None" = None,
) -> Iterator[Sample]:
    """The files of a condition for every frame of a clip, in order.

    Frames are decoded and estimated in some threads and drawn in others. The result does not depend on timing, and
    memory is bounded.

    Args:
        clip: with the frames.
        estimators: one or more instances of an estimator of the condition's task, each for one thread.
        settings: of the stage.
        estimator: its name and version, for the files.
        read: replaces the estimators: gives (frame, result) for every frame of a clip.

    Raises:
        V2VError: a frame is missing, damaged or of another size than its clip.
    """
    from v2vkit.engine.threads import batched, map_in_threads

    estimated = estimate_frames(clip, estimators) if read is None else read(clip)
    followed = condition.postprocess(estimated, settings, size=(clip.info.width, clip.info.height))
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
