"""The stage from features to styles, and its picture."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.fake_stage import SOURCE
from tests.unit.fake_stage import SourceConfig as FramesConfig
from tests.unit.test_encode_features import save_feature_model
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image
from v2vkit.artifacts.manifest import Manifest, read_manifest, write_manifest
from v2vkit.inference.styles import find_style, load_styles
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.encode_features import STAGE as ENCODE
from v2vkit.stages.encode_features import EncodeConfig
from v2vkit.stages.sample_style import STAGE, StyleConfig


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    """A workspace with features of an untrained model."""
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    run(SOURCE, FramesConfig(num_clips=2, clip_frames=4), options)
    save_feature_model(options.work)
    run(ENCODE, EncodeConfig(), options)
    return options


def test_styles_and_their_picture_are_written(options: RunOptions, capsys: pytest.CaptureFixture[str]) -> None:
    run(STAGE, StyleConfig(num_styles=3), options)
    styles = load_styles(Folder(options.work) / "styles")
    assert len(styles.seeds) == 3
    assert set(styles.classes) == {0, 1, 2, 3}
    assert "3 styles of 4 classes" in capsys.readouterr().out
    sheet = decode_image((Path(options.work) / "styles/preview.png").read_bytes())
    top, gap = 22, 4  # title and gap of a contact sheet
    pictures = [sheet[top : top + 24, x : x + 32] for x in range(gap + 36, gap + 4 * 36, 36)]
    assert len(pictures) == 3
    assert not np.array_equal(pictures[0], pictures[1])


def test_a_second_run_does_nothing_and_other_features_make_it_stale(options: RunOptions) -> None:
    run(STAGE, StyleConfig(), options)
    before = (Path(options.work) / "styles/styles.json").read_bytes()
    assert status(STAGE, StyleConfig(), options) == "done"
    assert status(STAGE, StyleConfig(seed=1), options) == "stale: changed seed (was 0, now 1)"
    run(STAGE, StyleConfig(seed=1), RunOptions(work=options.work, overwrite=True))
    assert (Path(options.work) / "styles/styles.json").read_bytes() != before
    run(STAGE, StyleConfig(), RunOptions(work=options.work, overwrite=True))
    assert (Path(options.work) / "styles/styles.json").read_bytes() == before
    save_feature_model(options.work, seed=1)
    run(ENCODE, EncodeConfig(), RunOptions(work=options.work, workers=1, overwrite=True))
    with raises("artifact-stale", "input features"):
        run(STAGE, StyleConfig(), options)


def test_features_of_other_frames_are_told(options: RunOptions, capsys: pytest.CaptureFixture[str]) -> None:
    run(STAGE, StyleConfig(), options)
    assert CHECK.call(CheckConfig(), options) == []
    run(SOURCE, FramesConfig(num_clips=1, clip_frames=4), RunOptions(work=options.work, workers=1, overwrite=True))
    problems = CHECK.call(CheckConfig(), options)
    advice = "run `v2v encode-features --overwrite` with its settings."
    assert f"features was made from another version of frames; {advice}" in problems
    with raises("artifact-stale", "features", "v2v encode-features --overwrite"):
        run(STAGE, StyleConfig(seed=1), RunOptions(work=options.work, overwrite=True))


def test_damaged_styles_and_features_are_told(options: RunOptions) -> None:
    run(STAGE, StyleConfig(), options)
    work = Path(options.work)
    path, shard = work / "styles/styles.json", next((work / "features").glob("*.tar"))
    whole = path.read_text()
    path.write_text(whole.replace('"seeds"', '"seeds" ', 1)[:-1])  # as long as it was, and as good for the reader
    assert path.stat().st_size == len(whole)
    with raises("artifact-damaged", "styles.json", "`v2v sample-style`"):
        load_styles(Folder(options.work) / "styles")
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    features, styles = CHECK.call(CheckConfig(), options)
    assert f"features/{shard.name} is corrupt" in features
    assert "styles.json is damaged" in styles
    path.unlink()
    shard.unlink()
    run(ENCODE, EncodeConfig(), options)
    run(STAGE, StyleConfig(), options)
    assert CHECK.call(CheckConfig(), options) == []
    assert path.read_text() == whole


def test_without_features_the_command_to_give_is_named(tmp_path: Path) -> None:
    with raises("artifact-missing", "features", "v2v encode-features"):
        run(STAGE, StyleConfig(), RunOptions(work=str(tmp_path)))


def test_no_picture_where_the_model_is_another_one(options: RunOptions, capsys: pytest.CaptureFixture[str]) -> None:
    save_feature_model(options.work, seed=1)
    run(STAGE, StyleConfig(), options)
    where = f"{options.work}/checkpoints/spatial-1"
    assert f"No preview.png: the model {where} has changed." in capsys.readouterr().out
    assert not (Path(options.work) / "styles/preview.png").exists()
    assert status(STAGE, StyleConfig(), options) == "done"


def test_no_picture_where_the_model_is_gone(options: RunOptions, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(options.work) / "checkpoints/spatial-1/model.safetensors").unlink()
    run(STAGE, StyleConfig(), options)
    assert "No preview.png: the model checkpoints/spatial-1 is missing." in capsys.readouterr().out
    assert not (Path(options.work) / "styles/preview.png").exists()


def _encoded(checkpoint: str) -> Manifest:
    """Features made anew in the workspace `work` of the current directory."""
    shutil.rmtree("work/features")
    run(ENCODE, EncodeConfig(checkpoint=checkpoint), RunOptions(work="work", workers=1))
    manifest = read_manifest(Folder("work/features"))
    assert manifest is not None
    return manifest


@pytest.mark.parametrize("name", ["checkpoints/spatial-1", "work/checkpoints/spatial-1"])
def test_the_model_is_found_from_another_directory(
    options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Also for features made before names were relative to the workspace."""
    monkeypatch.chdir(tmp_path)
    manifest = _encoded("spatial-1")
    assert manifest.config["checkpoint"] == "checkpoints/spatial-1"
    changed = manifest.model_copy(update={"config": manifest.config | {"checkpoint": name}})
    write_manifest(Folder("work/features"), changed)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "work").rename(tmp_path / "moved")
    assert status(ENCODE, EncodeConfig(), RunOptions(work="../moved")) == "done"
    run(STAGE, StyleConfig(), RunOptions(work="../moved"))
    assert (tmp_path / "moved/styles/preview.png").exists()


def test_a_model_outside_the_workspace_keeps_its_name(
    options: RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("work/checkpoints/spatial-1").rename("other")
    assert _encoded("../../other").config["checkpoint"] == "work/checkpoints/../../other"
    run(STAGE, StyleConfig(), RunOptions(work="work"))
    assert Path("work/styles/preview.png").exists()


def test_styles_belong_to_their_model(options: RunOptions) -> None:
    run(STAGE, StyleConfig(num_styles=2), options)
    work, info = Folder(options.work), save_feature_model(options.work)
    style = find_style(work, None, 1, info)
    assert style is not None
    assert style.seed == load_styles(work / "styles").seeds[1]
    assert find_style(work, f"{options.work}/styles", 1, info) == style
    with raises("style-unknown", "style 2", "0 to 1"):
        find_style(work, None, 2, info)
    with raises("styles-mismatch", "v2v encode-features --overwrite"):
        find_style(work, None, 0, info.model_copy(update={"steps": 9}))
    plain = info.model_copy(update={"encoder": None})
    assert find_style(work, None, 0, plain) is None
    with raises("encoder-missing", "--style"):
        find_style(work, None, 1, plain)
