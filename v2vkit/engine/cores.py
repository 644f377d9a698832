"""Torch's CPU threads by the cores that are idle.

One thread more than there are idle cores slows torch many times over: the threads of one operation wait for each other,
so for the one that shares its core with another program. Training sums in another order with another number of threads,
so its last digits depend on it; a generated frame does not.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_LOOK = 0.25  # seconds; the system counts in hundredths of them
_EVERY = 2.0  # seconds between looks while work goes on
_ENOUGH = 0.6  # share of a core that has to be idle for a thread of its own
_CALM = 3  # looks in a row that have to find a core idle before a thread is added: pauses of others are short


@dataclass(frozen=True)
class CpuTimes:
    """Seconds since some moment: on the clock, of the cores that this process may use, and of this process."""

    clock: float
    busy: float
    own: float


@dataclass(frozen=True)
class Threads:
    """How many threads torch computes with, and why, in words for the plan."""

    number: int
    why: str
    automatic: bool = False
    reduced: bool = False
    """Other programs take cores away."""

    def __str__(self) -> str:
        return f"{self.number} ({self.why})"


AS_THEY_ARE = Threads(0, "not chosen")
"""For `follow_idle_cores`: leave torch's threads alone."""


def allowed_cores() -> int:
    """The cores that this process may use, by its affinity and its container's quota; at least 1."""
    number = float(len(_affinity()))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        number = min(number, int(quota) / int(period))
    except (OSError, ValueError):  # no control groups, or "max"
        pass
    return max(1, int(number))


def _affinity() -> set[int]:
    return set(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def read_cpu_times() -> CpuTimes | None:
    """What the cores have done so far; None where the system does not tell (only Linux does)."""
    names, ticks = {f"cpu{number}" for number in _affinity()}, 0
    try:
        for line in Path("/proc/stat").read_text().splitlines():
            name, *counts = line.split()
            if name in names:
                user, nice, system, _idle, _waiting, *interrupts = (int(count) for count in counts[:8])
                ticks += user + nice + system + sum(interrupts)
    except (OSError, ValueError):
        return None
    own = os.times()
    return CpuTimes(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), own.user + own.system)


def idle_cores(before: CpuTimes, now: CpuTimes) -> float:
    """How many cores other programs left to this process between two looks, on average."""
    elapsed = max(now.clock - before.clock, 1e-3)
    others = (now.busy - before.busy) - (now.own - before.own)
    number = float(len(_affinity()))
    return min(number, max(0.0, number - others / elapsed))


@cache
def _most_threads() -> int:
    """Torch's own choice, before it was changed, within the container's quota."""
    import torch

    return min(torch.get_num_threads(), allowed_cores())


def _threads_for(idle: float) -> Threads:
    number = max(1, min(_most_threads(), int(idle + 1 - _ENOUGH)))
    why = f"{idle:.1f} of {len(_affinity())} cores idle"
    return Threads(number, why, automatic=True, reduced=number < _most_threads())


def choose_threads(asked: int) -> Threads:
    """Set and give torch's CPU threads, at the start of a command.

    Args:
        asked: the setting; 0 = as many as there are idle cores, but not more than torch would take, or what
            OMP_NUM_THREADS says where it is set.
    """
    import torch

    if asked:
        chosen = Threads(asked, "--threads")
    elif "OMP_NUM_THREADS" in os.environ:
        chosen = Threads(torch.get_num_threads(), "OMP_NUM_THREADS")
    elif (before := read_cpu_times()) is None:
        chosen = Threads(_most_threads(), "torch's choice")
    else:
        time.sleep(_LOOK)
        now = read_cpu_times()
        assert now is not None
        chosen = _threads_for(idle_cores(before, now))
    torch.set_num_threads(chosen.number)
    return chosen


def follow_idle_cores(
    items: Iterable[T], threads: Threads, *, tell: Callable[[str], object] | None = None, every: float = _EVERY
) -> Iterator[T]:
    """The items; between them torch's threads are set again where other programs have come or gone.

    In the thread that computes: OpenMP counts for each thread by itself. Does nothing where the number was set.

    Args:
        threads: as chosen at the start.
        tell: is given a sentence about every change.
        every: seconds between looks.
    """
    before, number, calm = read_cpu_times() if threads.automatic else None, threads.number, 0
    for item in items:
        yield item
        if before is None or time.monotonic() - before.clock < every:
            continue
        now = read_cpu_times()
        if now is None:
            return
        wanted = _threads_for(idle_cores(before, now))
        before = now
        calm = calm + 1 if wanted.number > number else 0
        if wanted.number < number or calm >= _CALM:
            number, calm = wanted.number, 0
            _set_threads(number)
            if tell is not None:
                tell(f"threads   {wanted}")


def _set_threads(number: int) -> None:
    import torch

    torch.set_num_threads(number)
