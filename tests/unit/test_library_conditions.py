"""Faces, people and every other condition in a program: the frames are those of `v2v render`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import v2vkit
from tests.conditions import use_estimator
from tests.errors import raises
from tests.people import body
from tests.unit import test_estimate_pose as poses
from tests.unit import test_make_sketches as sketches
from tests.unit.ingesting import write_images
from tests.unit.library_models import LABELS, assert_same, rendered_frames
from tests.unit.rendering import save_untrained
from tests.unit.video_files import moving_frames, write_file
from v2vkit import FaceLandmarks, Model, People, Person
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import save_model
from v2vkit.conditions.base import Condition
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.densepose import DensePoseCondition
from v2vkit.conditions.depth import DepthCondition
from v2vkit.conditions.face import FaceCondition
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.conditions.picture import PictureCondition
from v2vkit.conditions.settings import Origin
from v2vkit.models.generator import VideoGenerator
from v2vkit.models.presets import generator_config
from v2vkit.video.depth_values import range_of_files


@pytest.fixture
def face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    use_estimator(monkeypatch, "face", "mediapipe", f"{sketches.__name__}:FakeFace")
    maps = {"face": "mediapipe", "smooth": 0, "missing": "blank", "canny": True}
    save_untrained(tmp_path, "face", size=(90, 80), maps=maps)
    return v2vkit.load(tmp_path, device="cpu")


@pytest.mark.parametrize("form", [list, lambda points: map(torch.tensor, points)], ids=["numpy", "torch"])
def test_landmarks_give_the_frames_of_render(face: Model, tmp_path: Path, form: Callable[..., Any]) -> None:
    frames = sketches.scene([120, 132, 160])
    source = write_images(tmp_path / "images", frames)
    points = [sketches.FakeFace()(image) for image in frames]
    wanted = rendered_frames(source, face, tmp_path / "out", cuts="none")
    assert_same(face.generate(form(points), frames=frames), wanted)
    assert_same(face.generate(np.stack(points), frames=np.stack(frames)), wanted)
    typed = [FaceLandmarks(of, (90, 80)) for of in points]
    assert_same(face.generate(typed, frames=iter(frames)), wanted)


def test_frames_without_a_face_are_none_and_render_tells_of_them(face: Model, tmp_path: Path) -> None:
    frames = sketches.scene([120, 0, 160])
    source = write_images(tmp_path / "images", frames)
    with pytest.warns(UserWarning, match=f"no face: 1 frame of {source}"):
        wanted = list(face.render(source, cuts="none"))
    assert_same(rendered_frames(source, face, tmp_path / "out", cuts="none"), wanted)
    assert_same(face.generate([sketches.FakeFace()(image) for image in frames], frames=frames), wanted)


def test_a_video_gives_the_frames_of_render(face: Model, tmp_path: Path) -> None:
    """Two shots, a part of it, and frames to begin from."""
    frames = [*sketches.scene([120] * 12), *(255 - image for image in sketches.scene([60] * 12))]
    source = write_file(tmp_path / "in.mp4", frames)
    first = write_images(tmp_path / "first", sketches.scene([90, 95]))
    settings: dict[str, Any] = {"start": 0.12, "duration": 0.72, "cuts": "content"}
    wanted = rendered_frames(source, face, tmp_path / "out", **settings, first_frames=str(first))
    assert len(wanted) == 18
    assert_same(face.render(source, **settings, first_frames=first), wanted)
    assert_same(face.render(str(source), **settings, first_frames=sketches.scene([90, 95])), wanted)
    assert not np.array_equal(list(face.render(source, **settings)), wanted)


@pytest.mark.parametrize(
    ("points", "code", "names"),
    [
        (np.zeros((5, 2), np.float32), "array-mismatch", ["[5, 2]", "[68, 2]"]),
        (np.zeros((68, 3), np.float32), "array-mismatch", ["[68, 3]"]),
        (np.full((68, 2), np.nan), "point-out-of-range", []),
        (np.full((68, 2), 1e9), "point-out-of-range", []),
        (np.full((68, 2), "x"), "array-mismatch", ["<U1"]),
        (FaceLandmarks(None, (64, 48)), "size-mismatch", ["face", "64x48", "90x80"]),
        (FaceLandmarks(None, (90, 80), sketch=np.zeros((3, 3), np.uint8)), "size-mismatch", ["3x3"]),
        ([0.0], "annotation-mismatch", ["face", "list"]),
    ],
    ids=str,
)
def test_points_that_are_no_face_are_a_user_error(face: Model, points: Any, code: str, names: list[str]) -> None:
    with raises(code, "Frame 0", *names):
        list(face.generate([points], frames=sketches.scene([120])))


@pytest.mark.parametrize(
    ("frames", "code", "names"),
    [
        (None, "frame-required", []),
        ([np.zeros((80, 90), np.uint8)], "array-mismatch", ["`frames`", "[80, 90]", "[H, W, 3]"]),
        ([np.zeros((3, 80, 90), np.uint8)], "array-mismatch", ["[3, 80, 90]"]),
        ([np.zeros((80, 90, 3))], "array-mismatch", ["float64", "uint8"]),
        ([np.zeros((48, 64, 3), np.uint8)], "size-mismatch", ["64x48", "90x80"]),
        (["a.png"], "array-mismatch", ["`frames`", "str"]),
    ],
    ids=str,
)
def test_arrays_that_are_no_frames_are_a_user_error(face: Model, frames: Any, code: str, names: list[str]) -> None:
    with raises(code, "Frame 0", *names):
        list(face.generate([sketches.face_landmarks(40, 34, 30)], frames=frames))


def test_people_give_the_frames_of_render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_estimator(monkeypatch, "pose", "mediapipe", f"{poses.__name__}:FakePose")
    maps = {"pose": "mediapipe", "openpose": None, "min_score": 0.0, "smooth": 0, "stroke": 0, "missing": "blank"}
    save_untrained(tmp_path, "pose", size=(90, 80), maps=maps)
    model = v2vkit.load(tmp_path, device="cpu")
    frames = poses.scene([120, 140, 160])
    source = write_images(tmp_path / "images", frames)
    wanted = rendered_frames(source, model, tmp_path / "out", cuts="none")
    found = [poses.FakePose()(image) for image in frames]  # [1, 25, 3] each
    assert_same(model.generate(found), wanted)
    assert_same(model.generate(np.concatenate(found)), wanted)
    assert_same(model.generate([People((Person(torch.tensor(people[0])),), (90, 80)) for people in found]), wanted)
    assert len(list(model.generate([None, found[0], np.concatenate([found[0], found[1]])]))) == 3
    for wrong, code, names in [
        (body()[:17], "array-mismatch", ["body", "[17, 3]", "[25, 3]"]),
        (body() * [1, 1, 90], "score-out-of-range", ["body"]),
        (People((Person(body(), face=body()),), (90, 80)), "array-mismatch", ["face", "[25, 3]", "[70, 3]"]),
        (People((), (90, 80), skeleton=np.zeros((8, 8, 3), np.uint8)), "size-mismatch", ["8x8"]),
    ]:
        with raises(code, "Frame 0", *names):
            list(model.generate([wrong]))


def conditioned_model(work: Path, *conditions: tuple[Condition[Any], Origin], **frames: object) -> Model:
    """An untrained model of 64x48 with these conditions."""
    both = Conditioning(tuple(condition for condition, _ in conditions))
    config = generator_config("tiny", source_channels=both.num_channels, width=8, num_down=2, num_blocks=2)
    origins = tuple(origin for _, origin in conditions)
    changes = {"conditioning": both, "origins": origins, "network": config, "frames": frames}
    info = save_untrained(work, "pose", maps={}, **changes)
    save_model(Folder(f"{work}/checkpoints/spatial-1"), VideoGenerator(config).state_dict(), info)
    return v2vkit.load(work, device="cpu")


def test_several_conditions_take_a_dict(tmp_path: Path) -> None:
    model = conditioned_model(
        tmp_path,
        (LabelsCondition(num_labels=5), Origin(stage="ingest")),
        (FaceCondition(canny=False), Origin(stage="make-sketches")),
    )
    points = np.stack([sketches.face_landmarks(x, 24, 30) for x in (20, 24, 28, 32)])
    frames = list(model.generate({"face": points, "labels": np.stack(LABELS)}))
    assert len(frames) == 4
    assert_same(model.generate({"labels": of, "face": at} for of, at in zip(LABELS, points, strict=True)), frames)
    assert not np.array_equal(list(model.generate({"face": [None] * 4, "labels": LABELS})), frames)
    for wrong in (LABELS, np.stack(LABELS)):
        with raises("condition-mismatch", "labels+face", "{'labels': …, 'face': …}"):
            list(model.generate(wrong))
    with raises("condition-mismatch", "labels+face", "'labels'"):
        model.generate({"labels": LABELS})
    with raises("frame-count-mismatch", "face", "labels", "2"):
        list(model.generate({"labels": LABELS, "face": points[:2]}))


@pytest.mark.parametrize("scale", [1000, None], ids=["metric", "relative"])
def test_labels_and_depth_give_the_frames_of_render(tmp_path: Path, scale: float | None) -> None:
    metric = scale is not None
    model = conditioned_model(
        tmp_path / "work",
        (LabelsCondition(num_labels=5), Origin(stage="ingest")),
        (DepthCondition(metric=metric), Origin(stage="ingest")),
        depth_scale=scale,
    )
    stored = [np.add.outer(np.arange(48) * 500, np.arange(64) * 9).astype(np.uint16) + 2000 + t for t in range(4)]
    labels, depths = write_images(tmp_path / "labels", LABELS), write_images(tmp_path / "depth", stored)
    wanted = rendered_frames(labels, model, tmp_path / "out", depth=str(depths))
    assert_same(model.render(labels, depth=depths), wanted)
    if metric:
        metres = (np.stack(stored) / 1000).astype(np.float32)
        assert_same(model.generate({"labels": LABELS, "depth": metres}), wanted)
        assert_same(model.generate({"labels": LABELS, "depth": torch.from_numpy(metres)}), wanted)
    else:
        near_far = range_of_files(str(depths), sorted(path.name for path in depths.iterdir()), inverse=False)
        typed = [v2vkit.DepthMap.of((of / 256).astype(np.float32), near_far=near_far) for of in stored]
        assert_same(model.generate({"labels": LABELS, "depth": typed}), wanted)
    for wrong, code, names in [
        (stored[0], "array-mismatch", ["uint16"])
        if metric
        else (stored[0] / 1000, "depth-range-required", ["near_far"]),
        (None, "annotation-mismatch", ["depth", "None", "DepthMap"]),
        (v2vkit.DepthMap(stored[0][:40]), "size-mismatch", ["64x40"]),
    ]:
        with raises(code, "Frame 0", *names):
            list(model.generate({"labels": LABELS, "depth": [wrong]}))


def test_pictures_give_the_frames_of_render(tmp_path: Path) -> None:
    model = conditioned_model(tmp_path / "work", (PictureCondition(), Origin(stage="ingest")))
    pictures = moving_frames(4)
    source = write_images(tmp_path / "images", pictures)
    wanted = rendered_frames(source, model, tmp_path / "out", cuts="none")
    for given in (pictures, torch.from_numpy(np.stack(pictures)), map(v2vkit.Picture, pictures)):
        assert_same(model.generate(given), wanted)
    for wrong, names in [
        (pictures[0].transpose(2, 0, 1), ["[3, 48, 64]", "[H, W, 3]"]),
        (pictures[0] / 255, ["float64"]),
    ]:
        with raises("array-mismatch", "Frame 0", *names):
            list(model.generate([wrong]))


def test_densepose_is_taken_as_its_files_hold_it() -> None:
    vui = np.zeros((48, 64, 3), np.uint8)
    vui[8:20, 8:20] = (100, 50, 24)
    condition = DensePoseCondition()
    given = condition.given(vui, size=(64, 48))
    decoded = condition.decode(condition.encode(given), size=(64, 48))
    np.testing.assert_array_equal(condition.channels(given), condition.channels(decoded))
    for wrong, code, names in [
        (vui + 1, "part-out-of-range", ["25", "24"]),
        (vui[..., 0], "array-mismatch", ["[48, 64]", "uint8"]),
    ]:
        with raises(code, *names):
            condition.given(wrong, size=(64, 48))


def test_a_condition_that_says_nothing_of_arrays_takes_its_annotations() -> None:
    from tests.unit.test_made_up_condition import Brightness, BrightnessCondition

    levels = np.ones((48, 64), np.uint8)
    annotation = Brightness(levels)
    assert BrightnessCondition().given(annotation, size=(64, 48)) is annotation
    with raises("annotation-mismatch", "brightness", "Brightness"):
        BrightnessCondition().given(levels, size=(64, 48))
    with raises("size-mismatch", "brightness", "64x48", "32x24"):
        BrightnessCondition().given(annotation, size=(32, 24))
