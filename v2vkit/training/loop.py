"""The batches of training: which windows they are made of, and their tensors."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from v2vkit.conditions.augment import STAY, Change, draw_move
from v2vkit.training.config import TrainConfig
from v2vkit.training.dataset import Sequence, SequenceDataset, Window, draw_windows, stack
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.schedule import Schedule, frames_at


def epoch_batches(
    config: TrainConfig, dataset: SequenceDataset, context: int, epoch: int, *, schedule: Schedule
) -> list[list[Window]]:
    """The windows of one epoch; the same for every call."""
    return draw_windows(
        dataset.reader.clips,
        num_frames=frames_at(schedule, epoch),
        context=context,
        batch=config.data.batch_size,
        seed=config.data.seed,
        epoch=epoch,
        max_step=config.data.max_frame_stride,
    )


def load_batch(
    config: TrainConfig,
    dataset: SequenceDataset,
    windows: list[Window],
    *,
    epoch: int,
    batch: int,
    parallel: Parallel = ALONE,
) -> tuple[Sequence, bool]:
    """This process's tensors of one batch, and whether it begins from nothing; pure in (seed, epoch, batch)."""
    rng = np.random.default_rng([config.data.seed, epoch, batch, 1])
    from_nothing = config.data.first_frame == "self" and bool(rng.random() < config.data.drop_history)
    mirror = [dataset.flip and bool(rng.random() < 0.5) for _ in windows]
    size = (dataset.reader.clips[0].width, dataset.reader.clips[0].height)
    moves = [draw_move(rng, config.data.augment, size) if config.data.augment else STAY for _ in windows]
    seeds = [(config.data.seed, epoch, batch, number) for number in range(len(windows))]
    changes = [Change(move, config.data.drop_parts, seed) for move, seed in zip(moves, seeds, strict=True)]
    mine = parallel.share(list(zip(windows, mirror, changes, strict=True)))
    changing = bool(config.data.augment or config.data.drop_parts)
    sequence = stack(
        [dataset.load(window, flip=flip, change=change if changing else None) for window, flip, change in mine]
    )
    return sequence, from_nothing


def to_device(sequence: Sequence, device: torch.device) -> Sequence:
    def move(tensors: dict[int, Tensor]) -> dict[int, Tensor]:
        return {key: tensor.to(device) for key, tensor in tensors.items()}

    return Sequence(
        sequence.x.to(device),
        sequence.s.to(device),
        move(sequence.flow),
        move(sequence.confidence),
        None if sequence.regions is None else sequence.regions.to(device),
    )


def chunks(num_frames: int, context: int, size: int) -> Iterator[list[int]]:
    """The generated frames of a window (those after the context) in chunks of at most `size`."""
    for start in range(context, num_frames, size):
        yield list(range(start, min(start + size, num_frames)))
