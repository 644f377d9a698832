"""The stage from frames to label maps: which files, what they hold, which classes are kept, that workers do not matter;
and the way on: checks, training, rendering from a video. The networks' common contract is in tests/conformance."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.conditions import channels_of, use_estimator
from tests.errors import raises
from tests.flow_scenes import write_frames
from tests.networks import brightness_weights, needs_ultralytics, noise, torchvision_weights, yolo_weights
from tests.stage_results import make, sample_files
from tests.unit.rendering import conditioned
from tests.unit.training_data import SMALL
from tests.unit.video_files import read_raw, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_gray, decode_image, encode_png
from v2vkit.artifacts.manifest import Manifest, read_manifest
from v2vkit.checkpoint.model_file import load_model
from v2vkit.cli.main import cli
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.label_ids import instance_edges, keep_labels
from v2vkit.config import make_config
from v2vkit.errors import V2VError
from v2vkit.estimators.base import Segments
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.extract_flow import STAGE as FLOW
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig
from v2vkit.stages.render import COMMAND as RENDER
from v2vkit.stages.render import RenderConfig
from v2vkit.stages.segment import STAGE, SegmentConfig
from v2vkit.stages.show import ShowConfig, show
from v2vkit.stages.train import STAGE as TRAIN


class FakeSegmenter:
    """Label = a tenth of the red value, instance = the green value; dark pixels are nothing."""

    name, version, num_labels = "fake", "7", 6
    classes = ("sky", "road", "car", "tree", "house", "person")

    def __init__(self, *, weights: str | None, input_side: int | None, min_score: float | None, device: str):
        if weights is None or not Path(weights).is_file():
            raise V2VError(f"There is no file {weights}.", "Give --weights.")

    def __call__(self, image: np.ndarray) -> Segments:
        labels = np.where(image[..., 0] < 60, image[..., 0] // 10, 255).astype(np.uint8)
        return Segments(labels, np.where(labels == 255, 0, image[..., 1]).astype(np.uint16))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A weights file for the fake network."""
    use_estimator(monkeypatch, "segment", "yolo", f"{__name__}:FakeSegmenter")
    (tmp_path / "fake.pt").write_bytes(b"weights")
    return str(tmp_path / "fake.pt")


