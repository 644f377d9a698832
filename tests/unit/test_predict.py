"""`v2v predict`: which maps are observed, what is written, what is refused, and the way on to a video."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.fake_stage import SOURCE, SourceConfig
from tests.unit.prediction_models import NUM_LABELS, save_predictor
from tests.unit.rendering import save_untrained
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, read_manifest, write_manifest
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.labels import LabelMap, LabelsCondition
from v2vkit.config import make_config
from v2vkit.inference.prediction import load_prediction, predicted_maps
from v2vkit.pipeline.runner import Outcome, run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.predict import STAGE, PredictConfig
from v2vkit.stages.render import COMMAND as RENDER
from v2vkit.stages.render import RenderConfig

CONDITION = LabelsCondition(num_labels=NUM_LABELS)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two clips of 8 frames, 32x24, with labels; one shard each."""
    run(SOURCE, SourceConfig(num_clips=2, clip_frames=8), RunOptions(work=str(tmp_path / "source"), workers=1))
    return tmp_path / "source"


def predict(source: Path, work: Path, *, workers: int = 1, **settings: Any) -> Outcome:
    config = make_config(PredictConfig, {"source": str(source), "frames": 4, **settings}, "test")
    return run(STAGE, config, RunOptions(work=str(work), workers=workers))


def opened(work: Path, kind: str = "labels") -> tuple[Manifest, ClipReader]:
    manifest = read_manifest(Folder(str(work / kind)))
    assert manifest is not None
    return manifest, ClipReader(Folder(str(work)), {kind: manifest})


def labels(work: Path, clip: str, t: int) -> np.ndarray:
    annotation = opened(work)[1].annotation(CONDITION, clip, t, "channels")
    assert isinstance(annotation, LabelMap)
    return np.asarray(annotation.labels)


def rewrite_clips(source: Path, *, shots: tuple[int, ...], kind: str = "labels") -> None:
    """Say of the clips of a workspace that they are parts of these shots of one file."""
    folder = Folder(str(source / kind))
    manifest = read_manifest(folder)
    assert manifest is not None
    clips, start = [], 0
    for clip, shot in zip(manifest.clips, shots, strict=True):
        about = {"file": "a.mp4", "number": 0, "shot": shot, "crop": None, "start": start, "stop": start + 8}
        clips.append(clip.model_copy(update={"source": about}))
        start += 8
    write_manifest(folder, manifest.model_copy(update={"units": tuple((clip,) for clip in clips)}))


def test_observed_maps_are_copied_and_the_next_ones_predicted(source: Path, tmp_path: Path) -> None:
    folder = save_predictor(source)
    predict(source, tmp_path / "out")
    manifest, _ = opened(tmp_path / "out")
    assert [(clip.name, clip.num_frames) for clip in manifest.clips] == [("clip-0000", 7), ("clip-0001", 7)]
    assert manifest.config["num_labels"] == NUM_LABELS
    assert manifest.config["observe"] == 3
    observed = [labels(source, "clip-0001", t) for t in range(3)]
    for t in range(3):
        assert np.array_equal(labels(tmp_path / "out", "clip-0001", t), observed[t])
    network, _ = load_prediction(Folder(str(folder)))
    future = predicted_maps(network, [LabelMap(one) for one in observed])
    for t in range(3, 7):
        assert np.array_equal(labels(tmp_path / "out", "clip-0001", t), next(future).labels)


def test_the_last_maps_of_a_shot_of_two_clips_are_observed(source: Path, tmp_path: Path) -> None:
    save_predictor(source)
    rewrite_clips(source, shots=(0, 0))
    predict(source, tmp_path / "out", last=True, observe=10)
    manifest, _ = opened(tmp_path / "out")
    assert [(clip.name, clip.num_frames, clip.source["start"]) for clip in manifest.clips] == [("clip-0000", 14, 6)]
    assert np.array_equal(labels(tmp_path / "out", "clip-0000", 1), labels(source, "clip-0000", 7))
    assert np.array_equal(labels(tmp_path / "out", "clip-0000", 2), labels(source, "clip-0001", 0))


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_workers_and_the_command_resumes(source: Path, tmp_path: Path) -> None:
    save_predictor(source)
    predict(source, tmp_path / "a")
    predict(source, tmp_path / "b", workers=2)
    assert opened(tmp_path / "a")[0].shards == opened(tmp_path / "b")[0].shards
    config = make_config(PredictConfig, {"source": str(source), "frames": 4}, "test")
    assert status(STAGE, config, RunOptions(work=str(tmp_path / "a"))) == "done"
    save_predictor(source, steps=5)
    assert status(STAGE, config, RunOptions(work=str(tmp_path / "a"))).startswith("stale")


