"""The schedule of the paper: learning rate and temporal progression, as pure functions of the epoch.

Source: vid2vid specification 1.10 (clip length doubles every few epochs; learning rate constant, then linear to zero).
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Schedule:
    """When what happens.

    Attributes:
        epochs: epochs at the full learning rate.
        decay_epochs: epochs over which it then falls linearly to zero.
        first_frames: generated frames per training sequence at the beginning.
        double_every: the number doubles after so many epochs; 0 = never.
        max_frames: and never exceeds this.
        fix_epochs: epochs at the beginning in which only the newest spatial scale trains.
    """

    epochs: int
    decay_epochs: int
    first_frames: int
    double_every: int
    max_frames: int
    fix_epochs: int = 0

    @property
    def total_epochs(self) -> int:
        return self.epochs + self.decay_epochs


@dataclass(frozen=True)
class Phase:
    """Epochs [first, last] that train alike: sequences of `num_frames` frames; all scales or the newest only."""

    first: int
    last: int
    num_frames: int
    newest_only: bool = False


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


def warm_up_factors(
    schedule: Schedule, spans: tuple[int, ...], *, progress: float, warm_up: float
) -> tuple[float, ...]:
    """The share of its weight that the loss of each temporal scale has reached.

    A loss that is there from the beginning has its whole weight at once. One that begins when sequences become long
    enough for it grows linearly over `warm_up` epochs, so that a fresh discriminator upsets nothing.

    Args:
        spans: generated frames that each temporal scale needs.
        progress: epochs done, with fraction.
        warm_up: epochs; 0 = none.
    """
    factors = []
    for span in spans:
        fits = (epoch for epoch in range(schedule.total_epochs) if frames_at(schedule, epoch) >= span)
        begins = next(fits, schedule.total_epochs)
        factors.append(min(1.0, max(0.0, (progress - begins) / warm_up)) if begins and warm_up else 1.0)
    return tuple(factors)


def phases(schedule: Schedule) -> list[Phase]:
    """The progression in space and time as a list of phases."""
    found: list[Phase] = []
    for epoch in range(schedule.total_epochs):
        phase = Phase(epoch, epoch, frames_at(schedule, epoch), epoch < schedule.fix_epochs)
        if found and (found[-1].num_frames, found[-1].newest_only) == (phase.num_frames, phase.newest_only):
            found[-1] = replace(found[-1], last=epoch)
        else:
            found.append(phase)
    return found


def flow_strides(strides: tuple[int, ...], max_step: int) -> tuple[int, ...]:
    """Strides of the flow between frames that are up to `max_step` apart, where those judged are `strides` apart."""
    return tuple(sorted({stride * step for stride in strides for step in range(1, max_step + 1)}))
