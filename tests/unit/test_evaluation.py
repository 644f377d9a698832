"""Metrics have the values that can be worked out by hand; reports are complete, ordered and deterministic."""

import json
import math
import re
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from skimage import data
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from tests.errors import raises
from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.errors import V2VError
from v2vkit.evaluation.compare import BATCH, Before, Row, evaluate_clip
from v2vkit.evaluation.metrics.contract import OURS, REAL, REPEAT, SOURCE, Metric
from v2vkit.evaluation.metrics.landmark_error import landmark_error
from v2vkit.evaluation.metrics.ms_ssim import ms_ssim, ms_ssim_scales
from v2vkit.evaluation.metrics.psnr import PSNR_CAP, psnr
from v2vkit.evaluation.metrics.registry import open_metric
from v2vkit.evaluation.metrics.registry import rows as metric_rows
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.metrics.ssim import ssim
from v2vkit.evaluation.metrics.warp_error import warp_error
from v2vkit.evaluation.report import JSON_NAME, PLOT_NAME, notes, plot, table, write_report
from v2vkit.evaluation.summary import summarize

PHOTO: Image = data.astronaut()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny pictures: on a busy machine, torch's threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _crop(size: int, x: int = 150, y: int = 40) -> Image:
    return np.ascontiguousarray(PHOTO[y : y + size, x : x + size])


def test_psnr_of_a_known_difference() -> None:
    gray = np.full((32, 48, 3), 100, np.uint8)
    assert psnr(gray + 10, gray) == pytest.approx(20 * math.log10(255 / 10), abs=1e-3)
    assert psnr(gray, gray) == PSNR_CAP


def test_similarity_falls_with_damage() -> None:
    real = _crop(192)
    noise = np.random.default_rng(0).normal(0, 1, real.shape)
    for measure in (ssim, ms_ssim):
        values = [measure(np.clip(real + s * noise, 0, 255).astype(np.uint8), real) for s in (0, 8, 32)]
        assert values[0] == pytest.approx(1, abs=1e-5)
        assert values[0] > values[1] > values[2] > 0  # type: ignore[operator]


def test_ms_ssim_uses_the_scales_that_fit() -> None:
    assert [ms_ssim_scales(side, 400) for side in (176, 175, 98, 43, 21)] == [5, 4, 3, 2, 0]
    assert ms_ssim_scales(400, 64) == 3
    for side in (176, 99, 44, 22):
        assert ms_ssim(_crop(side), _crop(side)) == pytest.approx(1, abs=1e-4)
    assert ms_ssim(_crop(20), _crop(20)) is None


def test_ms_ssim_at_full_size_is_the_published_one() -> None:
    real = _crop(192)
    image = np.clip(real.astype(int) + np.random.default_rng(1).integers(-40, 40, real.shape), 0, 255).astype(np.uint8)
    a, b = (torch.from_numpy(v).permute(2, 0, 1)[None].float() / 255 for v in (image, real))
    expected = float(multiscale_structural_similarity_index_measure(a, b, data_range=1.0))
    assert ms_ssim(image, real) == pytest.approx(expected, abs=1e-4)


def test_warp_error_is_zero_for_a_moved_picture_and_counts_only_trusted_pixels() -> None:
    before, now = _crop(64), _crop(64, x=153, y=38)  # the camera moved: what is at p now was at p + (3, -2)
    flow = np.zeros((64, 64, 2), np.float32)
    flow[...] = 3, -2
    trusted = np.zeros((64, 64), np.float32)
    trusted[4:60, 4:60] = 1
    assert warp_error(now, before, flow, trusted) == pytest.approx(0, abs=1e-6)
    assert warp_error(now, before, -flow, trusted) > 0.02  # type: ignore[operator]
    assert warp_error(now, before, flow, np.ones_like(trusted)) > 1e-4  # type: ignore[operator]
    assert warp_error(now, before, flow, np.zeros_like(trusted)) is None


def test_warp_error_is_a_weighted_mean_of_absolute_differences() -> None:
    before, now = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 100, np.uint8)
    now[:, :4] = 151
    weights = np.where(np.arange(8) < 4, 1.0, 0.5)[None].repeat(8, 0).astype(np.float32)
    expected = (0.2 * 1 + 0 * 0.5) / 1.5
    assert warp_error(now, before, np.zeros((8, 8, 2), np.float32), weights) == pytest.approx(expected, abs=1e-6)


