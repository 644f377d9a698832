"""Loads batches: draws the augmentation of each sequence and, for a GPU, loads in advance in worker processes.

Batches and their order do not depend on the number of workers: a batch is a pure function of its `BatchPlan`.
"""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

import torch

from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.conditions.augment import IDENTITY, Change, draw_affine
from v2vkit.conditions.label_noise import LabelNoise
from v2vkit.engine.cores import allowed_cores
from v2vkit.engine.local import die_with_parent
from v2vkit.errors import V2VError
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch, stack, to_device
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.sampler import BatchPlan, ClipSampler, Window, sequence_rng
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.schedule import Schedule, frames_at

_MOST_WORKERS = 4
"""Default for training on a GPU."""
_AHEAD = 2
"""Batches that each worker loads in advance; few, because a batch at 2048x1024 is large."""


def clip_sampler(config: TrainConfig, clips: tuple[ClipInfo, ...], *, schedule: Schedule, context: int) -> ClipSampler:
    """The sampler for these settings.

    Args:
        schedule: the method's schedule.
        context: number L of real frames before the generated ones.
    """
    data = config.data
    return ClipSampler(
        clips,
        partial(frames_at, schedule),
        context,
        data.batch_size,
        data.seed,
        data.max_frame_stride,
        # Without context there is no history to drop.
        (data.drop_history if context else 0.0) if data.first_frame == "self" else None,
    )


def load_batch(config: TrainConfig, dataset: VideoDataset, plan: BatchPlan) -> VideoBatch:
    """Loads a batch, each sequence with its own mirroring and augmentation; a pure function of the plan.

    Raises:
        V2VError: as `VideoDataset.load`.
    """
    sequences = []
    for window, number in zip(plan.windows, plan.numbers, strict=True):
        flip, change = _draw(config, dataset, plan.epoch, window, number)
        sequences.append(dataset.load(window, flip=flip, change=change))
    return replace(stack(sequences), from_nothing=plan.from_nothing)


def _draw(
    config: TrainConfig, dataset: VideoDataset, epoch: int, window: Window, number: int
) -> tuple[bool, Change | None]:
    """Draws whether a sequence is mirrored, and its augmentation."""
    rng = sequence_rng(config.data.seed, epoch, number)
    if config.data.first_frame == "self":
        rng.random()  # the sampler's draw for dropped history
    flip = dataset.flip and bool(rng.random() < 0.5)
    of = config.data
    noise = LabelNoise(of.label_jitter, of.drop_thin, of.drop_classes, (of.seed, epoch, number, 1))
    if not (of.augment or of.drop_parts or noise):
        return flip, None
    clip = dataset.reader.clips[window.clip]
    move = draw_affine(rng, config.data.augment, (clip.width, clip.height)) if config.data.augment else IDENTITY
    return flip, Change(move, config.data.drop_parts, (config.data.seed, epoch, number, 0), noise or None)


def num_loader_workers(
    config: TrainConfig, dataset: VideoDataset, device: torch.device, *, cores: int | None = None
) -> int:
    """Number of loader processes: as set, else 0 on a CPU and up to 4 on a GPU.

    On a CPU they would take cores from the training step and slow it down many times. Other processes cannot read
    `memory://`.

    Args:
        cores: available CPU cores; None = those that this process may use.
    """
    if config.hardware.loader_workers is not None:
        return config.hardware.loader_workers
    if device.type == "cpu" or not dataset.reader.shared:
        return 0
    return max(1, min(_MOST_WORKERS, (cores or allowed_cores()) - 1))


@contextmanager
def open_batches(
    config: TrainConfig,
    dataset: VideoDataset,
    plans: Iterable[BatchPlan],
    device: torch.device,
    *,
    parallel: Parallel = ALONE,
) -> Iterator[Iterator[VideoBatch]]:
    """This process's share of the batches of `plans`, on the device, in order; leaving the context stops the workers.

    Without workers each batch is loaded on demand.

    Raises:
        V2VError: from the iterator, as `load_batch`; or a worker was killed.
    """
    workers = num_loader_workers(config, dataset, device)
    if workers and not dataset.reader.shared:
        raise V2VError(
            "workspace-unsupported",
            "Loader workers cannot read a workspace in memory://.",
            "Give --loader-workers 0 or another workspace.",
        )
    mine = (_shared(plan, parallel) for plan in plans)
    if not workers:
        yield (to_device(load_batch(config, dataset, plan), device) for plan in mine)
        return
    loader = torch.utils.data.DataLoader[Any](
        _BatchDataset(config, dataset.empty(dataset.cache_bytes // workers)),
        batch_size=None,
        sampler=_Plans(mine),
        num_workers=workers,
        prefetch_factor=_AHEAD,
        multiprocessing_context="spawn",  # a child forked after torch was used hangs
        worker_init_fn=_start_worker,
        pin_memory=device.type == "cuda",
    )
    with _interrupts_blocked():
        iterator = iter(loader)
    try:
        yield (to_device(batch, device) for batch in _unwrapped(iterator))
    finally:
        iterator._shutdown_workers()  # type: ignore[attr-defined]  # else they live until garbage collection
        for worker in iterator._workers:  # type: ignore[attr-defined]
            worker.kill()  # one that is still busy; torch only sends the SIGTERM that they ignore


def _shared(plan: BatchPlan, parallel: Parallel) -> BatchPlan:
    """This process's part of a batch; all parts are equally large."""
    return replace(
        plan, windows=tuple(parallel.share(list(plan.windows))), numbers=tuple(parallel.share(list(plan.numbers)))
    )


def _unwrapped(results: Iterator[Any]) -> Iterator[VideoBatch]:
    """The batches of the workers; raises what a worker raised."""
    try:
        for result in results:
            if isinstance(result, _Failure):
                raise result.error
            yield result
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise V2VError(
            "worker-killed",
            "A loader worker was killed, most likely because memory ran out.",
            "Give the same command with fewer --loader-workers; training resumes from its snapshot.",
        ) from error


@dataclass(frozen=True)
class _Failure:
    """An exception raised in a worker; torch's loader would change its type."""

    error: Exception


class _BatchDataset(torch.utils.data.Dataset[Any]):
    """Maps plans to batches, in a worker."""

    def __init__(self, config: TrainConfig, dataset: VideoDataset):
        self._config, self._dataset = config, dataset

    def __getitem__(self, plan: BatchPlan) -> VideoBatch | _Failure:
        try:
            return load_batch(self._config, self._dataset, plan)
        except Exception as error:
            return _Failure(error)


class _Plans(torch.utils.data.Sampler[BatchPlan]):
    """Gives torch's loader the plans in order."""

    def __init__(self, plans: Iterable[BatchPlan]):
        self._plans = plans

    def __iter__(self) -> Iterator[BatchPlan]:
        return iter(self._plans)


_OF_MAIN = {signal.SIGINT, signal.SIGTERM}
"""Signals that only the main process handles."""


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes that are started in this context receive neither Ctrl-C nor SIGTERM; only the main process does.

    Both may go to a whole group of processes. Workers cannot ignore them by themselves before their imports are done.
    In this process a signal is delivered when the context ends.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # starting it later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_MAIN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(number: int) -> None:
    """Set OpenCV to one thread (torch has one in workers anyway); ignore signals where they cannot be blocked."""
    import cv2

    die_with_parent()  # torch's own check can take a minute on a busy machine
    for number in _OF_MAIN:
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(1)
