"""The schedule of the paper: learning rate and temporal progression, as pure functions of the epoch.

Source: vid2vid specification 1.10 (clip length doubles every few epochs; learning rate constant, then linear to zero).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """When what happens.

    Attributes:
        epochs: epochs at the full learning rate.
        decay_epochs: epochs over which it then falls linearly to zero.
        first_frames: generated frames per training sequence at the beginning.
        double_every: the number doubles after so many epochs; 0 = never.
        max_frames: and never exceeds this.
    """

    epochs: int
    decay_epochs: int
    first_frames: int
    double_every: int
    max_frames: int

    @property
    def total_epochs(self) -> int:
        return self.epochs + self.decay_epochs


@dataclass(frozen=True)
class Phase:
    """Epochs [first, last] that train with sequences of `num_frames` generated frames."""

    first: int
    last: int
    num_frames: int


def frames_at(schedule: Schedule, epoch: int) -> int:
    """Generated frames per sequence in `epoch` (counted from 0): n0 2^(epoch // double_every), capped."""
    cap = max(1, schedule.max_frames)
    doublings = epoch // schedule.double_every if schedule.double_every else 0
    # 2^30 frames are more than any cap; a larger shift would only cost memory.
    return min(cap, schedule.first_frames << min(doublings, 30))


def learning_rate_factor(schedule: Schedule, epoch: int) -> float:
    """1 while `epoch` < epochs, then linear, reaching 0 after the last epoch (every network alike, D_V too)."""
    if epoch < schedule.epochs:
        return 1.0
    return max(0.0, 1.0 - (epoch - schedule.epochs + 1) / (schedule.decay_epochs + 1))


def phases(schedule: Schedule) -> list[Phase]:
    """The temporal progression as a list of phases."""
    found: list[Phase] = []
    for epoch in range(schedule.total_epochs):
        frames = frames_at(schedule, epoch)
        if found and found[-1].num_frames == frames:
            found[-1] = Phase(found[-1].first, epoch, frames)
        else:
            found.append(Phase(epoch, epoch, frames))
    return found
