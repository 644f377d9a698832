"""Faces, people and every other condition in a program: the frames are those of `v2v render`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import v2vkit
from tests.conditions import use_estimator
from tests.people import body
from tests.unit import test_estimate_pose as poses
from tests.unit import test_make_sketches as sketches
from tests.unit.ingesting import write_images
from tests.unit.library_models import LABELS, assert_same, rendered_frames
from tests.unit.rendering import save_untrained
from tests.unit.video_files import moving_frames, write_file
from v2vkit import FaceLandmarks, Model, People, Person, V2VError
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
    ("points", "message"),
    [
        (np.zeros((5, 2), np.float32), r"A face has the shape \[5, 2\]. Give 68 points as \(x, y\): \[68, 2\]"),
        (np.zeros((68, 3), np.float32), r"A face has the shape \[68, 3\]"),
        (np.full((68, 2), np.nan), "A face has a coordinate that is infinite or not in pixels"),
        (np.full((68, 2), 1e9), "A face has a coordinate"),
        (np.full((68, 2), "x"), "A face holds <U1, not numbers"),
        (FaceLandmarks(None, (64, 48)), "The annotation for face is 64x48; the model takes 90x80"),
        (FaceLandmarks(None, (90, 80), sketch=np.zeros((3, 3), np.uint8)), "A sketch is 3x3"),
        ([0.0], "What is given for face is a list"),
    ],
    ids=str,
)
def test_what_is_no_face_gets_a_sentence(face: Model, points: Any, message: str) -> None:
    with pytest.raises(V2VError, match=f"Frame 0: {message}"):
        list(face.generate([points], frames=sketches.scene([120])))


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (None, "edges of the background, which are drawn from the frame. Give the frame, too"),
        ([np.zeros((80, 90), np.uint8)], r"A picture in `frames` has the shape \[80, 90\]. Give RGB uint8 \[H, W, 3\]"),
        ([np.zeros((3, 80, 90), np.uint8)], r"has the shape \[3, 80, 90\]"),
        ([np.zeros((80, 90, 3))], "holds float64 numbers. Give RGB uint8 .*, 0 to 255"),
        ([np.zeros((48, 64, 3), np.uint8)], "is 64x48; the model takes 90x80"),
        (["a.png"], "A picture in `frames` is a str, not an array"),
    ],
    ids=str,
)
def test_what_are_no_frames_gets_a_sentence(face: Model, frames: Any, message: str) -> None:
    with pytest.raises(V2VError, match=f"Frame 0: .*{message}"):
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
    for wrong, message in [
        (body()[:17], r"A person's body has the shape \[17, 3\]. Give 25 points as \(x, y, score\): \[25, 3\]"),
        (body() * [1, 1, 90], "A person's body has a score that is not between 0 and 1"),
        (People((Person(body(), face=body()),), (90, 80)), r"A person's face has the shape \[25, 3\]. Give 70 points"),
        (People((), (90, 80), skeleton=np.zeros((8, 8, 3), np.uint8)), "A skeleton is 8x8"),
    ]:
        with pytest.raises(V2VError, match=f"Frame 0: {message}"):
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
        with pytest.raises(V2VError, match=r"conditions \(labels\+face\). Give a dict: {'labels': …, 'face': …}"):
            list(model.generate(wrong))
    with pytest.raises(V2VError, match=r"conditioned on labels\+face; given are 'labels'. Give a dict"):
        model.generate({"labels": LABELS})
    with pytest.raises(V2VError, match="face ended after 2 frames; labels goes on"):
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
    for wrong, message in [
        (stored[0] / 1000 if not metric else stored[0], "depth" if not metric else "uint16"),
        (None, "What is given for depth is None. Give a DepthMap, or depth in metres"),
        (v2vkit.DepthMap(stored[0][:40]), "A depth map is 64x40"),
    ]:
        with pytest.raises(V2VError, match=f"Frame 0: .*{message}"):
            list(model.generate({"labels": LABELS, "depth": [wrong]}))


def test_pictures_give_the_frames_of_render(tmp_path: Path) -> None:
    model = conditioned_model(tmp_path / "work", (PictureCondition(), Origin(stage="ingest")))
    pictures = moving_frames(4)
    source = write_images(tmp_path / "images", pictures)
    wanted = rendered_frames(source, model, tmp_path / "out", cuts="none")
    for given in (pictures, torch.from_numpy(np.stack(pictures)), map(v2vkit.Picture, pictures)):
        assert_same(model.generate(given), wanted)
    for wrong, message in [
        (pictures[0].transpose(2, 0, 1), r"A picture has the shape \[3, 48, 64\]. Give RGB uint8 \[H, W, 3\]"),
        (pictures[0] / 255, "A picture holds float64 numbers"),
    ]:
        with pytest.raises(V2VError, match=f"Frame 0: {message}"):
            list(model.generate([wrong]))


def test_densepose_is_taken_as_its_files_hold_it() -> None:
    vui = np.zeros((48, 64, 3), np.uint8)
    vui[8:20, 8:20] = (100, 50, 24)
    condition = DensePoseCondition()
    given = condition.given(vui, size=(64, 48))
    decoded = condition.decode(condition.encode(given), size=(64, 48))
    np.testing.assert_array_equal(condition.channels(given), condition.channels(decoded))
    for wrong, message in [
        (vui + 1, r"holds part 25\. Parts are 0 \(background\) to 24"),
        (vui[..., 0], r"has the shape \[48, 64\]. Give VUI uint8"),
    ]:
        with pytest.raises(V2VError, match=message):
            condition.given(wrong, size=(64, 48))


def test_a_condition_that_says_nothing_of_arrays_takes_its_annotations() -> None:
    from tests.unit.test_made_up_condition import Brightness, BrightnessCondition

    levels = np.ones((48, 64), np.uint8)
    annotation = Brightness(levels)
    assert BrightnessCondition().given(annotation, size=(64, 48)) is annotation
    with pytest.raises(V2VError, match=r"What is given for brightness is an array\. Give a Brightness\."):
        BrightnessCondition().given(levels, size=(64, 48))
    with pytest.raises(V2VError, match="The annotation for brightness is 64x48; the model takes 32x24"):
        BrightnessCondition().given(annotation, size=(32, 24))
