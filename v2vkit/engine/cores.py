"""Chooses torch's number of CPU threads by the number of idle cores.

One thread more than idle cores slows torch many times over: the threads of one operation wait for each other, hence for
the one that shares its core with another program. The last digits of training depend on the number of threads (another
order of summation); a generated frame does not.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_FIRST_INTERVAL = 0.25  # seconds of the first measurement; the system counts in hundredths
_EVERY = 2.0  # seconds between measurements during the work
_IDLE_SHARE = 0.6  # share of a core that must be idle to add a thread for it
_IDLE_TIMES = 3  # measurements in a row that must find an idle core before a thread is added


@dataclass(frozen=True)
class CpuTimes:
    """Seconds: of the clock, of CPU time on the cores that this process may use, and of this process's own CPU time."""

    clock: float
    busy: float
    own: float


ReadTimes = Callable[[], CpuTimes | None]
"""CPU times so far; None where the system does not report them."""


@dataclass(frozen=True)
class Threads:
    """The number of torch's threads and the reason, for the plan."""

    number: int
    why: str
    automatic: bool = False
    reduced: bool = False
    """Fewer than torch's default, because other programs use cores."""

    def __str__(self) -> str:
        return f"{self.number} ({self.why})"


UNCHANGED_THREADS = Threads(0, "not chosen")
"""For `follow_idle_cores`: do not change torch's threads."""


def allowed_cores() -> int:
    """Number of cores that this process may use, by its affinity and its container's quota; at least 1."""
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
    """CPU times so far; None where the system does not report them (only Linux does)."""
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
    """Average number of cores that other programs left idle between two measurements."""
    elapsed = max(now.clock - before.clock, 1e-3)
    others = (now.busy - before.busy) - (now.own - before.own)
    number = float(len(_affinity()))
    return min(number, max(0.0, number - others / elapsed))


@cache
def default_threads() -> int:
    """Torch's default number of threads, limited by the container's quota."""
    import torch

    return min(torch.get_num_threads(), allowed_cores())


def _threads_for(idle: float) -> Threads:
    most = default_threads()
    number = max(1, min(most, int(idle + 1 - _IDLE_SHARE)))
    why = f"{idle:.1f} of {len(_affinity())} cores idle"
    return Threads(number, why, automatic=True, reduced=number < most)


def choose_threads(asked: int, *, read: ReadTimes = read_cpu_times) -> Threads:
    """Set torch's number of CPU threads at the start of a command, and return it.

    Args:
        asked: the setting; 0 = OMP_NUM_THREADS where it is set, else the number of idle cores, at most torch's default.
        read: measures the CPU times so far.
    """
    import torch

    if asked:
        chosen = Threads(asked, "--threads")
    elif "OMP_NUM_THREADS" in os.environ:
        chosen = Threads(torch.get_num_threads(), "OMP_NUM_THREADS")
    elif (before := read()) is None:
        chosen = Threads(default_threads(), "torch's choice")
    else:
        time.sleep(_FIRST_INTERVAL)
        now = read()
        assert now is not None
        chosen = _threads_for(idle_cores(before, now))
    torch.set_num_threads(chosen.number)
    return chosen


def follow_idle_cores(
    items: Iterable[T],
    threads: Threads,
    *,
    tell: Callable[[str], object] | None = None,
    every: float = _EVERY,
    read: ReadTimes = read_cpu_times,
) -> Iterator[T]:
    """Yield the items, and between them adapt torch's number of threads to the idle cores.

    Iterate in the thread that computes: OpenMP counts threads per calling thread. No effect where the number was set.

    Args:
        threads: as chosen at the start.
        tell: is called with a line about every change.
        every: seconds between measurements.
        read: as for `choose_threads`.
    """
    before, number, calm = read() if threads.automatic else None, threads.number, 0
    for item in items:
        yield item
        if before is None or time.monotonic() - before.clock < every:
            continue
        now = read()
        if now is None:
            return
        wanted = _threads_for(idle_cores(before, now))
        before = now
        calm = calm + 1 if wanted.number > number else 0
        if wanted.number < number or calm >= _IDLE_TIMES:
            number, calm = wanted.number, 0
            _set_threads(number)
            if tell is not None:
                tell(f"threads   {wanted}")


def _set_threads(number: int) -> None:
    import torch

    torch.set_num_threads(number)
