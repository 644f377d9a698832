"""How many threads torch gets, by what other programs leave idle."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.training_data import SMALL, make_workspace
from v2vkit.engine import cores
from v2vkit.engine.choice import local_workers
from v2vkit.engine.cores import (
    UNCHANGED_THREADS,
    CpuTimes,
    Threads,
    allowed_cores,
    choose_threads,
    follow_idle_cores,
    idle_cores,
    read_cpu_times,
)
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.doctor import _devices
from v2vkit.stages.train import STAGE as TRAIN


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of four cores, on which no time passes between two measurements."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(cores, "default_threads", lambda: 4)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield
    torch.set_num_threads(before)


def busy(*others: float, own: float = 1.0) -> Callable[[], CpuTimes]:
    """Measurements 10 s apart: so many cores are busy with other programs, and `own` with this process."""
    looks = [CpuTimes(0.0, 0.0, 0.0)]
    for load in others:
        last = looks[-1]
        looks.append(CpuTimes(last.clock + 10, last.busy + 10 * (load + own), last.own + 10 * own))
    left = iter(looks)
    return lambda: next(left)


@pytest.mark.parametrize(
    ("others", "number"), [(0.0, 4), (0.3, 4), (0.5, 3), (1.0, 3), (1.7, 2), (3.0, 1), (4.0, 1), (9.0, 1)]
)
def test_a_thread_needs_a_core_that_is_mostly_idle(others: float, number: int) -> None:
    threads = choose_threads(0, read=busy(others, own=0.5))
    assert threads.number == torch.get_num_threads() == number
    assert threads.reduced == (number < 4)
    assert f"{number} ({max(0.0, 4 - others):.1f} of 4 cores idle)" == str(threads)


def test_threads_that_are_asked_for_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(choose_threads(3)) == "3 (--threads)"
    assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert str(choose_threads(0)) == "3 (OMP_NUM_THREADS)"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert str(choose_threads(0, read=lambda: None)) == "4 (torch's choice)", "not Linux"


def test_threads_go_at_once_and_come_back_when_cores_stay_idle() -> None:
    times = busy(0.0, 2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0)
    told: list[str] = []
    torch.set_num_threads(4)
    found = []
    threads = Threads(4, "", automatic=True)
    for _ in follow_idle_cores(range(8), threads, tell=told.append, every=-1e9, read=times):
        found.append(torch.get_num_threads())
    assert found == [4, 4, 2, 2, 2, 2, 2, 4]
    assert told == ["threads   2 (2.0 of 4 cores idle)", "threads   4 (4.0 of 4 cores idle)"]


@pytest.mark.parametrize("threads", [UNCHANGED_THREADS, Threads(3, "--threads")])
def test_threads_that_were_set_stay(threads: Threads) -> None:
    torch.set_num_threads(3)
    assert list(follow_idle_cores(range(3), threads, every=-1e9, read=busy(4.0, 4.0, 4.0))) == [0, 1, 2]
    assert torch.get_num_threads() == 3


def test_cpu_time_of_this_process_counts_as_idle() -> None:
    assert idle_cores(CpuTimes(0, 100, 5), CpuTimes(2, 106, 11)) == 4
    assert idle_cores(CpuTimes(0, 100, 5), CpuTimes(2, 106, 9)) == 3
    assert idle_cores(CpuTimes(0, 100, 5), CpuTimes(0, 100, 5)) == 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/stat")
def test_the_system_tells_of_other_programs() -> None:
    before = read_cpu_times()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    now = read_cpu_times()
    assert before is not None
    assert now is not None
    assert now.busy - before.busy >= 0.2
    assert now.own - before.own < 0.2


def test_a_container_may_have_fewer_cores_than_the_machine() -> None:
    assert 1 <= allowed_cores() <= 4


def test_the_plan_says_how_many_threads_and_why(tmp_path: Path) -> None:
    options = make_workspace(tmp_path, num_clips=1, clip_frames=6)
    config = SMALL.model_copy(update={"epochs": 1, "decay": 0.0, "threads": 1})
    plan = run(TRAIN, config, RunOptions(work=options.work, dry_run=True)).message
    assert "  threads   1 (--threads)" in plan


def test_one_worker_per_core_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    assert local_workers(0, 10) == 1
    assert local_workers(8, 10) == 8
    assert local_workers(8, 3) == 3
    assert _devices()[0].startswith("cpu: 1 cores")
