"""Training stopped by Ctrl-C or SIGTERM keeps what it has done, and goes on from there with the same bits."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from tests.hooks import before_forward
from tests.unit.training_data import SMALL, make_workspace, same
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.snapshot import read_progress
from v2vkit.cli.main import cli
from v2vkit.config import as_plain
from v2vkit.models.generator import VideoGenerator
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE

ROOT = Path(__file__).resolve().parents[2]
CONFIG = SMALL.model_copy(update={"epochs": 2, "decay": 0.5, "temporal_scales": 1, "save_every": 3600.0})
"""No snapshot but the last one is due."""
SIGNALS = [signal.SIGINT, signal.SIGTERM]


class Whole(NamedTuple):
    """A workspace with a training that nothing stopped, and how many frames it generated."""

    work: str
    frames: int


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    options = make_workspace(tmp_path_factory.mktemp("stopped") / "whole", num_clips=1, clip_frames=8)
    count = itertools.count()
    with before_forward(VideoGenerator, lambda: next(count)):
        run(STAGE, CONFIG, options)
    return Whole(options.work, next(count))


@pytest.fixture
def work(whole: Whole, tmp_path: Path) -> str:
    """The same workspace before training."""
    return shutil.copytree(whole.work, str(tmp_path / "work"), ignore=shutil.ignore_patterns("checkpoints"))


def _states(work: str) -> list[dict[str, torch.Tensor]]:
    folder = Path(work, "checkpoints/spatial-1")
    (state,) = folder.glob("state-*.safetensors")
    return [load_file(folder / "model.safetensors"), load_file(state)]


def _steps(work: str) -> int | None:
    progress = read_progress(Folder(f"{work}/checkpoints/spatial-1"))
    return None if progress is None else progress.steps


@contextmanager
def _sent(number: signal.Signals, *, before: int, times: int = 1) -> Iterator[list[Any]]:
    """Sends a signal to this process before a frame, counted from 0, is generated.

    Yields:
        What handles the signal after it was sent.
    """
    count, handlers = itertools.count(), list[Any]()

    def send() -> None:
        if next(count) == before:
            for _ in range(times):
                os.kill(os.getpid(), number)
            handlers.append(signal.getsignal(number))

    with before_forward(VideoGenerator, send):
        yield handlers


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("last", [False, True], ids=["in the first batch", "in the last batch"])
def test_the_first_signal_keeps_the_batch_and_the_rest_has_the_same_bits(
    whole: Whole, work: str, number: signal.Signals, last: bool
) -> None:
    options, handler = RunOptions(work=work), signal.getsignal(number)
    with (
        _sent(number, before=whole.frames - 1 if last else 0) as handlers,
        pytest.raises(KeyboardInterrupt, match="resumes there"),
    ):
        run(STAGE, CONFIG, options)
    assert handlers == [handler], "a second signal acts as usual"
    assert signal.getsignal(number) is handler
    done, total = _steps(work), _steps(whole.work)
    assert done is not None
    assert total is not None
    assert done == total if last else 0 < done < total
    assert status(STAGE, CONFIG, options) == "unfinished"
    run(STAGE, CONFIG, options)
    assert all(same(a, b) for a, b in zip(_states(work), _states(whole.work), strict=True))


def test_a_second_ctrl_c_stops_at_once(work: str) -> None:
    with _sent(signal.SIGINT, before=2, times=2), pytest.raises(KeyboardInterrupt) as stopped:
        run(STAGE, CONFIG, RunOptions(work=work))
    assert not str(stopped.value)
    assert _steps(work) is None


def _recipe(path: Path, **changes: Any) -> Path:
    """A recipe that trains, and then makes edges."""
    settings = as_plain(CONFIG.model_copy(update=changes))
    given = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items() if value is not None]
    path.write_text(f"[train]\n{''.join(given)}\n[make-edges]\n")
    return path


def test_the_command_says_in_one_sentence_where_it_resumes(work: str, tmp_path: Path) -> None:
    """And a recipe does not go on with its next table."""
    with _sent(signal.SIGINT, before=0):
        result = CliRunner().invoke(cli, ["run", str(_recipe(tmp_path / "r.toml")), "--work", work])
    assert result.exit_code == 130
    (told,) = (line for line in result.output.splitlines() if "stopped" in line.lower())
    assert re.fullmatch(
        r"spatial-1: stopped after \d+ steps?, in epoch 1 of 2; rerunning the command resumes there\.", told
    )
    assert not Path(work, "edges").exists()


# Sends SIGTERM to its whole group of processes, as schedulers do, while it trains.
_TERMINATED = """
import os, signal
from tests.hooks import before_forward
from v2vkit.cli.main import main
from v2vkit.models.generator import VideoGenerator
if __name__ == "__main__":
    sent = []
    def send():
        if not sent:
            sent.append(os.killpg(0, signal.SIGTERM))
    with before_forward(VideoGenerator, send):
        main()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_sigterm_to_all_processes_keeps_the_batch_too(work: str, whole: Whole, tmp_path: Path) -> None:
    """The processes that load batches ignore it."""
    script, recipe = tmp_path / "v2v.py", _recipe(tmp_path / "r.toml", loader_workers=2)
    script.write_text(_TERMINATED)
    done = subprocess.run(
        [sys.executable, str(script), "run", str(recipe), "--work", work],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert done.returncode == 130, done.stderr
    assert "rerunning the command resumes there" in done.stderr
    assert "Traceback" not in done.stderr
    run(STAGE, CONFIG, RunOptions(work=work))
    assert all(same(a, b) for a, b in zip(_states(work), _states(whole.work), strict=True))
