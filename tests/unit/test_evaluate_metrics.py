"""`evaluate` with chosen metrics: sets, label fidelity, footage without a counterpart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from tests.errors import raises
from tests.flow_scenes import write_frames
from tests.networks import segmenter_weights
from tests.unit.rendering import save_untrained
from tests.unit.training_data import make_workspace
from v2vkit import weights
from v2vkit.evaluation.metrics.contract import OURS, REAL
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig

needs_lite0 = pytest.mark.skipif(weights.find("lite0") is None, reason="EfficientNet-lite0's package is not installed")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Five clips of 12 frames with labels and flow, 64x48, and an untrained model for them."""
    make_workspace(tmp_path / "data", num_clips=5, clip_frames=12, enlarged=2)
    save_untrained(tmp_path, "street", size=(64, 48))
    return tmp_path


def _evaluate(work: Path, **settings: object) -> dict[str, Any]:
    config = EvaluateConfig(**{"data": f"{work}/data", "device": "cpu", "threads": 1, **settings})
    assert EVALUATE.call(config, RunOptions(work=str(work))) == []
    report: dict[str, Any] = json.loads((work / "evaluation/spatial-1/evaluation.json").read_text())
    return report


def test_only_the_metrics_that_were_asked_for_are_computed(work: Path) -> None:
    report = _evaluate(work, metrics=("psnr", "warp_error"))
    assert report["summary"][OURS].keys() == {"frames", "psnr", "warp_error"}
    assert report["metrics"].keys() == {"psnr", "warp_error"}
    assert report["metrics"]["psnr"]["better"] == "higher"
    assert report["left_out"] == {}
    assert report["summary"][OURS]["warp_error"]["of_real"] > 0


@needs_lite0
@pytest.mark.slow
def test_by_default_everything_is_computed_that_can_be_and_the_rest_has_a_reason(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("V2V_WEIGHTS", f"{work}/store")
    report = _evaluate(work)
    fid = report["summary"][OURS]["fid_lite0"]
    assert fid["value"] > 0
    assert (fid["num_frames"], fid["num_real_frames"]) == (55, 55)
    assert REAL not in [m for m, entry in report["summary"].items() if "fid_lite0" in entry]
    about = report["metrics"]["fid_lite0"]
    assert about["weights"].startswith("lite0 5793442")
    assert {"backbone", "layer", "input", "source", "unit"} <= about.keys()
    assert "inception-fid" in report["left_out"]["fid"]
    printed = capsys.readouterr().out
    assert "fid_lite0: 55 frames" in printed
    assert "v2v weights fetch inception-fid" in printed
    assert report["size"] == [64, 48]


def test_a_metric_that_cannot_be_computed_is_refused_before_anything_is_rendered(work: Path) -> None:
    with raises("frames-too-few", "vfid_r3d18") if weights.find("r3d18") else raises("weights-missing", "r3d18"):
        _evaluate(work, metrics=("vfid_r3d18",))
    with raises("metric-unsupported", "landmark_error"):
        _evaluate(work, metrics=("landmark_error",))
    assert not list((work / "evaluation").rglob("*.json"))


def _segmenter(path: Path, classes: int) -> str:
    torch.manual_seed(0)
    network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=classes)
    torch.save(network.state_dict(), path)
    return str(path)


def test_label_fidelity_is_measured_with_a_network_that_has_the_models_labels(tmp_path: Path) -> None:
    make_workspace(tmp_path / "data", num_clips=1, clip_frames=5, enlarged=2)
    save_untrained(tmp_path, "street", size=(64, 48))
    voc, keep = _segmenter(tmp_path / "voc.pth", 21), tuple(range(20, 8, -1))
    report = _evaluate(tmp_path, metrics=("label_fidelity",), segmenter=voc, segmenter_keep=keep)
    found = report["summary"][OURS]["label_fidelity"]
    assert 0 <= found["value"] == found["miou"] < 1
    assert report["summary"][REAL]["label_fidelity"]["miou"] >= 0
    assert {"iou", "oracle", "share", "thin", "rare"} <= found["classes"][0].keys()
    assert len(found["worst_frames"]) == 4
    assert "lraspp" in report["metrics"]["label_fidelity"]["backbone"]
    assert (tmp_path / "evaluation/spatial-1/worst-ours.png").is_file()
    with raises("label-count-mismatch", "21", "12"):
        _evaluate(tmp_path, metrics=("label_fidelity",), segmenter=voc)
    with raises("label-id-out-of-range", "21"):
        _evaluate(tmp_path, metrics=("label_fidelity",), segmenter=voc, segmenter_keep=(21,))


def test_label_fidelity_is_measured_with_a_trained_segmenter(tmp_path: Path) -> None:
    make_workspace(tmp_path / "data", num_clips=1, clip_frames=4, enlarged=2)
    save_untrained(tmp_path, "street", size=(64, 48))
    segmenter_weights(tmp_path / "checkpoints/segmenter", num_labels=12)
    report = _evaluate(tmp_path, metrics=("label_fidelity",), segmenter=f"{tmp_path}/checkpoints/segmenter")
    assert 0 <= report["summary"][OURS]["label_fidelity"]["miou"] < 1
    assert report["metrics"]["label_fidelity"]["backbone"].startswith("trained")


@pytest.mark.slow
@needs_lite0
def test_maps_without_frames_are_compared_with_other_footage(work: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (60, 80, 96, 3), dtype=np.uint8)
    write_frames(work / "other", {"a": list(noise[:40]), "b": list(noise[40:])})
    (work / "data/frames/manifest.json").unlink()
    report = _evaluate(work, unpaired=f"{work}/other", metrics=("fid_lite0", "kid_lite0"))
    values = report["summary"][OURS]["fid_lite0"]
    assert (values["num_frames"], values["num_real_frames"]) == (55, 60)
    assert values["value"] > 0
    assert report["unpaired"] == f"{work}/other"
    assert {row["method"] for row in report["frames"]} == {OURS, "source shown as is"}
    assert "counterpart" not in report["left_out"]
    with raises("metric-unsupported", "psnr", "--unpaired"):
        _evaluate(work, unpaired=f"{work}/other", metrics=("psnr",))


def test_a_model_that_starts_from_real_frames_needs_them(work: Path) -> None:
    save_untrained(work, "street", size=(64, 48), first_frame="real")
    write_frames(work / "other", {"a": [np.zeros((48, 64, 3), np.uint8)] * 3})
    with raises("setting-conflict", "--unpaired"):
        _evaluate(work, unpaired=f"{work}/other")


def test_the_table_of_metrics_needs_no_workspace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = EvaluateConfig(list=True)
    assert EVALUATE.check is not None
    EVALUATE.check(config)
    EVALUATE.call(config, RunOptions(work=str(tmp_path / "none")))
    assert "lite0_distance" in capsys.readouterr().out
    with raises("setting-required", "DATA"):
        EVALUATE.check(EvaluateConfig())
