"""The Ray engine on a cluster: the same bytes as the local one, and tasks that survive the death of a worker or node.

Not collected: `test_engine_ray.py` runs this file in a process of its own.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.errors import raises
from tests.unit.fake_stage import INVERT, SOURCE, SUM, InvertConfig, SourceConfig, SumConfig
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Ray cluster of two nodes with one CPU each; only who knows its token can use it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", os.urandom(24).hex())
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster  # after the variables, which ray reads at its import

        made = Cluster(initialize_head=True, head_node_args=SMALL)
        made.add_node(**SMALL)
        yield made
        made.shutdown()


def _on(cluster: Any, work: Path, **more: Any) -> RunOptions:
    return RunOptions(work=str(work), engine="ray", address=cluster.address, **more)


def _bytes(work: Path) -> dict[str, str]:
    files = sorted(path for path in work.rglob("*") if path.is_file())
    return {str(path.relative_to(work)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _dies_once(marker: str) -> Callable[[int], int]:
    """Kills its own process at task 1, the first time."""

    def work(task: int) -> int:
        if task == 1 and not Path(marker).exists():
            Path(marker).touch()
            os._exit(9)
        return 10 * task

    return work


def _repeated(told: list[str]) -> int:
    """Number of tasks that were given to another worker. On a busy machine workers are also lost while they start."""
    return sum("made again" in line for line in told)


def _always_dies(argument: object) -> Callable[[int], int]:
    return lambda task: os._exit(9)


def _dies_while_it_starts(argument: object) -> Callable[[int], int]:
    os._exit(1)


def _waits_for(folder: str) -> Callable[[int], int]:
    """Names its node in a file, then waits for permission."""

    import ray

    def work(task: int) -> int:
        node = ray.get_runtime_context().get_node_id()
        (Path(folder) / f"{task}-{node}").touch()
        while not (Path(folder) / "go").exists():
            time.sleep(0.05)
        return 10 * task

    return work


def test_ray_writes_the_same_bytes_as_the_local_engine(cluster: Any, tmp_path: Path) -> None:
    local, far = RunOptions(work=str(tmp_path / "local"), workers=1), _on(cluster, tmp_path / "ray")
    for options in (local, far):
        run(SOURCE, SourceConfig(), options)
        run(INVERT, InvertConfig(), options)
        run(SUM, SumConfig(), options)
    assert _bytes(tmp_path / "local") == _bytes(tmp_path / "ray")


def test_errors_are_those_of_the_stage(cluster: Any, tmp_path: Path) -> None:
    options = _on(cluster, tmp_path / "work")
    run(SOURCE, SourceConfig(num_clips=2), options)
    with raises("weights-missing"):
        run(INVERT, InvertConfig(fail=True), options)
    assert not (tmp_path / "work/inverted").exists()
    with raises("stopped", "clip-0001"):
        run(SUM, SumConfig(stop="clip-0001"), options)
    run(SUM, SumConfig(), options)


def _engine(cluster: Any, setup: Callable[[Any], Callable[[int], int]], argument: object, **more: Any) -> Any:
    from v2vkit.engine.ray import RayEngine

    settings = {"workers": 2, "num_tasks": 6, "address": cluster.address, "gpus": 0.0}
    return RayEngine(setup, argument, **{**settings, **more})


def test_the_task_of_a_killed_worker_is_repeated(cluster: Any, tmp_path: Path) -> None:
    told: list[str] = []
    with _engine(cluster, _dies_once, str(tmp_path / "died")) as engine:
        assert sorted(engine.map(range(6), tell=told.append)) == [(n, 10 * n) for n in range(6)]
    assert _repeated(told) == 1


def test_a_task_that_always_kills_its_worker_ends_the_run(cluster: Any) -> None:
    with raises("worker-killed"), _engine(cluster, _always_dies, None, num_tasks=1) as engine:
        list(engine.map([1], tell=lambda line: None))


def test_workers_that_never_start_end_the_run(cluster: Any) -> None:
    with raises("worker-killed", "3"), _engine(cluster, _dies_while_it_starts, None, num_tasks=1):
        pass


def test_more_gpus_than_the_cluster_has_are_refused(cluster: Any) -> None:
    with raises("workers-missing", "1 GPUs"), _engine(cluster, _always_dies, None, workers=0, gpus=1.0):
        pass


def test_a_killed_node_is_survived(cluster: Any, tmp_path: Path) -> None:
    extra = cluster.add_node(**SMALL)
    told: list[str] = []
    with _engine(cluster, _waits_for, str(tmp_path), workers=3) as engine:
        while len(engine._idle) < 3:  # a worker on every node
            engine._look(told.append)
        results = engine.map(range(6), tell=told.append)

        def kill() -> None:
            while not any(tmp_path.glob(f"*-{extra.node_id}")):
                time.sleep(0.05)
            cluster.remove_node(extra, allow_graceful=False)
            until = time.monotonic() + 100
            while not _repeated(told) and time.monotonic() < until:  # its worker waits for `go`, until it notices
                time.sleep(0.05)
            (tmp_path / "go").touch()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        assert sorted(results) == [(n, 10 * n) for n in range(6)]
        killer.join()
    assert _repeated(told) == 1
