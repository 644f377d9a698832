"""`evaluate` goes through a shot as `render` does, however it is split into clips."""

import itertools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.conditions import use_estimator
from tests.errors import raises
from tests.flow_scenes import write_frames
from tests.hooks import before_forward
from tests.stage_results import make
from tests.unit.rendering import conditioned, save_untrained
from tests.unit.test_make_sketches import FakeFace, scene
from tests.unit.training_data import make_workspace
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest, write_manifest
from v2vkit.checkpoint.model_file import load_model, save_model
from v2vkit.conditions.clips import ClipReader
from v2vkit.config import Precision
from v2vkit.evaluation.metrics.contract import OURS, REAL, REPEAT
from v2vkit.evaluation.metrics.psnr import psnr
from v2vkit.inference.rollout import Rollout
from v2vkit.inference.session import Session
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.generator import VideoGenerator
from v2vkit.models.image_generator import FrameGenerator, ImageGeneratorConfig
from v2vkit.pipeline.stage import RunOptions, load_inputs
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.make_sketches import STAGE as SKETCHES
from v2vkit.stages.make_sketches import SketchConfig

KINDS = ("frames", "labels", "flow")


def _workspace(work: Path, *, crop: int = 0, lengths: tuple[int, ...] = (5, 5), **model: object) -> None:
    """Clips of one shot, each cropped `crop` pixels aside of the one before; and a model for them."""
    make_workspace(work / "data", num_clips=len(lengths), clip_frames=max(lengths))
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