def test_landmark_error_is_in_outer_eye_distances() -> None:
    expected = np.random.default_rng(0).uniform(0, 100, (68, 2)).astype(np.float32)
    expected[36], expected[45] = (20, 30), (70, 30)
    assert landmark_error(expected + np.float32([3, 4]), expected) == pytest.approx(5 / 50, rel=1e-4)
    assert landmark_error(2 * (expected + np.float32([3, 4])), 2 * expected) == pytest.approx(5 / 50, rel=1e-4)


class _Face:
    """Finds a "face" where the picture is bright; the landmarks hang on its mean brightness."""

    name, version = "fake", "1"

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Image) -> NDArray[np.float32] | None:
        self.calls += 1
        return None if image.mean() < 50 else _landmarks(float(image.mean()))


def _landmarks(at: float) -> NDArray[np.float32]:
    points = np.zeros((68, 2), np.float32)
    points[:, 0] = at
    points[36:42, 0] -= 50
    points[42:48, 0] += 50
    return points


def _frames(levels: list[int]) -> Iterator[Image]:
    return (np.full((24, 32, 3), level, np.uint8) for level in levels)


def _flow(count: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]] | None]:
    for t in range(count):
        yield None if t == 0 else (np.zeros((24, 32, 2), np.float32), np.ones((24, 32), np.float32))


PAIRED = ("psnr", "ssim", "ms_ssim")


def _metrics(*names: str, face: "_Face | None" = None) -> dict[str, Metric]:
    setup = Setup(24, 32, {}, face=face)
    return {row.name: open_metric(row, setup) for row in metric_rows(names)}


def _evaluate(*, names: tuple[str, ...] = (*PAIRED, "warp_error", "landmark_error"), **changes: object) -> list[Row]:
    beside = {"flow": _flow(4), "landmarks": [_landmarks(level) for level in (100, 110, 120, 130)]}
    arguments: dict = {
        "real": _frames([100, 110, 120, 130]),
        "methods": {OURS: _frames([90, 112, 122, 10]), SOURCE: _frames([0, 0, 0, 0])},
        "metrics": _metrics(*names, face=_Face()),
        "beside": beside | changes.pop("beside", {}),  # type: ignore[operator]
    }
    return evaluate_clip("c", **(arguments | changes))


def test_every_method_is_measured_on_the_same_frames() -> None:
    rows = _evaluate()
    assert {(row.method, row.frame) for row in rows} == {
        (method, t) for method in (OURS, SOURCE, REPEAT, REAL) for t in (1, 2, 3)
    }
    by = {(row.method, row.frame): row for row in rows}
    assert by[OURS, 1].values["psnr"] == pytest.approx(20 * math.log10(255 / 2), abs=1e-3)
    assert by[REPEAT, 2].values["psnr"] == pytest.approx(20 * math.log10(255 / 20), abs=1e-3)
    assert "psnr" not in by[REAL, 1].values
    assert by[OURS, 1].values["warp_error"] == pytest.approx(22 / 255, abs=1e-6)
    assert by[REAL, 1].values["warp_error"] == pytest.approx(10 / 255, abs=1e-6)
    assert by[REPEAT, 1].values["warp_error"] == 0
    assert by[OURS, 2].values["landmark_error"] == pytest.approx(2 / 100, abs=1e-5)
    assert by[REPEAT, 3].values["landmark_error"] == pytest.approx(30 / 100, abs=1e-5)
    assert by[REAL, 3].values["landmark_error"] == pytest.approx(0, abs=1e-6)
    assert by[OURS, 3].missed == ("landmark_error",)
    assert "landmark_error" not in by[OURS, 3].values
    assert by[SOURCE, 1].missed == ("landmark_error",)


def test_a_source_without_face_expects_none_and_a_repeated_picture_is_searched_once() -> None:
    face = _Face()
    rows = _evaluate(
        metrics=_metrics("landmark_error", face=face),
        beside={"landmarks": [None, None, _landmarks(120), _landmarks(130)]},
    )
    assert all(not row.values and not row.missed for row in rows if row.frame == 1)
    assert face.calls == 2 * 3 + 1  # ours, source and real twice each; the repeated frame once


def test_metrics_whose_needs_are_not_there_have_no_value() -> None:
    found = evaluate_clip("c", _frames([100, 110]), {OURS: _frames([90, 112])}, metrics=_metrics(*PAIRED, "warp_error"))
    assert {tuple(row.values) for row in found if row.method == OURS} == {PAIRED}
    assert {tuple(row.values) for row in found if row.method == REAL} == {()}


def test_more_given_frames_are_left_out_for_everybody() -> None:
    assert {row.frame for row in _evaluate(skip_first=3)} == {3}


