"""`evaluate` goes through a shot as `render` does, however it is split into clips."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.unit.rendering import save_untrained
from tests.unit.training_data import make_workspace
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest, write_manifest
from v2vkit.evaluation.compare import OURS, REAL, REPEAT
from v2vkit.evaluation.metrics import psnr
from v2vkit.maps.clips import ClipReader
from v2vkit.stages.base import RunOptions, load_inputs
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.synthesis.mapped import drive_by_artifact
from v2vkit.synthesis.model import load_model
from v2vkit.synthesis.render import render_frames
from v2vkit.synthesis.rollout import Rollout

KINDS = ("frames", "labels", "flow")


def _workspace(work: Path, *, crop: int = 0, lengths: tuple[int, int] = (5, 5), **model: object) -> None:
    """Two clips of one shot, the second cropped `crop` pixels aside; and a model for them."""
    make_workspace(work / "data", num_clips=2, clip_frames=max(lengths))
    save_untrained(work, "street", size=(32, 24), **model)
    for kind in KINDS:
        folder = Folder(f"{work}/data/{kind}")
        manifest = read_manifest(folder)
        assert manifest is not None
        clips, start = [], 0
        for number, (clip, length) in enumerate(zip(manifest.clips, lengths, strict=True)):
            part = {"file": "a.mp4", "shot": 0, "start": start, "stop": start + length, "crop": [number * crop, 0]}
            clips.append(clip.model_copy(update={"source": part, "num_frames": length}))
            start += length
        write_manifest(folder, manifest.model_copy(update={"units": tuple((clip,) for clip in clips)}))


def _evaluate(work: Path, **settings: object) -> dict[str, Any]:
    config = EvaluateConfig(data=f"{work}/data", device="cpu", threads=1, **settings)
    assert EVALUATE.call(config, RunOptions(work=str(work))) == []
    report: dict[str, Any] = json.loads((work / "evaluation/spatial-1/evaluation.json").read_text())
    return report


def _rendered(work: Path, given: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What `render --maps` makes of the workspace, and its real frames."""
    data = Folder(f"{work}/data")
    generator, info = load_model(Folder(f"{work}/checkpoints/spatial-1"))
    reader = ClipReader(data, load_inputs(data, KINDS))
    real = [reader.frame(clip.name, t) for clip in reader.clips for t in range(clip.num_frames)]
    drive = drive_by_artifact(data, load_inputs(data, ("labels",)), info.source)
    frames = render_frames(generator, drive, first_frames=np.stack(real[:given]) if given else None)
    return [image for _, image in frames], real


def _psnr(report: dict[str, Any], method: str) -> list[float]:
    return [row["psnr"] for row in report["frames"] if row["method"] == method]


def test_what_is_measured_is_what_render_makes_of_the_shot(tmp_path: Path) -> None:
    _workspace(tmp_path)
    report = _evaluate(tmp_path)
    ours, real = _rendered(tmp_path)
    expected = [psnr(a, b) for a, b in zip(ours, real, strict=True)]
    assert _psnr(report, OURS) == pytest.approx(expected[1:], abs=1e-5)
    assert _psnr(report, REPEAT) == pytest.approx([psnr(real[0], image) for image in real[1:]], abs=1e-5)
    rows = [row for row in report["frames"] if row["method"] == REAL]
    assert [row["frame"] for row in rows] == [1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert len({row["clip"] for row in rows}) == 2
    assert {row["shot"] for row in rows} == {rows[0]["clip"]}
    values = report["summary"][OURS]["psnr"]
    assert values["num"] == 9
    assert values["first_third"] == pytest.approx(np.mean(expected[1:4]), abs=1e-5)
    assert values["last_third"] == pytest.approx(np.mean(expected[7:]), abs=1e-5)
    assert "first frame of every shot" in report["notes"][0]


def test_a_shot_that_is_cropped_anew_begins_anew(tmp_path: Path) -> None:
    _workspace(tmp_path, crop=1)
    report = _evaluate(tmp_path)
    assert report["summary"][OURS]["frames"] == 8
    ours, real = _rendered(tmp_path)
    assert _psnr(report, OURS) == pytest.approx([psnr(ours[t], real[t]) for t in (1, 2, 3, 4, 6, 7, 8, 9)], abs=1e-5)
    assert all(row["shot"] == row["clip"] for row in report["frames"])


def test_frames_given_at_the_beginning_are_of_the_shot_not_of_the_clip(tmp_path: Path) -> None:
    """The first clip is shorter than what is given."""
    _workspace(tmp_path, lengths=(1, 5), first_frame="real")
    report = _evaluate(tmp_path)
    ours, real = _rendered(tmp_path, given=2)
    np.testing.assert_array_equal(ours[:2], real[:2])
    assert _psnr(report, OURS) == pytest.approx([psnr(ours[t], real[t]) for t in range(2, 6)], abs=1e-5)


def test_the_contact_sheet_costs_no_second_rendering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _workspace(tmp_path)
    ours, real = _rendered(tmp_path)
    made: list[object] = []
    step = Rollout.step

    def counted(self: Rollout, s: np.ndarray) -> Any:
        made.append(s)
        return step(self, s)

    monkeypatch.setattr(Rollout, "step", counted)
    _evaluate(tmp_path, columns=4)
    assert len(made) == 10
    sheet = cv2.imread(str(tmp_path / "evaluation/spatial-1/contact.png"))
    assert sheet is not None
    assert sheet.shape == (3 * 24, 4 * 32, 3)
    for row, frames in ((1, ours), (2, real)):
        shown = np.concatenate([frames[t] for t in (0, 3, 6, 9)], 1)
        np.testing.assert_array_equal(sheet[row * 24 : (row + 1) * 24, :, ::-1], shown)


def test_checkpoints_do_not_replace_each_others_reports(tmp_path: Path) -> None:
    _workspace(tmp_path)
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "spatial-2").mkdir()
    (checkpoints / "spatial-2/model.safetensors").write_bytes(
        (checkpoints / "spatial-1/model.safetensors").read_bytes()
    )
    for name in ("spatial-1", "spatial-2"):
        EVALUATE.call(
            EvaluateConfig(data=f"{tmp_path}/data", checkpoint=name, device="cpu"), RunOptions(work=str(tmp_path))
        )
    for name in ("spatial-1", "spatial-2"):
        report = json.loads((tmp_path / f"evaluation/{name}/evaluation.json").read_text())
        assert report["model"]["checkpoint"].endswith(name)
