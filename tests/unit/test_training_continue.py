"""`train --continue`: a training goes on under other settings, from its very place, and survives kills."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.errors import raises
from tests.file_reads import count_file_reads
from tests.unit.training_data import SMALL, make_workspace, same
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.checkpoint.model_file import load_model
from v2vkit.checkpoint.snapshot import read_progress
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig

SHORT = SMALL.model_copy(update={"epochs": 1, "decay": 0.0, "temporal_scales": 1, "save_every": 0.0})
OTHER = {"epochs": 3, "decay": 0.33, "learning_rate": 1e-3, "lambda_feature": 2.0, "max_frames": 3}


SAVING = "v2vkit.checkpoint.model_file.save_model"


def changed(**changes: Any) -> TrainConfig:
    return SHORT.model_copy(update=changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A workspace with a training of one epoch."""
    options = make_workspace(tmp_path_factory.mktemp("continue") / "work", num_clips=1, clip_frames=8)
    run(STAGE, SHORT, options)
    return options.work


@pytest.fixture
def work(trained: str, tmp_path: Path) -> str:
    return shutil.copytree(trained, str(tmp_path / "work"))


def states(work: str) -> list[dict[str, Any]]:
    """The model and everything that training keeps."""
    folder = Path(work, "checkpoints/spatial-1")
    (state,) = folder.glob("state-*.safetensors")
    return [load_file(folder / "model.safetensors"), load_file(state)]


def run_killed(
    config: TrainConfig, options: RunOptions, monkeypatch: pytest.MonkeyPatch, *, after: int, at: str = SAVING
) -> None:
    calls: list[object] = []
    with monkeypatch.context() as patch:

        def killed(*args: object, **kwargs: object) -> None:
            calls.append(args)
            if len(calls) == after:
                raise KeyboardInterrupt

        patch.setattr(at, killed)
        with pytest.raises(KeyboardInterrupt):
            run(STAGE, config, options)


def test_more_epochs_are_those_of_a_training_that_had_them_from_the_beginning(work: str, tmp_path: Path) -> None:
    """Weights, moments, average and the place in the schedule are all kept."""
    fresh = make_workspace(tmp_path / "fresh", num_clips=1, clip_frames=8)
    run(STAGE, changed(epochs=3), fresh)
    run(STAGE, changed(epochs=3), RunOptions(work=work, continue_=True))
    assert all(same(a, b) for a, b in zip(states(work), states(fresh.work), strict=True))
    for config, state in ((changed(epochs=3), "done"), (SHORT, "stale: changed epochs (was 3, now 1)")):
        assert status(STAGE, config, RunOptions(work=work)) == state
    manifest = read_manifest(Folder(f"{work}/checkpoints/spatial-1"))
    assert manifest is not None
    assert manifest.config["epochs"] == 3


@pytest.mark.parametrize(("after", "at"), [(1, "v2vkit.training.trainer.load_state"), (2, SAVING)])
def test_a_killed_continued_training_goes_on_to_the_same_bits(
    work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, at: str
) -> None:
    """Before its first snapshot, and after."""
    whole, killed = (
        RunOptions(work=shutil.copytree(work, str(tmp_path / name)), continue_=True) for name in ("whole", "killed")
    )
    config = changed(**OTHER)
    run(STAGE, config, whole)
    run_killed(config, killed, monkeypatch, after=after, at=at)
    assert status(STAGE, config, killed) == "unfinished"
    run(STAGE, config, killed)
    assert all(same(a, b) for a, b in zip(states(killed.work), states(whole.work), strict=True))
    found = [load_model(Folder(f"{options.work}/checkpoints/spatial-1"))[1] for options in (whole, killed)]
    assert found[0] == found[1]
    assert found[0].epochs == 3


