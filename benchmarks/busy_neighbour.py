"""Training and rendering beside one other busy program, on two cores: the rate against that on idle ones.

The neighbour is there from the start, or comes while training is at work. All is measured in turns in one run, so
only ratios count; other programs on the machine spoil them.
"""

import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.render import _make_model, _write_face_video
from benchmarks.train_step import Workload, begin, make_sequence, our_step
from v2vkit.engine.cores import Threads, choose_threads, follow_idle_cores

Row = tuple[str, float, str]
CORES = 2
SECONDS = 15.0
"""Of every measurement of training."""
FRAMES = (60, 260)
"""Rendered frames; the difference of the two times is free of the start."""
TOY = Workload(width=128, height=64, labels=8, frames=1, generator_width=24, blocks=3)


@contextlib.contextmanager
def busy_neighbour() -> Iterator[None]:
    """One program that computes all the time."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.wait()


def _training() -> Callable[[], object]:
    """A training step of the toy's size on one frame."""
    sequence, training = make_sequence(TOY), begin(TOY.config(), TOY)
    return lambda: our_step(training, sequence)


def _rate(step: Callable[[], object], threads: Threads, during: contextlib.AbstractContextManager[None]) -> float:
    """Steps per second beside `during`, which begins when the threads are chosen and training is at work."""
    step()
    with during:
        start, count = time.perf_counter(), 0
        for _ in follow_idle_cores(itertools.repeat(None), threads):
            step()
            count += 1
            if time.perf_counter() - start > SECONDS:
                break
        return count / (time.perf_counter() - start)


def training_rows() -> list[Row]:
    """The rows about training."""
    step, none = _training(), contextlib.nullcontext()
    threads = choose_threads(0)
    idle = _rate(step, threads, none)
    with busy_neighbour():
        fixed = _rate(step, choose_threads(CORES), none)
        chosen = choose_threads(0)
        beside = _rate(step, chosen, none)
    torch.set_num_threads(threads.number)
    later = _rate(step, threads, busy_neighbour())
    gone = _rate(step, Threads(torch.get_num_threads(), "", automatic=True), none)
    idle = max(idle, _rate(step, choose_threads(0), none))
    return [
        ("training: seconds a step, idle", 1 / idle, "for information"),
        (f"training: busy / idle, {CORES} threads all the time", fixed / idle, "for information"),
        (f"training: busy / idle, neighbour first ({chosen.number} threads)", beside / idle, ">= 0.7"),
        ("training: busy / idle, neighbour comes later", later / idle, ">= 0.7 less 3 s"),
        ("training: after the neighbour has gone / idle", gone / idle, "1 less 6 s"),
    ]


def _render_seconds(work: Path, *flags: str) -> float:
    """Seconds of `v2v render` a frame, without its start."""
    seconds = []
    for count in FRAMES:
        command = ["render", str(work / f"{count}.mp4"), str(work / "out.mp4"), "--work", str(work), *flags]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "v2vkit", *command], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return (seconds[1] - seconds[0]) / (FRAMES[1] - FRAMES[0])


def render_rows() -> list[Row]:
    """The rows about rendering: a face, 128x128, `tiny`."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        _make_model(work, width=32, side=128)
        for count in FRAMES:
            _write_face_video(work / f"{count}.mp4", count)
        idle = _render_seconds(work)
        with busy_neighbour():
            fixed = _render_seconds(work, "--threads", str(CORES))
            beside = _render_seconds(work)
        idle = min(idle, _render_seconds(work))
    return [
        ("render: seconds a frame, idle", idle, "for information"),
        (f"render: busy / idle, {CORES} threads all the time", idle / fixed, "for information"),
        ("render: busy / idle", idle / beside, ">= 0.7"),
    ]


def run() -> list[Row]:
    """The rows of the table."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:CORES])
    try:
        return training_rows() + render_rows()
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    for row in run():
        print(row)
