"""Metrics are chosen by what there is; what is left out has a reason, and what was asked for an error."""

from pathlib import Path

import pytest

from tests.errors import raises
from v2vkit import weights
from v2vkit.evaluation.choose import Available, choose, list_metrics
from v2vkit.evaluation.metrics.registry import METRICS, Need

NOTHING: dict[Need, tuple[str, str]] = {
    need: (f"no {need}", "Do without.") for need in ("flow", "landmarks", "people", "labels")
}


@pytest.fixture(autouse=True)
def _empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V2V_WEIGHTS", str(tmp_path / "store"))


def _available(
    frames: int = 3000, side: int = 256, missing: dict[Need, tuple[str, str]] = NOTHING, **more: object
) -> Available:
    return Available(missing, side, side, (frames,), **more)  # type: ignore[arg-type]


def test_all_metrics_whose_needs_are_met_are_computed() -> None:
    choice = choose((), _available())
    assert {"psnr", "ssim", "ms_ssim"} <= {row.name for row in choice.rows}
    assert "no flow" in str(choice.left_out["warp_error"])
    assert "v2v weights fetch alexnet" in str(choice.left_out["lpips"])
    assert "v2v weights add i3d" in str(choice.left_out["fvd"])
    assert {row.name for row in choice.rows} | choice.left_out.keys() == {row.name for row in METRICS}


@pytest.mark.skipif(weights.find("lite0") is None, reason="the package with EfficientNet-lite0's weights is absent")
def test_weights_in_a_package_are_used_without_a_flag() -> None:
    choice = choose((), _available())
    assert {"lite0_distance", "fid_lite0", "kid_lite0"} <= {row.name for row in choice.rows}
    assert choice.weights["lite0"].name.endswith(".pth")
    assert not choice.warnings


@pytest.mark.parametrize(
    ("name", "available", "code", "named"),
    [
        ("warp_error", _available(), "metric-unsupported", "no flow"),
        ("ms_ssim", _available(side=21), "size-too-small", "22"),
        ("lite0_distance", _available(side=24), "size-too-small", "32"),
        ("fid", _available(), "weights-missing", "v2v weights fetch inception-fid"),
        ("fid_lite0", _available(frames=49), "frames-too-few", "50"),
    ],
)
def test_a_metric_that_was_asked_for_and_cannot_be_computed_is_an_error(
    name: str, available: Available, code: str, named: str
) -> None:
    if name.endswith("lite0") and weights.find("lite0") is None:
        pytest.skip("the package with EfficientNet-lite0's weights is absent")
    with raises(code, name, named):
        choose((name,), available)
    assert name in choose((), available).left_out


@pytest.mark.skipif(weights.find("lite0") is None, reason="the package with EfficientNet-lite0's weights is absent")
def test_few_frames_give_a_value_with_a_warning() -> None:
    choice = choose(("fid_lite0", "kid_lite0"), _available(frames=100))
    assert "100 frames" in choice.warnings["fid_lite0"]
    assert "1280" in choice.warnings["fid_lite0"]
    assert "200" in choice.warnings["kid_lite0"]


def test_the_smaller_of_two_sets_counts() -> None:
    few = _available(real_shots=(10, 20))
    (fid,) = (row for row in METRICS if row.name == "fid")
    assert few.count(fid) == 30


def test_clips_are_counted_within_shots() -> None:
    (vfid,) = (row for row in METRICS if row.name == "vfid_i3d")
    assert Available({}, 64, 64, (59, 61, 29)).count(vfid) == 1 + 2 + 0


def test_the_list_shows_every_metric_with_its_needs() -> None:
    text = list_metrics()
    assert all(f"\n{row.name} " in text for row in METRICS)
    (line,) = (line for line in text.splitlines() if line.startswith("lpips "))
    assert "alexnet (missing)" in line
    assert "Zhang" in line