@pytest.mark.parametrize(
    ("changes", "code", "names"),
    [
        ({"methods": {OURS: _frames([1, 2, 3])}}, "frame-count-mismatch", ["ours", "clip c", "3"]),
        ({"methods": {OURS: _frames([1, 2, 3, 4, 5])}}, "frame-count-mismatch", ["ours", "clip c", "4"]),
        ({"beside": {"flow": _flow(2)}}, "frame-count-mismatch", ["flow", "clip c", "2"]),
        (
            {"methods": {OURS: (np.zeros((24, 24, 3), np.uint8) for _ in range(4))}},
            "size-mismatch",
            ["ours", "24x24", "32x24"],
        ),
    ],
)
def test_inputs_that_do_not_fit_are_named(changes: dict, code: str, names: list[str]) -> None:
    with raises(code, *names):
        _evaluate(**changes)


def test_only_the_last_frames_of_each_video_are_held() -> None:
    made: list[weakref.ref[Image]] = []
    alive: list[int] = []

    def frames() -> Iterator[Image]:
        for level in range(100, 140):
            image = np.full((24, 32, 3), level, np.uint8)
            made.append(weakref.ref(image))
            alive.append(sum(reference() is not None for reference in made))
            yield image

    evaluate_clip("c", frames(), {OURS: frames()}, metrics=_metrics(*PAIRED))
    assert len(made) == 80
    # Of two videos a batch and the frame before it, the first one that is repeated, and one being made.
    assert max(alive) <= 2 * (BATCH + 1) + 2


def _drifting(num: int = 9) -> list[Row]:
    return [Row("c", t, OURS, {"psnr": 30.0 - t, "ssim": 0.5}) for t in range(1, num + 1)]


def test_summary_shows_drift() -> None:
    values = summarize(_drifting())[OURS]["psnr"]
    thirds = {"mean": 25.0, "median": 25.0, "first_third": 28.0, "last_third": 22.0, "num": 9}
    assert values == thirds | {"first_30": None, "last_30": None, "drift": None}
    assert "landmark_error" not in summarize(_drifting())[OURS]


def test_drift_is_the_last_30_frames_less_the_first_30_of_shots_that_have_both() -> None:
    long = [Row("long", t, OURS, {"psnr": 40.0 - (t > 30) - (t > 60)}) for t in range(1, 91)]
    short = [Row("short", t, OURS, {"psnr": 0.0}) for t in range(1, 60)]
    values = summarize([*long, *short])[OURS]["psnr"]
    assert (values["first_30"], values["last_30"], values["drift"]) == (40.0, 38.0, -2.0)
    assert "-2.00" in table(summarize([*long, *short]))


def test_values_are_set_against_those_of_the_real_frames() -> None:
    found = summarize(
        [Row("c", t, method, {"warp_error": e}) for t in (1, 2) for method, e in ((OURS, 0.3), (REAL, 0.2))]
    )
    assert found[OURS]["warp_error"]["of_real"] == 1.5
    assert "of_real" not in found[REAL]["warp_error"]
    assert "1.50" in table(found)


def test_values_of_sets_stand_beside_those_of_frames() -> None:
    sets = {"fid": {OURS: {"value": 12.34567891, "num_frames": 9}}}
    found = summarize(_drifting(), sets)
    assert found[OURS]["fid"] == {"value": 12.345679, "num_frames": 9}
    assert "12.35" in table(found)
    assert plot(_drifting(), found) != plot(_drifting(), summarize(_drifting()))


def test_thirds_are_of_each_shot_not_of_all() -> None:
    rows = [*_drifting(9), *(Row("long", t, OURS, {"psnr": 10.0 if t <= 30 else 20.0}) for t in range(1, 91))]
    values = summarize(rows)[OURS]["psnr"]
    assert values["first_third"] == pytest.approx((3 * 28 + 30 * 10) / 33, abs=1e-5)
    assert values["last_third"] == pytest.approx((3 * 22 + 30 * 20) / 33, abs=1e-5)


def test_thirds_and_the_plot_run_through_the_clips_of_a_shot() -> None:
    whole = _drifting(9)
    split = [
        Row(
            "c" if t <= 4 else "d",
            t if t <= 4 else t - 5,
            OURS,
            {"psnr": 30.0 - t, "ssim": 0.5},
            shot="c",
            offset=5 * (t > 4),
        )
        for t in range(1, 10)
    ]
    assert summarize(split) == summarize(whole)
    assert plot(split, summarize(split)) == plot(whole, summarize(whole))