def test_an_unfinished_training_goes_on_with_a_lower_learning_rate(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options, longer = RunOptions(work=work, continue_=True), changed(epochs=3)
    run_killed(longer, options, monkeypatch, after=1)
    before = load_file(next(Path(work, "checkpoints/spatial-1").glob("state-*.safetensors")))
    with raises("artifact-stale", "learning_rate (was 0.0002, now 1e-05)", "--continue"):
        run(STAGE, longer.model_copy(update={"learning_rate": 1e-5}), RunOptions(work=work))
    # Nothing that is updated moves: what changes then comes from somewhere else than the snapshot.
    run(STAGE, longer.model_copy(update={"learning_rate": 1e-12}), options)
    after = states(work)[1]
    for name in (name for name in before if name.startswith("network/")):
        assert float((before[name].double() - after[name].double()).abs().max()) < 1e-6, name


def test_a_schedule_with_longer_sequences_has_fewer_batches(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot may stand behind the last batch of the epoch as it is now."""
    options = RunOptions(work=work, continue_=True)
    run_killed(changed(epochs=2, max_frames=1), options, monkeypatch, after=5)
    run(STAGE, changed(epochs=3, max_frames=8), options)
    assert load_model(Folder(f"{work}/checkpoints/spatial-1"))[1].epochs == 3


@pytest.mark.parametrize(
    ("changes", "code", "names"),
    [
        ({"epochs": 2, "seed": 4}, "setting-fixed", ["seed (was 0, now 4)", "--epochs"]),
        ({"epochs": 2, "lambda_temporal": 0.0}, "setting-fixed", ["lambda_temporal (was 1.0, now 0.0)"]),
        ({"learning_rate": 1e-3}, "training-finished", ["1", "--epochs"]),
    ],
)
def test_changes_that_continue_does_not_allow_are_refused_and_the_snapshot_stays(
    work: str, changes: dict[str, Any], code: str, names: list[str]
) -> None:
    config = changed(**changes)
    with raises(code, *names):
        run(STAGE, config, RunOptions(work=work, continue_=True))
    assert status(STAGE, SHORT, RunOptions(work=work)) == "done"
    if "learning_rate" not in changes:
        with raises("artifact-stale", "COPY --overwrite"):
            run(STAGE, config, RunOptions(work=work))


def test_continuing_without_a_snapshot_is_refused(work: str) -> None:
    Path(work, "checkpoints/spatial-1/state.json").unlink()
    with raises("snapshot-missing", "--overwrite"):
        run(STAGE, changed(epochs=2), RunOptions(work=work, continue_=True))


def test_a_damaged_snapshot_is_refused_before_anything_is_replaced(work: str) -> None:
    folder = Path(work, "checkpoints/spatial-1")
    (state,) = folder.glob("state-*.safetensors")
    content = bytearray(state.read_bytes())
    content[-5] ^= 0xFF
    state.write_bytes(content)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with raises("snapshot-damaged", "--overwrite"):
        run(STAGE, changed(epochs=3), RunOptions(work=work, continue_=True))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_position_is_read_without_the_tensors(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, reads = Path(work, "checkpoints/spatial-1"), count_file_reads(monkeypatch)
    progress = read_progress(Folder(str(folder)))
    assert progress is not None
    assert (progress.epoch, progress.file) == (1, next(folder.glob("state-*.safetensors")).name)
    assert list(reads) == [str(folder / "state.json")]


def test_a_dry_run_plans_what_would_be_continued(work: str) -> None:
    plan = run(STAGE, changed(epochs=2), RunOptions(work=work, continue_=True, dry_run=True)).message
    assert "this training's snapshot after 1 epoch," in plan
    assert "nothing was done" in plan
    assert status(STAGE, SHORT, RunOptions(work=work)) == "done"


def test_continue_contradicts_overwrite_and_means_one_model(work: str) -> None:
    with raises("setting-conflict", "--continue", "--overwrite"):
        run(STAGE, changed(epochs=2), RunOptions(work=work, continue_=True, overwrite=True))
    with raises("continue-unsupported", "checkpoints/spatial-2"):
        run(STAGE, changed(stage="all", num_scales=2), RunOptions(work=work, continue_=True))
