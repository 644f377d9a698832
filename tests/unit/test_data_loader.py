"""Loader workers: the same batches in the same order, errors as sentences, and no process left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.errors import raises
from tests.unit.training_data import SMALL, make_workspace, open_dataset
from v2vkit.artifacts.folder import Folder
from v2vkit.conditions.augment import Change
from v2vkit.errors import V2VError
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import clip_sampler, num_loader_workers, open_batches
from v2vkit.training.data.sampler import Window
from v2vkit.training.methods.frames import video_schedule
from v2vkit.training.parallel import Parallel

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CONFIG = SMALL.model_copy(update={"batch_size": 2, "augment": 1.0, "seed": 5})
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_workspace(tmp_path_factory.mktemp("loader") / "work").work


class Failing(VideoDataset):
    """Cannot load the windows from frame 3 on."""

    def load(self, window: Window, *, flip: bool = False, change: Change | None = None) -> VideoBatch:
        if window.start >= 3:
            raise V2VError("frame-broken", "Frame 3 is broken.", "Make it again.")
        return super().load(window, flip=flip, change=change)


class Dying(VideoDataset):
    """Its process is killed."""

    def load(self, window: Window, *, flip: bool = False, change: Change | None = None) -> VideoBatch:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def of_kind(kind: type[VideoDataset], work: str) -> VideoDataset:
    plain = open_dataset(work)
    return kind(plain.reader, plain.source, strides=plain.strides)


def batches(
    dataset: VideoDataset, *, workers: int | None, epochs: int = 2, parallel: Parallel | None = None
) -> list[VideoBatch]:
    config = CONFIG.model_copy(update={"loader_workers": workers})
    plans = clip_sampler(config, dataset.reader.clips, schedule=video_schedule(config), context=2).remaining(
        epochs, epoch=0, batch=1
    )
    with open_batches(config, dataset, plans, CPU, parallel=parallel or Parallel()) as loaded:
        return list(loaded)


def tensors(batch: VideoBatch) -> list[torch.Tensor]:
    return [batch.x, batch.s, *batch.flow.values(), *batch.confidence.values()]


def no_workers_left() -> bool:
    for _ in range(10_000):
        if not multiprocessing.active_children():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_workers_give_the_same_batches_in_the_same_order(work: str) -> None:
    dataset = open_dataset(work, flip=True)
    expected = batches(dataset, workers=0)
    found = batches(dataset, workers=2)
    assert len(found) == len(expected) > 3
    assert {batch.from_nothing for batch in found} == {True, False}
    for one, other in zip(found, expected, strict=True):
        assert one.from_nothing == other.from_nothing
        assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))
    assert no_workers_left()


def test_processes_share_the_sequences_of_every_batch(work: str) -> None:
    dataset = open_dataset(work)
    whole = batches(dataset, workers=0, epochs=1)
    for rank in (0, 1):
        parallel = Parallel()
        parallel.rank, parallel.num_processes = rank, 2
        for batch, part in zip(whole, batches(dataset, workers=0, epochs=1, parallel=parallel), strict=True):
            assert torch.equal(part.x, batch.x[rank : rank + 1])
            assert part.from_nothing == batch.from_nothing


def test_nothing_is_loaded_ahead_of_the_step_without_workers(work: str) -> None:
    dataset, loaded = open_dataset(work), []
    plain = dataset.load

    def counted(window: Window, **changes: Any) -> VideoBatch:
        loaded.append(window)
        return plain(window, **changes)

    dataset.load = counted  # type: ignore[method-assign]
    plans = clip_sampler(CONFIG, dataset.reader.clips, schedule=video_schedule(CONFIG), context=2).batches(0)
    with open_batches(CONFIG, dataset, plans, CPU) as stream:
        for number, _ in enumerate(stream, 1):
            assert len(loaded) == 2 * number
    assert num_loader_workers(CONFIG, dataset, CPU) == 0


@pytest.mark.slow
def test_the_error_of_a_worker_arrives_as_its_sentence(work: str) -> None:
    with raises("frame-broken", "Frame 3 is broken. Make it again."):
        batches(of_kind(Failing, work), workers=1)
    assert no_workers_left()


_KILLED = """
import sys
from tests.errors import raises
from tests.unit.test_data_loader import Dying, batches, no_workers_left, of_kind
if __name__ == "__main__":
    with raises("worker-killed", "--loader-workers"):
        batches(of_kind(Dying, sys.argv[1]), workers=1)
    assert no_workers_left()
    print("told")
"""


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told_of(work: str, tmp_path: Path) -> None:
    """In a process of its own: torch raises the death of a worker from a signal handler, anywhere in the process."""
    script = tmp_path / "run.py"
    script.write_text(_KILLED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, str(script), work], env=environment, capture_output=True, text=True, timeout=800, check=False
    )
    assert ended.stdout == "told\n", ended.stderr


@pytest.mark.slow
def test_leaving_early_ends_the_workers(work: str) -> None:
    dataset, config = open_dataset(work), CONFIG.model_copy(update={"loader_workers": 1})
    plans = clip_sampler(config, dataset.reader.clips, schedule=video_schedule(config), context=2).batches(0)
    with open_batches(config, dataset, plans, CPU) as stream:
        next(stream)
        assert multiprocessing.active_children()
    assert no_workers_left()


def test_a_gpu_gets_workers_but_not_from_memory(work: str) -> None:
    dataset = open_dataset(work)
    assert num_loader_workers(CONFIG, dataset, CUDA, cores=16) == 4
    assert num_loader_workers(CONFIG, dataset, CUDA, cores=2) == 1
    assert num_loader_workers(CONFIG.model_copy(update={"loader_workers": 0}), dataset, CUDA) == 0
    for kind in ("frames", "labels", "flow"):
        for name in Folder(f"{work}/{kind}").names():
            Folder(f"memory://loader/{kind}").write(name, Folder(f"{work}/{kind}").read(name))
    in_memory = open_dataset("memory://loader")
    assert num_loader_workers(CONFIG, in_memory, CUDA) == 0
    with raises("workspace-unsupported", "memory://", "--loader-workers 0"):
        batches(in_memory, workers=1)


_RUN = """
import sys, time
from tests.unit.training_data import open_dataset
from tests.unit.test_data_loader import CONFIG, CPU, clip_sampler, open_batches, video_schedule
if __name__ == "__main__":
    config = CONFIG.model_copy(update={"loader_workers": 2})
    dataset = open_dataset(sys.argv[1])
    sampler = clip_sampler(config, dataset.reader.clips, schedule=video_schedule(config), context=2)
    with open_batches(config, dataset, sampler.batches(0), CPU) as stream:
        next(stream)
        print("ready", *[p.pid for p in __import__("multiprocessing").active_children()], flush=True)
        time.sleep(3600)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process(work: str, tmp_path: Path, stop: signal.Signals) -> None:
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    process = subprocess.Popen(
        [sys.executable, str(script), work],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    word, *pids = process.stdout.readline().split()
    assert word == "ready"
    assert len(pids) == 2
    if stop == signal.SIGKILL:
        process.kill()
    else:  # to the whole group, as Ctrl-C and a scheduler's SIGTERM
        os.killpg(process.pid, stop)
    _, told = process.communicate(timeout=800)
    assert told.count("Traceback") == (stop == signal.SIGINT)
    for _ in range(8000):
        if not any(_alive(int(pid)) for pid in pids):
            return
        time.sleep(0.1)
    raise AssertionError(f"still there: {pids}")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
