"""The schedule of the paper: learning rate and temporal progression, as pure functions of the epoch.

Source: vid2vid specification 1.10 (clip length doubles every few epochs; learning rate constant, then linear to zero).
"""

import math
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Schedule:
    """Learning rate and sequence lengths over the epochs.

    Attributes:
        epochs: number of epochs.
        decay: share of them, at the end, over which the learning rate falls linearly to zero.
        first_frames: generated frames per training sequence in the first epochs.
        double_every: epochs after which this number doubles; 0 = never.
        max_frames: its upper limit.
        fix_epochs: first epochs in which only the newest spatial scale trains.
        full_epochs: epochs before the schedule was shortened (`shortened`), the unit of `double_every` and
            `fix_epochs`; None = it was not.
        names: (first epoch, name) of phases that train other losses or networks, in order; of the full schedule.
    """

    epochs: int
    decay: float = 0.0
    first_frames: int = 1
    double_every: int = 0
    max_frames: int = 1
    fix_epochs: int = 0
    full_epochs: int | None = None
    names: tuple[tuple[int, str], ...] = ()

    @property
    def decay_epochs(self) -> int:
        """Epochs with a falling learning rate, rounded to whole epochs.

        Half an epoch is rounded down, so that a single epoch trains at the full rate. The product is rounded first,
        because 0.3 * 5 may be more than 1.5 in floating point.
        """
        return math.ceil(round(self.epochs * self.decay, 6) - 0.5)


@dataclass(frozen=True)
class Phase:
    """Epochs [first, last] with sequences of `num_frames` frames, training all scales or only the newest.

    `name` as in `Schedule.names`; `full_first` is `first` in epochs of the full schedule.
    """

    first: int
    last: int
    num_frames: int
    newest_only: bool = False
    name: str = ""
    full_first: int = field(default=0, compare=False)


def least_epochs(schedule: Schedule) -> int:
    """The fewest epochs to which a schedule is shortened: a tenth of them, and two where there are two."""
    return max(min(2, schedule.epochs), math.ceil(schedule.epochs / 10))


def shortened(schedule: Schedule, epochs: int) -> Schedule:
    """The full schedule in fewer epochs: decay, progression and `fix_epochs` keep their share of all epochs."""
    assert schedule.full_epochs is None, "a full schedule"
    return schedule if epochs == schedule.epochs else replace(schedule, epochs=epochs, full_epochs=schedule.epochs)


def full_schedule(schedule: Schedule) -> Schedule:
    """The schedule before it was shortened."""
    full = schedule.full_epochs
    return schedule if full is None else replace(schedule, epochs=full, full_epochs=None)


def full_epoch(schedule: Schedule, epoch: int) -> int:
    """The epoch of the full schedule that lies as far into it as `epoch` into this one."""
    return epoch if schedule.full_epochs is None else epoch * schedule.full_epochs // schedule.epochs


def full_progress(schedule: Schedule, progress: float) -> float:
    """Epochs done, with fraction, in epochs of the full schedule."""
    return progress if schedule.full_epochs is None else progress * schedule.full_epochs / schedule.epochs


def frames_at(schedule: Schedule, epoch: int) -> int:
    """Generated frames per sequence in `epoch` (counted from 0): n0 2^(epoch // double_every), capped."""
    cap = max(1, schedule.max_frames)
    doublings = full_epoch(schedule, epoch) // schedule.double_every if schedule.double_every else 0
    # 2^30 frames are above any cap; a larger shift would make a huge integer.
    return min(cap, schedule.first_frames << min(doublings, 30))


def learning_rate_factor(schedule: Schedule, epoch: int) -> float:
    """1, then linear over the last `decay_epochs`, reaching 0 after the last epoch (every network alike, D_V too)."""
    decay_epochs = schedule.decay_epochs
    full = schedule.epochs - decay_epochs
    if epoch < full:
        return 1.0
    return max(0.0, 1.0 - (epoch - full + 1) / (decay_epochs + 1))


def ramp_factor(schedule: Schedule, num_frames: int, *, progress: float, ramp: float) -> float:
    """The factor in [0, 1] of the weight of a loss that needs `num_frames` generated frames.

    A loss that is on from the first epoch has factor 1. One that starts when sequences become long enough ramps up
    linearly over `ramp` epochs, so that an untrained discriminator does not disturb training.

    Args:
        progress: epochs done, with fraction.
        ramp: epochs; 0 = none.
    """
    fits = (epoch for epoch in range(schedule.epochs) if frames_at(schedule, epoch) >= num_frames)
    begins = next(fits, schedule.epochs)
    return min(1.0, max(0.0, (progress - begins) / ramp)) if begins and ramp else 1.0


def phases(schedule: Schedule) -> list[Phase]:
    """The phases of the schedule, in order."""
    found: list[Phase] = []
    for epoch in range(schedule.epochs):
        full = full_epoch(schedule, epoch)
        name = next((name for first, name in reversed(schedule.names) if full >= first), "")
        phase = Phase(epoch, epoch, frames_at(schedule, epoch), full < schedule.fix_epochs, name, full)
        if found and replace(found[-1], last=epoch) == replace(phase, first=found[-1].first):
            found[-1] = replace(found[-1], last=epoch)
        else:
            found.append(phase)
    return found


def flow_strides(strides: tuple[int, ...], max_frame_stride: int) -> tuple[int, ...]:
    """Strides of the flow to read, in frames of the clip.

    Args:
        strides: how many frames of a sequence the losses look back.
        max_frame_stride: frames of a sequence lie 1 to this many frames of the clip apart.
    """
    return tuple(sorted({stride * apart for stride in strides for apart in range(1, max_frame_stride + 1)}))
