"""A model in a program: how it is opened, how a video begins, what a setting is good for."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

import v2vkit
from tests.errors import raises
from tests.people import body
from tests.unit.fake_stage import SOURCE
from tests.unit.fake_stage import SourceConfig as FramesConfig
from tests.unit.ingesting import label_maps, write_images
from tests.unit.library_models import LABELS, assert_same, rendered_frames
from tests.unit.rendering import render, save_untrained
from tests.unit.test_encode_features import save_feature_model
from tests.unit.video_files import read_raw
from v2vkit import Model, People, Person
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import save_model
from v2vkit.config import Size
from v2vkit.inference.given import as_numpy
from v2vkit.models.image_generator import FrameGenerator
from v2vkit.models.presets import image_generator_config
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions


def test_styles_are_those_of_render(tmp_path: Path) -> None:
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    run(SOURCE, FramesConfig(num_clips=2, clip_frames=4), options)
    save_feature_model(options.work)
    assert v2vkit.encode_features(options.work, workers=1).problems == ()
    v2vkit.sample_style(options.work, num_styles=2)
    labels = [of[::2, ::2] for of in label_maps(3)]
    source = write_images(tmp_path / "labels", labels)
    model = v2vkit.load(options.work, device="cpu")
    first, second = (rendered_frames(source, model, tmp_path / f"out{style}", style=style) for style in (0, 1))
    assert_same(model.generate(labels), first)
    assert_same(model.generate(labels, style=1), second)
    assert_same(model.render(source, style=1), second)
    assert not np.array_equal(first, second)
    alone = tmp_path / "alone"
    shutil.copytree(f"{options.work}/checkpoints/spatial-1", alone)
    assert_same(v2vkit.load(alone, device="cpu", styles=f"{options.work}/styles").generate(labels, style=1), second)
    with raises("style-unknown", "style 2"):
        model.generate(labels, style=2)
    with raises("styles-missing", "v2v sample-style"):
        v2vkit.load(alone, device="cpu").generate(labels)


def test_a_model_that_begins_from_another_ones_frames(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "street", maps={"num_labels": 5}, maps_stage="ingest", first_frame="image")
    model = v2vkit.load(tmp_path, device="cpu")
    source = write_images(tmp_path / "labels", LABELS)
    with raises("model-missing", "--first-frame-model"):
        model.generate(LABELS)
    config = image_generator_config("tiny", source_channels=6, width=8, num_down=2, num_blocks=1)
    images = info.model_copy(update={"network": config, "stage": "pix2pixhd"})
    save_model(Folder(f"{tmp_path}/checkpoints/pix2pixhd"), FrameGenerator(config).state_dict(), images)
    wanted = rendered_frames(source, model, tmp_path / "out")
    assert_same(model.generate(LABELS), wanted)
    named = v2vkit.load(tmp_path, device="cpu", first_frame_model=tmp_path / "checkpoints/pix2pixhd")
    assert_same(named.render(source), wanted)
    given = np.stack([data.astronaut()[:48, :64], data.astronaut()[1:49, :64]])
    begun = list(model.generate(LABELS, first_frames=torch.from_numpy(given)))
    np.testing.assert_array_equal(begun[:2], given)
    render(source, tmp_path / "small.mkv", tmp_path, size=Size(32, 24))
    assert {image.shape for image in read_raw(tmp_path / "small.mkv")[0]} == {(24, 32, 3)}, "both are convolutional"


@pytest.mark.parametrize(
    ("first", "code", "names"),
    [
        (np.zeros((1, 48, 64, 3), np.uint8), "frame-count-mismatch", ["1", "2"]),
        (np.zeros((2, 40, 64, 3), np.uint8), "size-mismatch", ["64x40", "64x48"]),
        (np.zeros((2, 48, 64, 3)), "array-mismatch", ["float64"]),
        (7, "annotation-mismatch", ["first_frames", "int"]),
        ("nowhere", "file-missing", ["nowhere"]),
    ],
    ids=str,
)
def test_arrays_that_are_no_first_frames_are_a_user_error(
    street: Model, first: Any, code: str, names: list[str]
) -> None:
    with raises(code, *names):
        street.generate(LABELS, first_frames=first)


def test_a_model_is_opened_by_workspace_folder_or_file(street: Model, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(street.work.url, work)
    shutil.copytree(work / "checkpoints/spatial-1", work / "checkpoints/spatial-2")
    shutil.copy(work / "checkpoints/spatial-1/model.safetensors", tmp_path / "anna.safetensors")
    wanted = list(street.generate(LABELS))
    for path, home in (
        (work, work),
        (f"{work}/", work),
        (work / "checkpoints/spatial-1", work),
        (work / "checkpoints/spatial-1/model.safetensors", work),
        (tmp_path / "anna.safetensors", tmp_path),
    ):
        model = v2vkit.load(path, device="cpu")
        assert model.work.url == str(home)
        assert_same(model.generate(LABELS), wanted)


def test_a_file_in_the_folder_where_one_works(street: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(f"{street.work.url}/checkpoints/spatial-1/model.safetensors", tmp_path / "anna.safetensors")
    shutil.copytree(f"{street.work.url}/checkpoints", tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    for path in ("anna.safetensors", "checkpoints/spatial-1", "."):
        assert next(v2vkit.load(path, device="cpu").generate(LABELS)).shape == (48, 64, 3)


def test_a_path_that_is_no_model_is_a_user_error(tmp_path: Path, street: Model) -> None:
    (tmp_path / "empty/checkpoints").mkdir(parents=True)
    (tmp_path / "damaged.safetensors").write_bytes(b"x" * 64)
    (tmp_path / "in.mp4").write_bytes(b"")
    for path, code, names in (
        ("nowhere", "model-missing", ["nowhere", "checkpoints/spatial-1"]),
        ("empty", "model-missing", ["v2v train"]),
        ("empty/checkpoints", "model-missing", ["empty/checkpoints"]),
        ("damaged.safetensors", "model-damaged", ["damaged.safetensors"]),
        ("in.mp4", "model-missing", ["in.mp4", ".safetensors"]),
    ):
        with raises(code, *names):
            v2vkit.load(tmp_path / path)
    with raises("device-unknown", "'gpu'"):
        v2vkit.load(street.work.url, device="gpu")
    with raises("precision-unknown", "'int8'", "fp32"):
        v2vkit.load(street.work.url, precision="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "code", "names"),
    [
        ({"align": True}, "setting-unused", ["--align", "labels"]),
        ({"start": 1.0}, "setting-unused", ["--start", "--duration"]),
        ({"fps": "fast"}, "setting-invalid", ["fps", "'fast'"]),
    ],
)
def test_settings_without_a_meaning_are_refused_at_once(
    street: Model, tmp_path: Path, settings: dict[str, Any], code: str, names: list[str]
) -> None:
    source = write_images(tmp_path / "labels", LABELS)
    with raises(code, *names):
        street.render(source, **settings)
    run(SOURCE, FramesConfig(num_clips=1), RunOptions(work=str(tmp_path / "work"), workers=1))
    with raises("source-is-workspace", "work"):
        street.render(tmp_path / "work")


def test_a_model_that_takes_flow_generates_nothing_from_annotations_alone(street: Model) -> None:
    from dataclasses import replace
    from types import SimpleNamespace

    covst: Any = SimpleNamespace(config=SimpleNamespace(takes_flow=True))
    with raises("flow-required", "model.render(workspace, maps=True)"):
        replace(street, generator=covst).generate(LABELS)


def test_tensors_become_arrays_and_other_values_stay() -> None:
    half = as_numpy(torch.ones(3, dtype=torch.bfloat16, requires_grad=True))
    assert half.dtype == np.float32
    untouched = People((Person(body()),), (64, 48))
    assert as_numpy(untouched) is untouched