def test_frames_are_predicted_with_a_network_of_frames(source: Path, tmp_path: Path) -> None:
    folder = save_predictor(source, "mcnet")
    predict(source, tmp_path / "out", checkpoint=str(folder))
    _, reader = opened(tmp_path / "out", "frames")
    _, real = opened(source, "frames")
    assert np.array_equal(reader.frame("clip-0000", 2), real.frame("clip-0000", 2))
    assert reader.frame("clip-0000", 6).shape == (24, 32, 3)


def test_instances_are_carried_along() -> None:
    from tests.unit.prediction_models import NETWORKS
    from v2vkit.inference.prediction import LabelPredictor

    network = LabelPredictor(NETWORKS["predictor"]).eval()
    still = np.zeros((24, 32), np.uint8)
    instances = np.zeros((24, 32), np.uint16)
    instances[4:20, 8:24] = 300
    observed = [LabelMap(still, instances)] * 3
    found = next(predicted_maps(network, observed))
    assert found.instances is not None
    assert found.instances.dtype == np.uint16
    assert set(np.unique(found.instances[found.labels == 0])) <= {0, 300}
    assert next(predicted_maps(network, [LabelMap(still)] * 3)).instances is None


def test_predicted_labels_are_rendered(source: Path, tmp_path: Path) -> None:
    save_predictor(source)
    predict(source, tmp_path / "out")
    save_untrained(tmp_path / "models", "street", size=(32, 24), maps={"num_labels": NUM_LABELS}, maps_stage="ingest")
    target = tmp_path / "video"
    config = RenderConfig(source=str(tmp_path / "out"), target=f"{target}/", maps=True)
    RENDER.call(config, RunOptions(work=str(tmp_path / "models")))
    assert len(list(target.glob("*.png"))) == 14


def test_shots_that_are_too_short_are_left_out_and_named(source: Path, tmp_path: Path) -> None:
    save_predictor(source)
    rewrite_clips(source, shots=(0, 0))
    assert predict(source, tmp_path / "joined", observe=12).problems == ()
    rewrite_clips(source, shots=(0, 1))  # a cut after eight frames
    with raises("clip-too-short", str(source), "12"):
        predict(source, tmp_path / "cut", observe=12)
    manifest = read_manifest(Folder(str(source / "labels")))
    assert manifest is not None


def test_a_short_shot_beside_a_long_one_is_left_out_and_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    run(SOURCE, SourceConfig(num_clips=3, clip_frames=8), RunOptions(work=str(source), workers=1))
    save_predictor(source)
    rewrite_clips(source, shots=(0, 0, 1))
    found = predict(source, tmp_path / "out", observe=12)
    assert len(found.problems) == 1
    assert "clip-0002" in found.problems[0]


def test_what_does_not_fit_is_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    with raises("model-missing", "checkpoints/predictor"):
        predict(source, tmp_path / "out")
    save_predictor(source, num_labels=4)
    with raises("label-id-out-of-range", "4 labels"):
        predict(source, tmp_path / "out")
    save_predictor(source, width=64)
    with raises("size-mismatch", "32x24", "64x24"):
        predict(source, tmp_path / "out")
    save_predictor(source)
    with raises("frame-count-mismatch", "--observe 2"):
        predict(source, tmp_path / "out", observe=2)
    with raises("label-count-mismatch", "--num-labels 5"):
        predict(source, tmp_path / "out", num_labels=5)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_source_is_not_overwritten(source: Path, overwrite: bool) -> None:
    save_predictor(source)
    config = make_config(PredictConfig, {"source": str(source), "frames": 4}, "test")
    with raises("target-is-source", str(source)):
        run(STAGE, config, RunOptions(work=str(source), workers=1, overwrite=overwrite))
    assert labels(source, "clip-0000", 0).shape == (24, 32)


def test_a_model_that_does_not_predict_is_refused(source: Path, tmp_path: Path) -> None:
    save_untrained(tmp_path, "street", size=(32, 24), maps={"num_labels": NUM_LABELS}, maps_stage="ingest")
    with raises("model-mismatch", "spatial-1", "predictor"):
        predict(source, tmp_path / "out", checkpoint=str(tmp_path / "checkpoints/spatial-1"))
