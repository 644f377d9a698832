"""Runs a command in a process of its own: its time, its processor time and its memory, with all that it starts.

Linux's `/proc` is read four times a second, because the processes of a Ray cluster are no children that their starter
waits for. What a process does after its last reading is lost: a quarter of a second at most. (`ru_maxrss` is of no use:
in a new process it begins with the peak of the one that started it.)
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL = 0.25  # seconds
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Used:
    """What a command used.

    Attributes:
        seconds: by the clock.
        processor: seconds of processor time, of it and of all processes that it started.
        memory: peak resident memory of its largest process in bytes.
    """

    seconds: float
    processor: float
    memory: int


def measured(arguments: Sequence[str]) -> Used:
    """Run `python ARGUMENTS...` to its end.

    Raises:
        CalledProcessError: it failed; its output is on standard error.
    """
    command = [sys.executable, *arguments]
    ticks, peak, parents = dict[int, int](), 0, set[int]()
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        parents.add(process.pid)
        while process.poll() is None:
            for pid in _with_descendants(parents):
                ticks[pid], memory = max(_ticks(pid), ticks.get(pid, 0)), _peak(pid)
                peak = max(peak, memory)
            time.sleep(_POLL)
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            sys.stderr.write(output.read().decode(errors="replace"))
            raise subprocess.CalledProcessError(process.returncode, command)
    return Used(seconds, sum(ticks.values()) / _TICKS, peak)


def _with_descendants(known: set[int]) -> set[int]:
    """Add the descendants of these processes to them; they stay when their parent ends."""
    parent = {pid: int(fields[1]) for pid, fields in _running().items()}
    more = True
    while more:
        found = {pid for pid, of in parent.items() if of in known} - known
        known |= found
        more = bool(found)
    return known & parent.keys()


def _running() -> dict[int, list[str]]:
    """The fields of `/proc/PID/stat` behind the name, of every process."""
    return {int(path.name): _stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}


def _stat(pid: int) -> list[str]:
    """The fields of a process behind its name; those of an ended one are zeros."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["Z", *["0"] * 20]


def _ticks(pid: int) -> int:
    """User and system time of a process alone."""
    return sum(map(int, _stat(pid)[11:13]))


def _peak(pid: int) -> int:
    """Peak resident memory of a process in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
