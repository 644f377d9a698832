"""The training loop."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo, save_model
from v2vkit.engine.cores import AS_THEY_ARE, Threads, follow_idle_cores
from v2vkit.training.checkpoint import load_state, save_state
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import clip_sampler, open_batches
from v2vkit.training.data.sampler import ClipSampler
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.schedule import learning_rate_factor, warm_up_factors
from v2vkit.training.step import train_chunk
from v2vkit.training.strips import sample_strip
from v2vkit.training.trainer import Trainer
from v2vkit.training.window import begin_window


def chunks(num_frames: int, context: int, size: int) -> Iterator[list[int]]:
    """The generated frames of a window (those after the context) in chunks of at most `size`."""
    for start in range(context, num_frames, size):
        yield list(range(start, min(start + size, num_frames)))


def train(
    config: TrainConfig,
    trainer: Trainer,
    dataset: VideoDataset,
    folder: Folder,
    info: ModelInfo,
    *,
    device: torch.device,
    writer: Any = None,
    parallel: Parallel = ALONE,
    threads: Threads = AS_THEY_ARE,
    continued: str | None = None,
    stop_after: Callable[[Trainer], bool] | None = None,
) -> bool:
    """Train to the end of the schedule, resuming from a snapshot in `folder` where there is one of this run.

    Args:
        writer: a TensorBoard SummaryWriter, or None.
        parallel: the other processes of this run; only the first one writes.
        threads: as chosen at the start; automatic ones follow the idle cores.
        continued: checksum of a snapshot that an earlier run with other settings left, to go on from.
        stop_after: asked after every batch; True snapshots and stops (tests stop runs in the middle with it).

    Returns:
        Whether the schedule was finished.

    Raises:
        V2VError: a loss is not finite, the disk is full, the snapshot is damaged.
    """
    from tqdm import tqdm

    networks, schedule = trainer.networks, config.schedule
    context = networks.generator.config.history
    load_state(folder, trainer, fingerprint=info.fingerprint, continued=continued)
    sampler = clip_sampler(config, dataset.reader.clips, context)
    total, done = _count_frames(sampler, schedule.total_epochs, trainer)
    plans = sampler.remaining(schedule.total_epochs, epoch=trainer.epoch, batch=trainer.batch)
    saved_at = time.monotonic()

    def snapshot() -> None:
        parallel.collect(trainer.optimizers.values())
        if parallel.rank:
            return
        save_state(folder, trainer, fingerprint=info.fingerprint)
        save_model(folder, trainer.average, info.model_copy(update={"epochs": trainer.epoch, "steps": trainer.steps}))

    networks.generator.train()
    with (
        open_batches(config, dataset, plans, device, parallel=parallel) as loaded,
        tqdm(
            total=total, initial=done, desc=config.stage, unit="frame", disable=True if parallel.rank else None
        ) as progress,
    ):
        loaded = follow_idle_cores(loaded, threads, tell=progress.write)
        for epoch in range(trainer.epoch, schedule.total_epochs):
            rate = config.learning_rate * learning_rate_factor(schedule, epoch)
            for optimizer in trainer.optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = rate
            batches = sampler.batches(epoch)
            if trainer.batch >= len(batches):  # --continue with longer sequences: as much as an epoch was done of it
                trainer.epoch, trainer.batch = epoch + 1, 0
                continue
            newest = config.newest_scale(epoch)
            first = trainer.batch
            for number in range(first, len(batches)):
                warmed = warm_up_factors(
                    schedule, config.spans, progress=epoch + number / len(batches), warm_up=config.warm_up
                )
                sequence = next(loaded)
                state = begin_window(sequence, networks.generator, from_nothing=sequence.from_nothing)
                for frames in chunks(sequence.x.shape[1], context, config.chunk):
                    values, outputs = train_chunk(
                        config,
                        trainer,
                        sequence,
                        state,
                        frames,
                        train_from=newest,
                        warmed=warmed,
                        parallel=parallel,
                    )
                    trainer.steps += 1
                    trainer.update_average(config.ema)
                    progress.update(len(frames) * config.batch_size)
                    if writer is not None:
                        _log(writer, values, rate, trainer.steps)
                    if not parallel.rank and _is_sampled(config, trainer.steps):
                        _strip(config, folder, writer, sequence, frames, outputs, dataset, trainer.steps)
                last_batch = number + 1 == len(batches)
                trainer.epoch, trainer.batch = (epoch + 1, 0) if last_batch else (epoch, number + 1)
                stop = stop_after is not None and stop_after(trainer)
                if parallel.agree(stop or time.monotonic() - saved_at >= config.save_every):
                    snapshot()
                    saved_at = time.monotonic()
                if stop:
                    return False
            progress.set_postfix({name: f"{values[name]:.3f}" for name in ("G_GAN", "D_GAN_fake") if name in values})
    snapshot()
    return True


def _count_frames(sampler: ClipSampler, num_epochs: int, trainer: Trainer) -> tuple[int, int]:
    """Generated frames of the whole schedule, and those before the trainer's place."""
    total = done = 0
    for epoch in range(num_epochs):
        for number, batch in enumerate(sampler.batches(epoch)):
            frames = sampler.num_generated(batch)
            total += frames
            if (epoch, number) < (trainer.epoch, trainer.batch):
                done += frames
    return total, done


def _is_sampled(config: TrainConfig, step: int) -> bool:
    """Whether a strip is written after so many steps; nothing else decides it, so that a resumed run has no others."""
    return config.sample_every > 0 and (step == 1 or step % config.sample_every == 0)


def _log(writer: Any, values: dict[str, float], rate: float, step: int) -> None:
    for name, value in values.items():
        writer.add_scalar(f"loss/{name}", value, step)
    writer.add_scalar("learning_rate", rate, step)


def _strip(
    config: TrainConfig,
    folder: Folder,
    writer: Any,
    sequence: VideoBatch,
    frames: list[int],
    outputs: list[Any],
    dataset: VideoDataset,
    step: int,
) -> None:
    from v2vkit.artifacts.images import encode_png

    strip = sample_strip(dataset.source, sequence, frames, outputs)
    folder.write(f"sample-{step:08d}.png", encode_png(strip))
    if writer is not None:
        writer.add_image("sample", strip, step, dataformats="HWC")
