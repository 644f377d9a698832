"""Rendering in styles: what is drawn decides the picture, from every kind of source."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conditions import of_domain
from tests.errors import raises
from tests.faces import photo
from tests.unit.fake_stage import SOURCE
from tests.unit.fake_stage import SourceConfig as FramesConfig
from tests.unit.test_encode_features import save_feature_model
from tests.unit.training_data import SMALL, train_into
from tests.unit.video_files import read_raw, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.checkpoint.model_file import load_encoder, load_model, model_weights, save_model
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import to_unit
from v2vkit.conditions.labels import LabelMap
from v2vkit.conditions.region_features import RegionFeatures
from v2vkit.conditions.regions import region_ids
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.features import describe_frame
from v2vkit.inference.first_frames import find_first_frame_model
from v2vkit.inference.mixtures import fit_styles
from v2vkit.inference.rollout import Rollout
from v2vkit.inference.styles import STYLES, Style, find_style
from v2vkit.models.encoder import FeatureEncoder
from v2vkit.models.image_generator import FrameGenerator
from v2vkit.models.presets import image_generator_config
from v2vkit.pipeline.mapping import Clip, Opened
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import PerClip, RunOptions, Sample
from v2vkit.stages.encode_features import STAGE as ENCODE
from v2vkit.stages.encode_features import EncodeConfig
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.render import COMMAND, RenderConfig
from v2vkit.stages.sample_style import STAGE as SAMPLE
from v2vkit.stages.sample_style import StyleConfig
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.dataset import VideoDataset


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A workspace with an untrained model that takes features, and two styles."""
    options = RunOptions(work=str(tmp_path_factory.mktemp("styles") / "work"), workers=1)
    run(SOURCE, FramesConfig(num_clips=2, clip_frames=4), options)
    save_feature_model(options.work)
    run(ENCODE, EncodeConfig(), options)
    run(SAMPLE, StyleConfig(num_styles=2), options)
    return options.work


def _render(work: str, source: Path | str, target: Path, **settings: object) -> list[np.ndarray]:
    config = RenderConfig(source=str(source), target=str(target), device="cpu", threads=1, crf=0, **settings)
    COMMAND.call(config, RunOptions(work=work))
    return read_raw(target)[0]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    folder = tmp_path / "labels"
    folder.mkdir()
    for t in range(3):
        ids = np.zeros((24, 32), np.uint8)
        ids[4:18, 6 + t : 20 + t] = 3
        (folder / f"{t}.png").write_bytes(encode_png(ids))
    return folder


def test_styles_differ_and_are_repeatable(work: str, labels: Path, tmp_path: Path) -> None:
    default, zero, one = (
        _render(work, labels, tmp_path / f"{name}.mp4", **settings)
        for name, settings in (("default", {}), ("zero", {"style": 0}), ("one", {"style": 1}))
    )
    assert len(default) == 3
    np.testing.assert_array_equal(default, zero)
    assert np.abs(np.stack(zero).astype(int) - np.stack(one)).max() > 2


def test_maps_of_a_workspace_and_a_folder_of_styles(work: str, tmp_path: Path) -> None:
    save_feature_model(str(tmp_path / "other"))
    frames = _render(str(tmp_path / "other"), work, tmp_path / "out.mp4", maps=True, styles=f"{work}/styles", style=1)
    assert len(frames) == 8
    np.testing.assert_array_equal(frames, _render(work, work, tmp_path / "own.mp4", maps=True, style=1))