def test_a_clip_goes_on_where_its_shot_was() -> None:
    first = np.full((24, 32, 3), 60, np.uint8)
    rows = _evaluate(before=Before("a", 7, first), skip_first=8)
    by = {(row.method, row.frame): row for row in rows}
    assert {row.frame for row in rows} == {1, 2, 3}
    assert by[REPEAT, 1].values["psnr"] == pytest.approx(20 * math.log10(255 / 50), abs=1e-3)
    assert (by[OURS, 1].shot, by[OURS, 1].time) == ("a", 8)
    assert {row.frame for row in _evaluate(before=Before("a", 7, first))} == {0, 1, 2, 3}


def test_very_short_clips_have_a_summary() -> None:
    values = summarize([Row("c", 1, OURS, {"psnr": 7.0})])[OURS]["psnr"]
    assert values["mean"] == 7.0
    assert values["last_third"] is None
    assert "7.00" in table(summarize([Row("c", 1, OURS, {"psnr": 7.0})]))


def test_report_files(tmp_path: Path) -> None:
    rows = _evaluate()
    summary = summarize(rows)
    write_report(Folder(str(tmp_path)), rows, summary, about={"checkpoint": "x"}, title="a title")
    found = json.loads((tmp_path / JSON_NAME).read_text())
    assert found["checkpoint"] == "x"
    assert found["summary"] == json.loads(json.dumps(summary))
    assert len(found["frames"]) == len(rows)
    assert next(iter(found["summary"])) == OURS
    with PillowImage.open(tmp_path / PLOT_NAME) as image:
        assert np.asarray(image.convert("RGB")).std() > 5
    assert sorted(path.name for path in tmp_path.iterdir()) == [JSON_NAME, PLOT_NAME]
    first = [(tmp_path / name).read_bytes() for name in (JSON_NAME, PLOT_NAME)]
    write_report(Folder(str(tmp_path)), _evaluate(), summary, about={"checkpoint": "x"}, title="a title")
    assert first == [(tmp_path / name).read_bytes() for name in (JSON_NAME, PLOT_NAME)]


def test_table_has_a_line_per_method_and_a_column_per_measured_metric() -> None:
    lines = table(summarize(_evaluate())).split("\n\n")[0].splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [OURS, REPEAT, SOURCE, REAL]
    assert "PSNR" in lines[0]
    assert "1/3" in lines[1], "one face of three was not found"
    without = table(summarize(_evaluate(names=PAIRED)))
    assert "warp" not in without
    assert "no face" not in without


def _plot(rows: list[Row]) -> bytes:
    return plot(rows, summarize(rows))


def test_plot_shows_the_values() -> None:
    low = _plot([Row("c", t, OURS, {"psnr": 10.0}) for t in range(1, 5)])
    high = _plot([Row("c", t, OURS, {"psnr": 10.0 + t}) for t in range(1, 5)])
    assert low != high


@pytest.mark.parametrize("changed", [OURS, REPEAT, SOURCE, REAL])
def test_plot_shows_every_method(changed: str) -> None:
    """The warp error of one method at one frame, between its highest and lowest: the axes stay, its line does not."""

    def rows(middle: float) -> list[Row]:
        return [
            Row("c", t, method, {"warp_error": middle if (method, t) == (changed, 2) else 0.1 * t})
            for method in (OURS, REPEAT, SOURCE, REAL)
            for t in (1, 2, 3)
        ]

    assert _plot(rows(0.2)) != _plot(rows(0.15))


def test_the_table_tells_which_way_is_better() -> None:
    (head, *_) = table(summarize(_evaluate())).splitlines()
    arrows = dict(re.findall(r"(\S[^↑↓]*?) ([↑↓])", head))
    assert arrows == {"PSNR dB": "↑", "SSIM": "↑", "MS-SSIM": "↑", "warp error": "↓", "landmark error": "↓"}


def _notes(height: int, width: int, **rest: object) -> list[str]:
    return notes(metric_rows(), height=height, width=width, **rest)  # type: ignore[arg-type]


def test_notes_tell_about_fewer_scales() -> None:
    assert any("4 scales" in note for note in _notes(128, 128))
    assert not any("scales" in note for note in _notes(256, 256))


def test_notes_tell_only_what_was_measured() -> None:
    assert any("Landmark error" in note for note in _notes(64, 64))
    assert not any("Landmark error" in note for note in notes(metric_rows(PAIRED), height=64, width=64))
    assert any("are 32x16, upsampled to 64x32" in note for note in _notes(32, 64, coarse=(32, 16)))


def test_notes_tell_what_was_left_out_and_what_is_not_to_be_trusted() -> None:
    said = _notes(
        64,
        64,
        left_out={"fid": V2VError("weights-missing", "fid: no weights.", "Get them.")},
        warnings={"kid": "9 frames"},
    )
    assert any("fid" in note and "no weights" in note for note in said)
    assert any("kid" in note and "9 frames" in note for note in said)