def _rendered(
    work: Path, given: int = 0, first_frame_model: AnyGenerator | None = None, precision: Precision = "auto"
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What `render --maps` makes of the workspace, and its real frames."""
    data = Folder(f"{work}/data")
    generator, info = load_model(Folder(f"{work}/checkpoints/spatial-1"))
    reader = ClipReader(data, load_inputs(data, KINDS))
    real = [reader.frame(clip.name, t) for clip in reader.clips for t in range(clip.num_frames)]
    first = np.stack(real[:given]) if given else None
    session = Session(generator, first_frames=first, first_frame_model=first_frame_model, precision=precision)
    return [image for _, image in session.render(conditioned(work / "data", info, maps=True))], real


def _psnr(report: dict[str, Any], method: str) -> list[float]:
    return [row["psnr"] for row in report["frames"] if row["method"] == method]


def test_evaluate_measures_the_frames_that_render_makes_of_the_shot(tmp_path: Path) -> None:
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


def test_evaluate_renders_in_the_precision_that_was_asked_for(tmp_path: Path) -> None:
    _workspace(tmp_path)
    reports = {precision: _evaluate(tmp_path, precision=precision) for precision in ("bf16", "fp32")}
    assert all(report["model"]["precision"] == precision for precision, report in reports.items())
    half, exact = (_psnr(report, OURS) for report in reports.values())
    ours, real = _rendered(tmp_path, precision="fp32")
    assert exact == pytest.approx([psnr(a, b) for a, b in zip(ours, real, strict=True)][1:], abs=1e-5)
    assert half != exact


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


def test_every_clip_of_a_shot_counts_the_frames_of_all_before(tmp_path: Path) -> None:
    _workspace(tmp_path, lengths=(3, 2, 4))
    report = _evaluate(tmp_path)
    rows = [row for row in report["frames"] if row["method"] == OURS]
    assert [row["offset"] for row in rows] == [0, 0, 3, 3, 5, 5, 5, 5]
    assert [row["offset"] + row["frame"] for row in rows] == list(range(1, 9))
    assert {row["shot"] for row in rows} == {rows[0]["clip"]}
    ours, real = _rendered(tmp_path)
    assert _psnr(report, OURS) == pytest.approx([psnr(ours[t], real[t]) for t in range(1, 9)], abs=1e-5)
    assert _psnr(report, REPEAT) == pytest.approx([psnr(real[0], image) for image in real[1:]], abs=1e-5)
    values = report["summary"][OURS]["psnr"]
    assert values["first_third"] == pytest.approx(np.mean(_psnr(report, OURS)[:3]), abs=1e-5)
    assert values["last_third"] == pytest.approx(np.mean(_psnr(report, OURS)[6:]), abs=1e-5)


def test_a_model_that_begins_from_an_image_model_is_measured_with_it(tmp_path: Path) -> None:
    _workspace(tmp_path, first_frame="image")
    config = ImageGeneratorConfig(in_channels=13, width=8, num_down=2, num_blocks=1)
    torch.manual_seed(1)
    model, info = FrameGenerator(config), load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))[1]
    changes = {"stage": "image", "network": config, "first_frame": "self"}
    for place in ("checkpoints/pix2pixhd", "elsewhere"):
        save_model(Folder(f"{tmp_path}/{place}"), model.state_dict(), info.model_copy(update=changes))
    ours, real = _rendered(tmp_path, first_frame_model=load_model(Folder(f"{tmp_path}/elsewhere"))[0])
    expected = [psnr(ours[t], real[t]) for t in range(1, 10)]
    assert _psnr(_evaluate(tmp_path), OURS) == pytest.approx(expected, abs=1e-5)
    alone, _ = _rendered(tmp_path)
    assert all(not np.array_equal(a, b) for a, b in zip(ours, alone, strict=True)), "the others follow from the first"
    (tmp_path / "checkpoints/pix2pixhd/model.safetensors").unlink()
    with raises("model-missing", "--first-frame-model"):
        _evaluate(tmp_path)
    named = _evaluate(tmp_path, first_frame_model=f"{tmp_path}/elsewhere")
    assert _psnr(named, OURS) == pytest.approx(expected, abs=1e-5)


def test_flow_of_the_real_frames_replaces_the_predicted_flow(tmp_path: Path) -> None:
    """And where a clip begins, which has no flow, the predicted one stays."""
    _workspace(tmp_path, lengths=(3, 2))
    own = _evaluate(tmp_path)
    config = EvaluateConfig(data=f"{tmp_path}/data", device="cpu", threads=1, real_flow=True)
    assert EVALUATE.call(config, RunOptions(work=str(tmp_path))) == []
    real = json.loads((tmp_path / "evaluation/spatial-1-real-flow/evaluation.json").read_text())
    assert (own["model"]["flow"], real["model"]["flow"]) == ("own", "real")
    generator, info = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    reader = ClipReader(Folder(f"{tmp_path}/data"), load_inputs(Folder(f"{tmp_path}/data"), KINDS))
    rollout, expected = Rollout(generator, precision="auto"), []
    frames = conditioned(tmp_path / "data", info, maps=True)
    places = [(clip.name, t) for clip in reader.clips for t in range(clip.num_frames)]
    for frame, (clip, t) in zip(frames, places, strict=True):
        pair = reader.flow(clip, t, 1)
        flow = None if pair is None else np.concatenate([pair[0].transpose(2, 0, 1), pair[1][None]])
        expected.append(psnr(rollout.image(frame.s, flow), reader.frame(clip, t)))
    assert _psnr(real, OURS) == pytest.approx(expected[1:], abs=1e-5)
    assert _psnr(real, OURS) != _psnr(own, OURS)


def test_models_that_predict_no_flow_refuse_the_real_one(tmp_path: Path) -> None:
    _workspace(tmp_path)
    folder = Folder(f"{tmp_path}/checkpoints/spatial-1")
    generator, info = load_model(folder)
    assert isinstance(generator, VideoGenerator)
    without = generator.config.model_copy(update={"flow": False})
    save_model(folder, VideoGenerator(without).state_dict(), info.model_copy(update={"network": without}))
    with raises("setting-unused", "--real-flow"):
        _evaluate(tmp_path, real_flow=True)
    with raises("setting-conflict", "--unpaired"):
        save_model(folder, generator.state_dict(), info)
        _evaluate(tmp_path, real_flow=True, unpaired=f"{tmp_path}/data")


def test_faces_that_were_not_found_are_not_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two faces, and after the last, landmarks are made up: no output can be blamed for showing others."""
    use_estimator(monkeypatch, "face", "mediapipe", f"{FakeFace.__module__}:FakeFace")
    write_frames(tmp_path / "data", {"a": scene([120, 124, 0, 128, 0])})
    manifest = make(SKETCHES, SketchConfig(smooth=0), tmp_path / "data")
    save_untrained(tmp_path, "face", size=(90, 80), maps=manifest.config)
    report = _evaluate(tmp_path)
    rows = {row["frame"]: row for row in report["frames"] if row["method"] == REAL}
    assert [rows[t].get("landmark_error") for t in (1, 2, 3, 4)] == [
        pytest.approx(0, abs=1e-4),
        None,
        pytest.approx(0, abs=1e-4),
        None,
    ]
    assert not any(row["missed"] for row in rows.values())
    repeated = {row["frame"]: row for row in report["frames"] if row["method"] == REPEAT}
    assert [t for t, row in repeated.items() if "landmark_error" in row] == [1, 3]
    assert report["summary"][REAL]["landmark_error"]["num"] == 2
    assert report["summary"][REAL]["landmark_error"]["missed"] == 0
    assert [t for t, row in repeated.items() if row.get("iris_error") == 0] == [1, 3], "real frames that show a face"


def test_the_contact_sheet_costs_no_second_rendering(tmp_path: Path) -> None:
    _workspace(tmp_path)
    ours, real = _rendered(tmp_path)
    made = itertools.count()
    with before_forward(VideoGenerator, lambda: next(made)):
        _evaluate(tmp_path, columns=4)
    assert next(made) == 10
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