def test_without_styles_the_commands_to_give_are_named(labels: Path, tmp_path: Path) -> None:
    save_feature_model(str(tmp_path))
    with raises("styles-missing", "v2v encode-features", "v2v sample-style"):
        _render(str(tmp_path), labels, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_face_is_driven_by_a_video_in_a_style(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    info = save_feature_model(str(tmp_path), domain="face", width=64, height=48)
    rng = np.random.default_rng(0)
    parts = [
        tuple(RegionFeatures(id=0, label=part, area=0.1, vector=tuple(rng.uniform(-1, 1, 3))) for part in range(7))
        for _ in range(3)
    ]
    styles = fit_styles(parts, model=info.identity, max_components=1, num_styles=2, seed=0)
    Folder(f"{tmp_path}/styles").write(STYLES, styles.model_dump_json().encode())
    source = write_file(tmp_path / "in.mp4", [photo(96, 112, dx=t) for t in range(3)])
    first, second = (_render(str(tmp_path), source, tmp_path / f"{k}.mp4", style=k) for k in (0, 1))
    assert len(first) == len(second) == 3
    assert np.abs(np.stack(first).astype(int) - np.stack(second)).max() > 2


def test_evaluation_is_in_style_0(work: str, tmp_path: Path) -> None:
    EVALUATE.call(EvaluateConfig(data=work, out=str(tmp_path), device="cpu", threads=1), RunOptions(work=work))
    assert json.loads((tmp_path / "evaluation.json").read_text())
    assert (tmp_path / "contact.png").exists()


def test_an_image_model_with_features_opens_no_video_without(work: str) -> None:
    _, info = load_model(Folder(work) / "checkpoints/spatial-1")
    video = info.model_copy(update={"encoder": None, "first_frame": "image"})
    config = image_generator_config("tiny", source_channels=16, width=8, num_down=2, num_blocks=1)
    assert info.encoder is not None
    image = info.model_copy(update={"network": config, "stage": "image"})
    place = Folder(f"{work}/images")
    save_model(place, model_weights(FrameGenerator(config), FeatureEncoder(info.encoder)), image)
    with raises("model-mismatch", place.url):
        find_first_frame_model(Folder(work), place.url, video)


def test_features_stand_between_maps_and_flow(work: str) -> None:
    _, info = load_model(Folder(work) / "checkpoints/spatial-1")
    labels, flow = np.full((24, 32), 3, np.uint8), np.full((3, 24, 32), 9, np.float32)
    s = to_unit(info.conditioning.channels([LabelMap(labels)]))
    frame = ConditionedFrame(s, flow=flow, regions=region_ids(labels))
    style = find_style(Folder(work), None, 0, info)
    assert style is not None
    given = frame.conditioning(style)
    assert given.shape == (13 + 3 + 3, 24, 32)
    np.testing.assert_array_equal(given[13:16, 5, 5], style.vector(3 << 16))
    np.testing.assert_array_equal(given[16:], flow)
    assert frame.conditioning(None).shape == (16, 24, 32)
    assert ConditionedFrame(s).conditioning(None) is s


# Two clips with the same labels: the object is red in one, green in the other. Only features can tell them apart.
RED, GREEN = (200, 30, 30), (30, 200, 30)
OBJECT = np.zeros((24, 32), np.uint8)
OBJECT[4:20, 8:24] = 3


def _two_colours(clip: Clip) -> list[Sample]:
    image = np.full((24, 32, 3), 90, np.uint8)
    image[OBJECT > 0] = RED if clip.info.name.endswith("0") else GREEN
    files = {"png": encode_png(image), "label.png": encode_png(OBJECT)}
    return [Sample(t, files) for t in range(clip.info.num_frames)]


def _open_colours(config: FramesConfig) -> Opened:
    return Opened(_two_colours)


@pytest.mark.slow
def test_a_trained_model_paints_objects_in_the_colours_of_their_vectors(tmp_path: Path) -> None:
    assert isinstance(SOURCE.make, PerClip)
    colours = replace(SOURCE, make=replace(SOURCE.make, open=_open_colours))
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    run(colours, FramesConfig(num_clips=2, clip_frames=1), options)
    work = Folder(options.work)
    reader = ClipReader(work, {kind: m for kind in ("frames", "labels") if (m := read_manifest(work / kind))})
    source = of_domain("street", 4)
    config = TrainConfig(
        method="pix2pixhd",
        domain="street",
        num_labels=4,
        feature_dims=3,
        epochs=200,
        decay=0,
        batch_size=2,
        lambda_l1=100.0,
        learning_rate=1e-3,
        **{name: SMALL.value(name) for name in ("preset", "width", "num_down", "num_blocks", "discriminator_width")},
        device="cpu",
        precision="fp32",
        sample_every=0,
        tensorboard=False,
    )
    torch.manual_seed(0)
    train_into(config, VideoDataset(reader, source, strides=(), regions=True), tmp_path / "model")
    generator, info = load_model(Folder(str(tmp_path / "model")))
    encoder, _ = load_encoder(Folder(str(tmp_path / "model")))
    regions = region_ids(OBJECT)
    s = to_unit(source.channels([LabelMap(OBJECT)]))
    for clip, colour in zip(reader.clips, (RED, GREEN), strict=True):
        found = describe_frame(encoder, reader.frame(clip.name, 0), regions, downsamplings=0)
        styles = fit_styles([found], model=info.identity, max_components=1, num_styles=1, seed=0)
        picture = Rollout(generator).image(
            ConditionedFrame(s, regions=regions).conditioning(Style(styles, styles.seeds[0]))
        )
        mean = picture[8:16, 12:20].reshape(-1, 3).mean(0)
        assert np.abs(mean - colour).max() < 60, (clip.name, mean)
