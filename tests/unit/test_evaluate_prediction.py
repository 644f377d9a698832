"""`evaluate --prediction`: its measures, its baselines, and the report over a workspace."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.fake_stage import SOURCE, SourceConfig
from tests.unit.prediction_models import NUM_LABELS, save_predictor
from tests.unit.rendering import save_untrained
from v2vkit.config import make_config
from v2vkit.evaluation.metrics.contract import PerFrame
from v2vkit.evaluation.prediction import (
    MIOU,
    PredictionScores,
    admissible_starts,
    at_horizon,
    confusion,
    mean_iou,
    motion_ahead,
    predicted_places,
    summary_text,
    warp_labels,
)
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.evaluate import COMMAND, EvaluateConfig
from v2vkit.stages.extract_flow import STAGE as FLOW


def test_mean_iou_of_labels_counted_by_hand() -> None:
    real = np.array([[0, 0, 1, 1], [0, 0, 255, 7]], np.uint8)
    found = np.array([[0, 1, 1, 1], [0, 255, 0, 0]], np.uint8)
    counts = confusion(found, real, 3)
    assert counts.tolist() == [[2, 1, 0, 1], [0, 2, 0, 0], [0, 0, 0, 0]]
    assert mean_iou(counts) == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert mean_iou(np.zeros((3, 4), np.int64)) == 0


def test_starts_leave_room_to_observe_and_to_predict() -> None:
    assert list(admissible_starts(16, observe=4, frames=10)) == [0, 1, 2]
    assert list(admissible_starts(16, observe=4, frames=10, every=2)) == [0, 2]
    assert list(admissible_starts(13, observe=4, frames=10)) == []


@pytest.mark.parametrize("every", [1, 2, 5, 10, 11])
def test_frames_that_overlapping_starts_share_are_counted_once(every: int) -> None:
    starts = admissible_starts(40, observe=4, frames=10, every=every)
    assert predicted_places(starts, 10) == len({start + 4 + k for start in starts for k in range(10)})
    assert predicted_places(range(0), 10) == 0


def test_constant_motion_goes_on() -> None:
    labels = np.zeros((4, 16), np.uint8)
    labels[:, 2:5] = 3
    flow = np.zeros((4, 16, 2), np.float32)
    flow[..., 0] = -1.5  # to the right
    ahead = motion_ahead(flow)
    moved = [warp_labels(labels, next(ahead)) for _ in range(4)]
    assert [int(np.flatnonzero(one[0] == 3)[0]) for one in moved[1::2]] == [5, 8]  # no rounding at every step
    assert (moved[3] == 3).sum() == (labels == 3).sum()


def test_scores_are_summed_over_starts_by_step() -> None:
    scores = PredictionScores()
    ones, zeros = np.ones((2, 2), np.uint8), np.zeros((2, 2), np.uint8)
    for step, found in ((1, zeros), (2, ones), (1, zeros)):
        scores.add_labels("a", step, found, zeros, 2)
    black, white = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    metrics = {"sum": PerFrame(lambda batch: [float(image.sum()) for image in batch.images])}
    metrics["none"] = PerFrame(lambda batch: [None] * len(batch.images))
    for start, images in (("1", [black, white]), ("2", [white, white])):
        scores.add_frames("b", images, images, metrics, start=start, places=[(start, 0), (start, 1)])
    assert scores.curves() == {MIOU: {"a": [1.0, 0.0]}, "sum": {"b": [6.0, 12.0]}}
    assert at_horizon([1.0, 0.0, 0.5], 3, mean=True) == 0.5
    assert at_horizon([1.0, 0.0, 0.5], 3, mean=False) == 0.5
    lines = summary_text(scores.curves()).splitlines()
    assert lines[0].split() == ["mIoU", "t+1", "t+2"]
    assert lines[3].split() == ["sum", "t+1", "1-2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of 8 frames of noise with labels and flow."""
    work = tmp_path_factory.mktemp("data")
    options = RunOptions(work=str(work), workers=1)
    run(SOURCE, SourceConfig(num_clips=2, clip_frames=8), options)
    run(FLOW, FLOW.config(), options)
    return work


def evaluate(data: Path, work: Path, *, overwrite: bool = False, **settings: Any) -> list[str]:
    values = {"data": str(data), "prediction": True, "frames": 3, "device": "cpu", "threads": 1, **settings}
    config = make_config(EvaluateConfig, values, "test")
    assert COMMAND.check is not None
    COMMAND.check(config)
    return COMMAND.call(config, RunOptions(work=str(work), overwrite=overwrite))


