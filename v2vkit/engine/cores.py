"""How many CPU cores this process may use, how many of them are idle, and torch's threads by that.

One thread more than there are idle cores slows torch many times over: the threads of one operation wait for each other,
so for the one that shares its core with another program.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_LOOK = 0.25  # seconds; /proc/stat counts in hundredths of them
_AGAIN = 2.0  # seconds between looks while work goes on
_TAKEN = 0.6  # of a core that is idle: enough for a thread of its own

Look = tuple[float, float, float]
"""Seconds on the clock, seconds that the allowed cores were busy, seconds of this process among them."""


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
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def look() -> Look | None:
    """What the cores have done so far; None where the system does not tell (only Linux does)."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return None
    names = {f"cpu{number}" for number in _affinity()}
    ticks = 0
    for line in lines:
        name, *counts = line.split()
        if name in names:
            user, nice, system, _, _, irq, soft, steal = (int(count) for count in counts[:8])
            ticks += user + nice + system + irq + soft + steal
    own = os.times()
    return time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), own.user + own.system


def busy_cores(before: Look, now: Look) -> float:
    """How many of the allowed cores other programs kept busy between two looks, on average."""
    elapsed = now[0] - before[0]
    if elapsed <= 0:
        return 0.0
    others = (now[1] - before[1]) - (now[2] - before[2])
    return min(float(len(_affinity())), max(0.0, others / elapsed))


def threads_beside(busy: float, most: int) -> int:
    """Threads for the cores that others leave idle: 1 to `most`.

    Args:
        busy: cores that other programs keep busy.
    """
    return max(1, min(most, int(allowed_cores() - busy + (1 - _TAKEN))))


@dataclass(frozen=True)
class Threads:
    """How many threads torch computes with, and why, in words for the plan."""

    number: int
    why: str


def choose_threads(asked: int, *, seconds: float = _LOOK) -> Threads:
    """Threads for torch on a CPU.

    Args:
        asked: the setting; 0 = as many as there are idle cores, but not more than torch's own choice, and that of
            OMP_NUM_THREADS where it is set.
        seconds: for which the cores are watched.
    """
    import torch

    if asked:
        return Threads(asked, "--threads")
    if "OMP_NUM_THREADS" in os.environ:
        return Threads(torch.get_num_threads(), "OMP_NUM_THREADS")
    most, before = torch.get_num_threads(), look()
    if before is None:
        return Threads(most, "torch's choice")
    time.sleep(seconds)
    now = look()
    assert now is not None
    busy, cores = busy_cores(before, now), allowed_cores()
    return Threads(threads_beside(busy, most), f"{max(0.0, cores - busy):.1f} of {cores} cores idle at the start")
