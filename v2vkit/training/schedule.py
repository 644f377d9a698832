"""The schedule of the paper: learning rate and temporal progression, as pure functions of the epoch.

Source: vid2vid specification 1.10 (clip length doubles every few epochs; learning rate constant, then linear to zero).
"""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """When what happens.

    Attributes:
        epochs: epochs in all.
        decay: share of them, at the end, over which the learning rate falls linearly to zero.
        first_frames: generated frames per training sequence at the beginning.
        double_every: the number doubles after so many epochs; 0 = never.
        max_frames: and never exceeds this.
        fix_epochs: epochs at the beginning in which only the newest spatial scale trains.
        names: (first epoch, name) of phases that train other losses or networks, in order.
    """

    epochs: int
    decay: float = 0.0
    first_frames: int = 1
    double_every: int = 0
    max_frames: int = 1
    fix_epochs: int = 0
    names: tuple[tuple[int, str], ...] = ()

    def name_at(self, epoch: int) -> str:
        """Name of the phase that an epoch (counted from 0) belongs to; empty = it has none."""
        return next((name for first, name in reversed(self.names) if epoch >= first), "")

    @property
    def decay_epochs(self) -> int:
        """Epochs with a falling learning rate: the share of all, to the nearest whole number.

        Half an epoch counts for the full rate, so that a single epoch trains at it. The product is rounded first, lest
        0.3 * 5 be more than 1.5.
        """
        return math.ceil(round(self.epochs * self.decay, 6) - 0.5)


@dataclass(frozen=True)
class Phase:
    """Epochs [first, last] that train alike: sequences of `num_frames` frames; all scales or the newest only.

    `name` as of `Schedule.names`.
    """

    first: int
    last: int
    num_frames: int
    newest_only: bool = False
    name: str = ""


def frames_at(schedule: Schedule, epoch: int) -> int:
    """Generated frames per sequence in `epoch` (counted from 0): n0 2^(epoch // double_every), capped."""
    cap = max(1, schedule.max_frames)
    doublings = epoch // schedule.double_every if schedule.double_every else 0
    # 2^30 frames are more than any cap; a larger shift would only cost memory.
    return min(cap, schedule.first_frames << min(doublings, 30))


def learning_rate_factor(schedule: Schedule, epoch: int) -> float:
    """1, then linear over the last `decay_epochs`, reaching 0 after the last epoch (every network alike, D_V too)."""
    decay_epochs = schedule.decay_epochs
    full = schedule.epochs - decay_epochs
    if epoch < full:
        return 1.0
    return max(0.0, 1.0 - (epoch - full + 1) / (decay_epochs + 1))


def ramp_factor(schedule: Schedule, num_frames: int, *, progress: float, ramp: float) -> float:
    """The share of its weight that a loss on sequences of `num_frames` generated frames has reached.

    A loss that is there from the beginning has its whole weight at once. One that begins when sequences become long
    enough for it grows linearly over `ramp` epochs, so that a fresh discriminator upsets nothing.

    Args:
        progress: epochs done, with fraction.
        ramp: epochs; 0 = none.
    """
    fits = (epoch for epoch in range(schedule.epochs) if frames_at(schedule, epoch) >= num_frames)
    begins = next(fits, schedule.epochs)
    return min(1.0, max(0.0, (progress - begins) / ramp)) if begins and ramp else 1.0


def phases(schedule: Schedule) -> list[Phase]:
    """The progression in space and time as a list of phases."""
    found: list[Phase] = []
    for epoch in range(schedule.epochs):
        name = schedule.name_at(epoch)
        phase = Phase(epoch, epoch, frames_at(schedule, epoch), epoch < schedule.fix_epochs, name)
        if found and replace(found[-1], last=epoch) == replace(phase, first=found[-1].first):
            found[-1] = replace(found[-1], last=epoch)
        else:
            found.append(phase)
    return found


def flow_strides(strides: tuple[int, ...], max_frame_stride: int) -> tuple[int, ...]:
    """Strides of the flow to read: losses look `strides` frames of a sequence back, which lie up to so far apart."""
    return tuple(sorted({stride * apart for stride in strides for apart in range(1, max_frame_stride + 1)}))