def scene(count: int, *, width: int = 32, height: int = 24) -> list[np.ndarray]:
    """Road (1) below sky (0), two cars (2) that touch, and an unknown thing."""
    frames = []
    for t in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[height // 2 :, :, 0] = 15
        frame[8:16, 4 + t : 12 + t] = (25, 7, 0)
        frame[8:16, 12 + t : 18 + t] = (25, 8, 0)
        frame[0:4, 0:4] = 200
        frames.append(frame)
    return frames


def _make(work: Path, workers: int = 1, **settings: object) -> Manifest:
    return make(STAGE, SegmentConfig(**settings), work, workers)


def _files(work: Path, manifest: Manifest, key: str, number: int = 0) -> dict[str, bytes]:
    return sample_files(work / "labels", manifest, key, number)


def test_every_frame_has_labels_and_instances(tmp_path: Path, weights: str) -> None:
    frames = scene(3)
    write_frames(tmp_path, {"a": frames})
    manifest = _make(tmp_path, segment="yolo", weights=weights)
    for t, frame in enumerate(frames):
        files = _files(tmp_path, manifest, f"a/{t:06d}")
        assert sorted(files) == ["inst.png", "label.png"]
        labels, instances = decode_gray(files["label.png"]), decode_gray(files["inst.png"])
        assert (labels.dtype, instances.dtype) == (np.uint8, np.uint16)
        expected = FakeSegmenter(weights=weights, input_side=None, min_score=None, device="cpu")(frame)
        np.testing.assert_array_equal(labels, expected.labels)
        np.testing.assert_array_equal(instances, expected.instances)
    assert manifest.missing == {}
    assert manifest.config["num_labels"] == 6
    assert manifest.estimator == {
        "name": "fake",
        "version": "7",
        "weights": hashlib.sha256(b"weights").hexdigest(),
        "classes": "sky, road, car, tree, house, person",
    }


def test_networks_without_instances_write_none(tmp_path: Path) -> None:
    frames = [noise(48, 64, seed) for seed in range(2)]
    write_frames(tmp_path, {"a": frames})
    path = brightness_weights(tmp_path / "brightness.pth")
    manifest = _make(tmp_path, weights=str(path), input_side=64)
    assert sorted(_files(tmp_path, manifest, "a/000001")) == ["label.png"]
    assert manifest.config["num_labels"] == 2
    assert manifest.estimator["classes"] == "night, day"
    assert manifest.estimator["name"] == "torchvision"
    assert "lraspp" in manifest.estimator["version"]


def test_kept_classes_are_renumbered(tmp_path: Path, weights: str) -> None:
    write_frames(tmp_path, {"a": scene(2)})
    manifest = _make(tmp_path, segment="yolo", weights=weights, keep=(2, 0))
    files = _files(tmp_path, manifest, "a/000000")
    labels, instances = decode_gray(files["label.png"]), decode_gray(files["inst.png"])
    assert set(np.unique(labels)) == {0, 1, 255}
    assert (labels[8:16, 4:18] == 0).all()
    assert (labels[20] == 255).all(), "the road is not kept"
    assert labels[6, 20] == 1, "the sky"
    assert set(np.unique(instances[labels == 0])) == {7, 8}
    assert not instances[labels == 255].any()
    assert manifest.config["num_labels"] == 2
    assert manifest.estimator["classes"] == "car, sky"


def test_keeping_all_keeps_the_numbers() -> None:
    labels = np.array([[0, 3, 255]], np.uint8)
    assert keep_labels(labels, None, ()) == (labels, None)
    kept, instances = keep_labels(labels, np.array([[1, 2, 3]], np.uint16), (3,))
    assert kept.tolist() == [[255, 0, 255]]
    assert instances is not None
    assert instances.tolist() == [[0, 2, 0]]
    assert instances.dtype == np.uint16


def test_frames_without_anything_are_counted(tmp_path: Path, weights: str) -> None:
    frames = scene(3)
    frames[1][:] = 200
    write_frames(tmp_path, {"a": frames})
    assert _make(tmp_path, segment="yolo", weights=weights).missing == {"nothing recognised": 1}


def test_wrong_set_ups_are_sentences_before_anything_is_written(tmp_path: Path, weights: str) -> None:
    write_frames(tmp_path, {"a": scene(2)})
    yolo = {"segment": "yolo", "weights": weights}
    for settings, code, *names in (
        ({"segment": "torchvision"}, "weights-missing", "--weights"),
        ({"segment": "torchvision", "weights": str(tmp_path / "gone.pth")}, "weights-missing", "gone.pth"),
        (yolo | {"keep": (6,)}, "label-id-out-of-range", "--keep 6", "0 to 5"),
        (yolo | {"num_labels": 5}, "label-count-mismatch", "6 labels", "--num-labels 5"),
        (yolo | {"keep": (1, 2), "num_labels": 1}, "label-count-mismatch", "2 labels"),
    ):
        with raises(code, *names):
            _make(tmp_path, **settings)
        assert not (tmp_path / "labels").exists()
    assert _make(tmp_path, segment="yolo", weights=weights, num_labels=9).config["num_labels"] == 9


@pytest.mark.parametrize(
    "values",
    [{"segment": "unet"}, {"keep": (1, 1)}, {"keep": (255,)}, {"keep": (-1,)}, {"input_side": 8}, {"min_score": 2}],
    ids=str,
)
def test_wrong_settings_are_refused(values: dict[str, object]) -> None:
    with raises("setting-invalid"):
        make_config(SegmentConfig, values, "test")


def test_other_weights_and_settings_make_it_stale_and_another_place_does_not(tmp_path: Path, weights: str) -> None:
    write_frames(tmp_path, {"a": scene(2)})
    config = SegmentConfig(segment="yolo", weights=weights)
    options = RunOptions(work=str(tmp_path))
    run(STAGE, config, options)
    assert status(STAGE, config, options) == "done"
    moved = tmp_path / "moved.pt"
    Path(weights).rename(moved)
    elsewhere = config.model_copy(update={"weights": str(moved), "device": "cuda"})
    assert status(STAGE, elsewhere, options) == "done"
    for change in ({"keep": (1,)}, {"input_side": 64}, {"min_score": 0.5}, {"num_labels": 7}):
        assert status(STAGE, elsewhere.model_copy(update=change), options).startswith("stale: changed"), change
    moved.write_bytes(b"others")
    assert "weights" in status(STAGE, elsewhere, options)


def test_labels_that_came_with_the_frames_are_not_overwritten_unasked(tmp_path: Path, weights: str) -> None:
    for name, images in (("images", scene(4)), ("labels", [np.full((24, 32), 3, np.uint8)] * 4)):
        (tmp_path / name).mkdir()
        for t, image in enumerate(images):
            (tmp_path / name / f"{t:03d}.png").write_bytes(encode_png(image))
    work = tmp_path / "work"
    ingest = IngestConfig(sources=(str(tmp_path / "images"),), labels=str(tmp_path / "labels"), min_frames=1)
    run(INGEST, ingest, RunOptions(work=str(work), workers=1))
    with raises("artifact-stale", "ingest"):
        _make(work, segment="yolo", weights=weights)
    run(STAGE, SegmentConfig(segment="yolo", weights=weights), RunOptions(work=str(work), workers=1, overwrite=True))
    manifest = read_manifest(Folder(f"{work}/labels"))
    assert manifest is not None
    assert manifest.stage == "segment"


@pytest.mark.slow
@pytest.mark.parametrize("segment", ["torchvision", "yolo"])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path, segment: str) -> None:
    if segment == "yolo":
        needs_ultralytics()
        path = yolo_weights(tmp_path / "w.pt", "segment", side=96)
    else:
        path = torchvision_weights(tmp_path / "w.pt")
    clips = {name: [noise(48, 64, 5 * number + t) for t in range(2)] for number, name in enumerate("abc")}
    digests = []
    for workers in (1, 2):
        work = tmp_path / str(workers)
        write_frames(work, clips)
        _make(work, workers, segment=segment, weights=str(path), input_side=96)
        digests.append([hashlib.sha256(path.read_bytes()).digest() for path in sorted((work / "labels").iterdir())])
    assert digests[0] == digests[1]