def report(work: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((work / "evaluation/prediction/prediction.json").read_text())
    return found


def test_every_model_stands_beside_the_baselines(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("predictor", "prednet", "mcnet"):
        save_predictor(tmp_path, method)
    save_untrained(tmp_path, "street", size=(32, 24), maps={"num_labels": NUM_LABELS}, maps_stage="ingest")
    assert evaluate(data, tmp_path, video="spatial-1", columns=3) == []
    found = report(tmp_path)
    assert (found["observe"], found["starts"]) == (3, 6)
    assert list(found["curves"]) == ["mIoU", "PSNR dB", "SSIM", "MS-SSIM"]
    labels = found["curves"]["mIoU"]
    assert list(labels) == ["predictor", "copy the last labels", "warp the last labels by the last flow"]
    frames = found["curves"]["SSIM"]
    assert list(frames)[2:] == ["prednet", "mcnet", "predictor + spatial-1"]
    assert {len(values) for metric in found["curves"].values() for values in metric.values()} == {3}
    printed = capsys.readouterr().out
    assert "copy the last labels" in printed
    assert "label has changed" in printed
    groups = {row["group"]: row for row in found["profile"]["groups"] if row["step"] == 3}
    assert groups["label as in the last map"]["error"]["copy the last labels"] == 0
    assert groups["label has changed"]["error"]["copy the last labels"] == 1
    assert sum(row["share"] for name, row in groups.items() if name.startswith("moves")) == pytest.approx(1, abs=1e-5)
    assert sum(row["share"] for row in found["profile"]["classes"]) == pytest.approx(1, abs=1e-5)
    for name in ("prediction.png", "prediction-contact.png", "prediction-profile.png"):
        assert (tmp_path / "evaluation/prediction" / name).read_bytes()[:4] == b"\x89PNG"


def test_the_numbers_are_the_same_a_second_time(data: Path, tmp_path: Path) -> None:
    save_predictor(tmp_path)
    evaluate(data, tmp_path, every=3)
    first = report(tmp_path)
    evaluate(data, tmp_path, every=3, overwrite=True)
    assert report(tmp_path) == first
    written = (tmp_path / "evaluation/prediction/prediction.json").stat().st_mtime_ns
    evaluate(data, tmp_path, every=3)
    assert (tmp_path / "evaluation/prediction/prediction.json").stat().st_mtime_ns == written, "nothing has changed"
    evaluate(data, tmp_path, every=2)
    assert report(tmp_path) != first
    assert first["starts"] == 2


def test_copying_still_labels_is_perfect(tmp_path: Path) -> None:
    scores = PredictionScores()
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4) % 3
    still = np.zeros((4, 4, 2), np.float32)
    for step, displacement in zip((1, 2), motion_ahead(still), strict=False):
        scores.add_labels("warp", step, warp_labels(labels, displacement), labels, 3)
    assert scores.curves()[MIOU]["warp"] == [1.0, 1.0]


def test_frames_are_needed_for_what_is_measured_on_frames(data: Path, tmp_path: Path) -> None:
    save_predictor(tmp_path)
    maps = tmp_path / "maps"
    shutil.copytree(data / "labels", maps / "labels")
    assert evaluate(maps, tmp_path) == []
    with raises("artifact-missing", "--metrics"):
        evaluate(maps, tmp_path, metrics=("psnr",))


def test_what_does_not_fit_is_refused(data: Path, tmp_path: Path) -> None:
    assert COMMAND.check is not None
    with raises("model-missing", "predictor", str(tmp_path)):
        evaluate(data, tmp_path)
    save_predictor(tmp_path)
    with raises("clip-too-short", str(data), "20"):
        evaluate(data, tmp_path, frames=20)
    with raises("model-missing", "spatial-1"):
        evaluate(data, tmp_path, video="spatial-1")
    with raises("setting-unused", "--every", "--prediction"):
        evaluate(data, tmp_path, prediction=False, every=2)
    with raises("setting-unused", "--real-flow", "--precision"):
        evaluate(data, tmp_path, real_flow=True, precision="fp32")
    with raises("setting-unused", "--segmenter"):
        COMMAND.check(EvaluateConfig(data=str(data), segmenter_keep=(1,)))
    save_untrained(tmp_path, "street", size=(64, 48), maps={"num_labels": NUM_LABELS}, maps_stage="ingest")
    with raises("model-mismatch", "64x48", "32x24"):
        evaluate(data, tmp_path, video="spatial-1")
    save_untrained(tmp_path, "street", size=(32, 24), maps={"num_labels": 5}, maps_stage="ingest")
    with raises("model-mismatch", "5 labels", "12"):
        evaluate(data, tmp_path, video="spatial-1")
    save_predictor(tmp_path, num_labels=4)
    with raises("label-id-out-of-range", "4 labels"):
        evaluate(data, tmp_path)
