"""Styles of chosen components, kept classes, a reference, and styles from a file."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.errors import raises
from tests.unit.fake_stage import SOURCE
from tests.unit.fake_stage import SourceConfig as FramesConfig
from tests.unit.test_encode_features import save_feature_model
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest, write_manifest
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.cli.main import cli
from v2vkit.inference.styles import STYLES, Style, Styles, find_style, load_styles
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.encode_features import STAGE as ENCODE
from v2vkit.stages.encode_features import EncodeConfig
from v2vkit.stages.sample_style import STAGE, StyleConfig

CLASSES: dict[str, Any] = {"name": "small", "classes": [{"id": 1, "name": "road"}, {"id": 2, "name": "car"}]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelInfo]:
    """A workspace with features, whose labels have a class table."""
    work = tmp_path_factory.mktemp("choices") / "work"
    options = RunOptions(work=str(work), workers=1)
    run(SOURCE, FramesConfig(num_clips=2, clip_frames=4), options)
    labels = read_manifest(Folder(f"{work}/labels"))
    assert labels is not None
    write_manifest(Folder(f"{work}/labels"), labels.model_copy(update={"config": labels.config | {"classes": CLASSES}}))
    info = save_feature_model(options.work)
    run(ENCODE, EncodeConfig(), options)
    return work, info


@pytest.fixture
def options(made: tuple[Path, ModelInfo], tmp_path: Path) -> RunOptions:
    shutil.copytree(made[0], tmp_path / "work")
    return RunOptions(work=str(tmp_path / "work"), workers=1)


def _styles(options: RunOptions) -> Styles:
    return load_styles(Folder(options.work) / "styles")


def test_classes_are_chosen_and_kept_by_name(options: RunOptions) -> None:
    run(STAGE, StyleConfig(class_=("road=0",), keep=("car", 1)), options)
    styles = _styles(options)
    assert styles.components == {1: 0}
    assert styles.keep == (1, 2)
    assert status(STAGE, StyleConfig(class_=("1=0",), keep=(2, 1)), options) == "done", "ids are the same"


def test_the_flags_are_words_of_python(options: RunOptions) -> None:
    flags = ["--class", "road=0", "--keep", "car", "--num-styles", "2", "--seed", "3", "--from", options.work]
    result = CliRunner().invoke(cli, ["sample-style", "--work", options.work, *flags])
    assert result.exit_code == 0, result.output
    assert _styles(options).components == {1: 0}


@pytest.mark.parametrize(
    ("code", "named", "settings"),
    [
        ("setting-invalid", "--class road", {"class_": ("road",)}),
        ("setting-invalid", "--class road=x", {"class_": ("road=x",)}),
        ("class-unknown", "lorry", {"class_": ("lorry=0",)}),
        ("class-unknown", "lorry", {"keep": ("lorry",)}),
        ("class-unknown", "99", {"class_": ("99=0",)}),
        ("component-unknown", "31", {"class_": ("road=31",)}),
        ("label-duplicate", "1", {"class_": ("road=0", "1=1")}),
        ("label-id-out-of-range", "300", {"keep": (300,)}),
    ],
)
def test_choices_that_cannot_be_made(options: RunOptions, code: str, named: str, settings: dict[str, Any]) -> None:
    with raises(code, named):
        run(STAGE, StyleConfig(**settings), options)
    assert not Path(options.work, "styles", STYLES).exists()


def test_a_reference_gives_its_classes_their_look(options: RunOptions, tmp_path: Path) -> None:
    run(STAGE, StyleConfig(), options)
    own = _styles(options)
    other = RunOptions(work=str(tmp_path / "other"), workers=1)
    run(SOURCE, FramesConfig(num_clips=1, clip_frames=2, seed=5), other)
    config = StyleConfig(from_=other.work)
    run(STAGE, config, RunOptions(work=options.work, overwrite=True))
    styles = _styles(options)
    assert set(styles.classes) == {0, 1, 2, 3}
    assert styles.classes[0] != own.classes[0]
    assert styles.classes[1] != own.classes[1]
    for label in (2, 3):  # which the two frames of the reference do not show
        assert styles.classes[label] == own.classes[label]
    assert status(STAGE, config, options) == "done"
    shutil.rmtree(other.work)
    run(SOURCE, FramesConfig(num_clips=1, clip_frames=2, seed=6), other)
    assert "--from" in status(STAGE, config, options), "another reference of that name"


def test_one_reference_region_gives_nearly_one_vector(options: RunOptions, tmp_path: Path) -> None:
    other = RunOptions(work=str(tmp_path / "other"), workers=1)
    run(SOURCE, FramesConfig(num_clips=1, clip_frames=1, seed=5), other)
    run(STAGE, StyleConfig(from_=other.work), options)
    styles = _styles(options)
    mean = styles.classes[0].means[0]
    drawn = [Style(styles, seed).vector(seed) for seed in range(20)]
    np.testing.assert_allclose(drawn, np.broadcast_to(mean, (20, 3)), atol=0.06)


def test_references_that_cannot_be_used(options: RunOptions, tmp_path: Path) -> None:
    with raises("file-unreadable", "nowhere.mp4"):
        run(STAGE, StyleConfig(from_=f"{tmp_path}/nowhere.mp4"), options)
    Path(options.work, "checkpoints/spatial-1/model.safetensors").unlink()
    with raises("model-missing", "checkpoints/spatial-1"):
        run(STAGE, StyleConfig(from_=options.work), options)


def test_a_style_from_a_file(options: RunOptions, made: tuple[Path, ModelInfo], tmp_path: Path) -> None:
    run(STAGE, StyleConfig(num_styles=2), options)
    info, work = made[1], Folder(options.work)
    path = tmp_path / "night.json"
    shutil.copy(Path(options.work, "styles", STYLES), path)
    of_file, of_folder = (find_style(work, None, str(of), info) for of in (path, Path(options.work, "styles")))
    assert of_file == of_folder == find_style(work, None, "0", info)
    assert find_style(work, None, "1", info) != of_file
    with raises("setting-conflict", "--styles"):
        find_style(work, "styles", str(path), info)
    with raises("styles-missing", "nowhere.json"):
        find_style(work, None, f"{tmp_path}/nowhere.json", info)
    path.write_text("{}")
    with raises("styles-damaged", "night.json"):
        find_style(work, None, str(path), info)
    with raises("encoder-missing", "--style"):
        find_style(work, None, str(path), info.model_copy(update={"encoder": None}))
