"""`evaluate` keeps a report on the same model and footage with the same settings, also in a recipe."""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.hooks import before_forward
from tests.unit.rendering import save_untrained
from tests.unit.training_data import make_workspace
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest, write_manifest
from v2vkit.checkpoint.model_file import load_model, save_model
from v2vkit.cli.main import cli
from v2vkit.models.generator import VideoGenerator
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.evaluate import COMMAND, EvaluateConfig

REPORT = ("evaluation.json", "evaluation.png", "contact.png")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A workspace with an untrained model, and held-out footage with a clip that is too short."""
    make_workspace(tmp_path / "data", num_clips=2, clip_frames=4)
    save_untrained(tmp_path, "street", size=(32, 24))
    for kind in ("frames", "labels", "flow"):
        folder = Folder(f"{tmp_path}/data/{kind}")
        manifest = read_manifest(folder)
        assert manifest is not None
        long, short = manifest.clips
        write_manifest(
            folder, manifest.model_copy(update={"units": ((long,), (short.model_copy(update={"num_frames": 1}),))})
        )
    return tmp_path


def _config(work: Path, **settings: Any) -> EvaluateConfig:
    return EvaluateConfig(**{"data": f"{work}/data", "device": "cpu", "threads": 1, **settings})


def _frames(work: Path, *, overwrite: bool = False, **settings: Any) -> int:
    """How many frames an evaluation generates; it tells of the short clip whether it measures or not."""
    count = itertools.count()
    with before_forward(VideoGenerator, partial(next, count)):
        problems = COMMAND.call(_config(work, **settings), RunOptions(work=str(work), overwrite=overwrite))
    assert problems == ["clip-0001: left out, it has 1 frame"]
    return next(count)


def _status(work: Path, *pending: str, **settings: Any) -> str:
    """Its state; `pending` are the artifacts of either workspace that will be remade first."""
    assert COMMAND.status is not None
    remade = {(f"{work}/{name}", kind) for name, _, kind in (text.rpartition(":") for text in pending)}
    return COMMAND.status(_config(work, **settings), RunOptions(work=str(work)), remade)


def _files(work: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (work / "evaluation/spatial-1").iterdir()}


def test_the_same_again_generates_nothing_and_leaves_the_report(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(work) == "missing"
    assert _frames(work) == 4
    assert _status(work) == "done"
    before = _files(work)
    assert set(before) == {*REPORT, "evaluation.manifest.json"}
    capsys.readouterr()
    assert _frames(work, threads=2) == 0
    assert "up to date, nothing to do" in capsys.readouterr().out
    assert _files(work) == before
    assert _frames(work, overwrite=True) == 4
    assert _status(work) == "done"


def _retrain(work: Path) -> None:
    folder = Folder(f"{work}/checkpoints/spatial-1")
    generator, info = load_model(folder)
    for parameter in generator.parameters():
        parameter.data *= 1.5
    save_model(folder, generator.state_dict(), info)


def _remake_flow(work: Path) -> None:
    folder = Folder(f"{work}/data/flow")
    manifest = read_manifest(folder)
    assert manifest is not None
    write_manifest(folder, manifest.model_copy(update={"fingerprint": "other"}))


@pytest.mark.parametrize(
    ("change", "name"), [(_retrain, "the content of input model"), (_remake_flow, "the content of input flow")]
)
def test_a_changed_input_is_measured_anew(work: Path, change: Callable[[Path], None], name: str) -> None:
    _frames(work)
    change(work)
    assert _status(work) == f"stale: changed {name}"
    assert _frames(work) == 4
    assert _status(work) == "done"


def test_a_changed_setting_is_measured_anew(work: Path) -> None:
    _frames(work)
    assert _status(work, columns=3) == "stale: changed columns (was 8, now 3)"
    assert _status(work, metrics=("psnr",)).startswith("stale: changed metrics (was [], now ['psnr'])")
    assert _frames(work, metrics=("psnr",)) == 4
    assert _frames(work, metrics=("psnr",)) == 0


def test_weights_that_came_later_are_used(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("v2vkit.stages.evaluate_plan.find", lambda name: None)
    _frames(work)
    monkeypatch.undo()
    assert "input weights of metrics" in _status(work)


@pytest.mark.parametrize("name", REPORT)
def test_a_lost_or_changed_file_is_measured_anew(work: Path, name: str) -> None:
    _frames(work)
    path = work / "evaluation/spatial-1" / name
    path.unlink()
    assert _status(work) == "missing"
    assert _frames(work) == 4
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert _frames(work) == 4
    assert _frames(work) == 0


def test_a_damaged_record_is_replaced(work: Path) -> None:
    _frames(work)
    (work / "evaluation/spatial-1/evaluation.manifest.json").write_text("{")
    assert _frames(work) == 4
    assert _frames(work) == 0


def test_a_dry_run_sees_what_will_be_remade_first(work: Path) -> None:
    _frames(work)
    assert _status(work, "data:flow", ":styles") == "stale: flow, styles will be remade first"
    assert _status(work, ":checkpoints/spatial-1") == "stale: checkpoints/spatial-1 will be remade first"
    assert _status(work, ":checkpoints/spatial-2", ":frames", "data:checkpoints/spatial-1", "data:styles") == "done"


def test_a_recipe_skips_it(work: Path) -> None:
    recipe = work / "r.toml"
    recipe.write_text(f'[evaluate]\ndata = "{work}/data"\ndevice = "cpu"\nthreads = 1\n')
    for extra, generated, told in (
        ((), 4, "evaluation.json"),
        ((), 0, "up to date"),
        (("--dry-run",), 0, "evaluate: done"),
        (("--overwrite",), 4, "evaluation.json"),
    ):
        count = itertools.count()
        with before_forward(VideoGenerator, partial(next, count)):
            result = CliRunner().invoke(cli, ["run", str(recipe), "--work", str(work), *extra])
        assert result.exit_code == (0 if "--dry-run" in extra else 3), result.output
        assert told in result.output
        assert next(count) == generated