def test_show_and_check_know_them(tmp_path: Path, weights: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path, {"a": scene(3)})
    _make(tmp_path, segment="yolo", weights=weights)
    options = RunOptions(work=str(tmp_path))
    assert show(ShowConfig(artifact="labels", out=str(tmp_path / "sheet.png"), frames=3), options) == []
    assert decode_image((tmp_path / "sheet.png").read_bytes()).any()
    assert CHECK.call(CheckConfig(num_labels=6), options) == []
    assert "labels: 3 frames in 1 clip," in capsys.readouterr().out


def test_the_command_line_takes_several_classes(tmp_path: Path, weights: str) -> None:
    write_frames(tmp_path, {"a": scene(2)})
    arguments = ["segment", "--segment", "yolo", "--weights", weights, "--keep", "2", "--keep", "1"]
    result = CliRunner().invoke(cli, [*arguments, "--work", str(tmp_path), "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "labels: 2 frames in 1 clip, 1 shard" in result.output
    document = json.loads((tmp_path / "labels" / "manifest.json").read_text())
    assert document["config"]["keep"] == [2, 1]


# The way on


STREET = SMALL.model_copy(update={"domain": None, "num_labels": None, "foreground": (2,), "threads": 1})


@pytest.fixture
def trained(tmp_path: Path, weights: str) -> RunOptions:
    """A model trained on what the fake network sees in an ingested video, and the video beside it."""
    source = write_file(tmp_path / "in.mp4", [np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in scene(10)])
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    run(INGEST, IngestConfig(sources=(str(source),), size="32x24", cuts="none", lossless=True), options)
    run(STAGE, SegmentConfig(segment="yolo", weights=weights, keep=(1, 0, 2)), options)
    run(FLOW, FLOW.config(), options)
    run(TRAIN, STREET, options)
    return options


def test_labels_are_trained_on_and_made_from_a_video_alike(trained: RunOptions, tmp_path: Path) -> None:
    work = Folder(trained.work)
    generator, info = load_model(work / "checkpoints/spatial-1")
    assert (info.conditioning.names, info.conditioning.num_labels, info.origins[0].stage) == ("labels", 3, "segment")
    assert generator.config.source_channels == 4
    manifests = {kind: read_manifest(work / kind) for kind in ("frames", "labels")}
    reader = ClipReader(work, {kind: manifest for kind, manifest in manifests.items() if manifest is not None})
    clip = reader.clips[0].name
    frames = list(conditioned(tmp_path / "in.mp4", info))
    assert len(frames) == 10
    for t, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.s, channels_of(info, reader, clip, t))
        np.testing.assert_array_equal(frame.regions, reader.regions(info.conditioning, clip, t))
    labels, instances = decode_gray(reader.read("labels", clip, 0, "label.png")), frames[0].s[3]
    assert (instances > instance_edges(labels)).any(), "the border between two cars"
    config = RenderConfig(source=str(tmp_path / "in.mp4"), target=str(tmp_path / "out.mp4"), device="cpu", threads=1)
    assert RENDER.call(config, trained) == []
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 10


def test_frames_without_anything_are_counted_when_rendering(trained: RunOptions, tmp_path: Path) -> None:
    source = write_file(tmp_path / "bright.mp4", [np.full((48, 64, 3), 220, np.uint8)] * 3)
    config = RenderConfig(source=str(source), target=str(tmp_path / "out.mp4"), device="cpu", threads=1)
    assert RENDER.call(config, trained) == [f"nothing recognised: 3 frames of {source}"]


@pytest.mark.parametrize(("content", "code"), [(None, "weights-missing"), (b"others", "weights-mismatch")])
def test_rendering_needs_the_weights_of_training(
    trained: RunOptions, tmp_path: Path, weights: str, content: bytes | None, code: str
) -> None:
    Path(weights).unlink()
    if content is not None:
        Path(weights).write_bytes(content)
    config = RenderConfig(source=str(tmp_path / "in.mp4"), target=str(tmp_path / "out.mp4"), device="cpu", threads=1)
    with raises(code, "fake.pt"):
        RENDER.call(config, trained)
    assert not (tmp_path / "out.mp4").exists()
