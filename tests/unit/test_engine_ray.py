"""The Ray engine: its options here, its work on a cluster in `ray_cluster.py`."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.errors import raises
from tests.unit.fake_stage import SOURCE, SourceConfig
from v2vkit.engine.choice import EngineOptions
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")

CASES = Path(__file__).with_name("ray_cluster.py")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_cases_on_a_cluster(tmp_path: Path) -> None:
    """In a process of its own: Ray ends a process, without an exception, when the node or cluster that it uses ends."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "pytest", str(CASES), "-v", "-p", "no:cacheprovider", "--timeout-method=thread"]
    with log.open("wb") as file:  # a file, because daemons of Ray would keep a pipe open
        process = subprocess.Popen(
            [*command, f"--basetemp={tmp_path / 'cases'}"],
            env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            process.wait(timeout=1500)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    told = log.read_text(errors="replace")
    assert process.returncode == 0, told
    assert "7 passed" in told


def test_options_of_ray_are_refused_for_the_local_engine() -> None:
    with raises("setting-conflict", "--address"):
        EngineOptions(address="10.0.0.5:6379").check()
    with raises("setting-conflict", "--worker-gpus"):
        EngineOptions(gpus=1).check()
    with raises("engine-unknown", "spark"):
        EngineOptions(name="spark").check()  # type: ignore[arg-type]


def test_ray_refuses_a_workspace_in_memory() -> None:
    with raises("folder-unsupported"):
        run(SOURCE, SourceConfig(), RunOptions(work="memory://ray-refused", engine="ray"))
