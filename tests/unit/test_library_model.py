"""A model in a program: the frames are those of `v2v render`, and what does not fit gets a sentence."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data

import v2vkit
from tests.conditions import use_estimator
from tests.people import body
from tests.unit import test_estimate_pose as poses
from tests.unit import test_make_sketches as sketches
from tests.unit.fake_stage import SOURCE
from tests.unit.fake_stage import SourceConfig as FramesConfig
from tests.unit.ingesting import label_maps, write_images
from tests.unit.rendering import render, save_untrained
from tests.unit.test_encode_features import save_feature_model
from tests.unit.video_files import moving_frames, write_file
from v2vkit import FaceLandmarks, LabelMap, Model, People, Person, V2VError
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image
from v2vkit.checkpoint.model_file import save_model
from v2vkit.conditions.base import Condition
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.densepose import DensePoseCondition
from v2vkit.conditions.depth import DepthCondition
from v2vkit.conditions.face import FaceCondition
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.conditions.picture import PictureCondition
from v2vkit.conditions.settings import Origin
from v2vkit.inference.given import as_numpy
from v2vkit.models.generator import VideoGenerator
from v2vkit.models.image_generator import FrameGenerator
from v2vkit.models.presets import generator_config, image_generator_config
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.video.depth_values import range_of_files

LABELS = label_maps(4)
OBJECTS = [np.repeat(np.arange(48, dtype=np.uint16)[:, None] // (5 + t), 64, 1) for t in range(4)]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """An untrained model of 5 labels, 64x48, in a workspace of its own."""
    work = tmp_path_factory.mktemp("street") / "work"
    save_untrained(work, "street", maps={"num_labels": 5, "instances": "objects"}, maps_stage="ingest")
    return v2vkit.load(work, device="cpu")


def _rendered(source: Path, model: Model | Path, target: Path, **settings: object) -> list[np.ndarray]:
    """The frames that `v2v render` writes into a folder."""
    render(source, f"{target}/", Path(model.work.url) if isinstance(model, Model) else model, **settings)
    return [decode_image(path.read_bytes()) for path in sorted(target.glob("*.png"))]


def _same(found: Iterator[np.ndarray] | list[np.ndarray], wanted: list[np.ndarray]) -> None:
    frames = list(found)
    assert len(frames) == len(wanted) > 0
    for frame, other in zip(frames, wanted, strict=True):
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, other)


GIVEN: dict[str, Callable[[], Any]] = {
    "numpy": lambda: np.stack(LABELS),
    "other whole numbers": lambda: np.stack(LABELS).astype(np.int64),
    "torch": lambda: torch.from_numpy(np.stack(LABELS)),
    "a list": lambda: LABELS,
    "a generator of tensors": lambda: (torch.from_numpy(labels).int() for labels in LABELS),
    "typed": lambda: [LabelMap(labels) for labels in LABELS],
    "typed, with a tensor": lambda: [LabelMap(torch.from_numpy(labels)) for labels in LABELS],
    "a dict of arrays": lambda: {"labels": np.stack(LABELS)},
    "dicts": lambda: [{"labels": labels} for labels in LABELS],
}


@pytest.mark.parametrize("form", GIVEN)
def test_labels_give_the_frames_of_render(street: Model, tmp_path: Path, form: str) -> None:
    source = write_images(tmp_path / "labels", LABELS)
    _same(street.generate(GIVEN[form]()), _rendered(source, street, tmp_path / "out"))


def test_objects_give_the_frames_of_render(street: Model, tmp_path: Path) -> None:
    source, objects = write_images(tmp_path / "labels", LABELS), write_images(tmp_path / "objects", OBJECTS)
    wanted = _rendered(source, street, tmp_path / "out", instances=str(objects))
    _same(street.generate(map(LabelMap, LABELS, OBJECTS)), wanted)
    _same(street.render(source, instances=objects), wanted)
    assert not np.array_equal(list(street.generate(LABELS)), wanted)


def test_a_stream_is_taken_frame_by_frame(street: Model) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield LABELS[taken % 4]

    frames = street.generate(endless())
    assert taken == 0
    for number in range(1, 4):
        assert next(frames).shape == (48, 64, 3)
        assert taken == number
    assert list(street.generate([])) == []


def test_every_call_begins_a_shot(street: Model) -> None:
    first, again = (list(street.generate(LABELS)) for _ in range(2))
    _same(first, again)
    assert not np.array_equal(next(street.generate(LABELS[1:])), first[1])


def test_what_a_model_tells(street: Model) -> None:
    assert street.size == (64, 48)
    assert str(street.size) == "64x48"
    assert street.fps == 25
    assert [condition.name for condition in street.conditions] == ["labels"]
    assert street.info.stage == "spatial-1"
    assert repr(street) == "Model(spatial-1, labels, 64x48, cpu)"


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ("in.mp4", r"'in.mp4' is a path, not annotations\. Use `model\.render`"),
        (None, "NoneType is not a sequence of frames"),
        (np.uint8(3), "is not a sequence of frames"),
        ({"labels": LABELS, "depth": LABELS}, "conditioned on labels; given are 'labels', 'depth'"),
        ([{}], "Frame 0: The model is conditioned on labels; given are nothing"),
        (LABELS[0], r"Frame 0: A label map has the shape \[64\]\. Give \[H, W\] for a frame, \[T, H, W\]"),
        (np.zeros((2, 5, 48, 64), np.uint8), r"Frame 0: A label map has the shape \[5, 48, 64\]"),
        ([LABELS[0], LABELS[1][:40]], "Frame 1: A label map is 64x40; the model takes 64x48"),
        (np.zeros((1, 48, 64), np.float32), "Frame 0: A label map holds float32 numbers; ids are whole numbers"),
        (np.zeros((1, 48, 64), bool), "Frame 0: A label map holds bool numbers"),
        (np.full((1, 48, 64), 5), "Frame 0: A label map holds id 5, but the model knows 5 labels"),
        (np.full((1, 48, 64), 261), "Frame 0: A label map holds id 261. Ids are 0 to 255"),
        (np.full((1, 48, 64), -1), "Frame 0: A label map holds id -1"),
        ([LabelMap(LABELS[0], OBJECTS[0][:40])], "Frame 0: An instance map is 64x40"),
        ([LabelMap(LABELS[0], OBJECTS[0] / 2)], "Frame 0: An instance map holds float64"),
        ([LabelMap("x")], "Frame 0: A label map is a str, not an array"),  # type: ignore[arg-type]
        ([People((), (64, 48))], "Frame 0: What is given for labels is a People. Give a LabelMap, or label ids"),
        ([None], "Frame 0: What is given for labels is None"),
    ],
    ids=str,
)
def test_what_is_no_label_map_gets_a_sentence(street: Model, annotations: Any, message: str) -> None:
    with pytest.raises(V2VError, match=message):
        list(street.generate(annotations))


def test_columns_of_different_lengths(street: Model) -> None:
    frames = street.generate(LABELS, frames=np.zeros((2, 48, 64, 3), np.uint8))
    assert len([next(frames), next(frames)]) == 2
    with pytest.raises(V2VError, match="frames ended after 2 frames; annotations goes on"):
        next(frames)


# --- faces and people


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
    wanted = _rendered(source, face, tmp_path / "out", cuts="none")
    _same(face.generate(form(points), frames=frames), wanted)
    _same(face.generate(np.stack(points), frames=np.stack(frames)), wanted)
    typed = [FaceLandmarks(of, (90, 80)) for of in points]
    _same(face.generate(typed, frames=iter(frames)), wanted)


def test_frames_without_a_face_are_none_and_render_tells_of_them(face: Model, tmp_path: Path) -> None:
    frames = sketches.scene([120, 0, 160])
    source = write_images(tmp_path / "images", frames)
    with pytest.warns(UserWarning, match=f"no face: 1 frame of {source}"):
        wanted = list(face.render(source, cuts="none"))
    _same(_rendered(source, face, tmp_path / "out", cuts="none"), wanted)
    _same(face.generate([sketches.FakeFace()(image) for image in frames], frames=frames), wanted)


def test_a_video_gives_the_frames_of_render(face: Model, tmp_path: Path) -> None:
    """Two shots, a part of it, and frames to begin from."""
    frames = [*sketches.scene([120] * 12), *(255 - image for image in sketches.scene([60] * 12))]
    source = write_file(tmp_path / "in.mp4", frames)
    first = write_images(tmp_path / "first", sketches.scene([90, 95]))
    settings: dict[str, Any] = {"start": 0.12, "duration": 0.72, "cuts": "content"}
    wanted = _rendered(source, face, tmp_path / "out", **settings, first_frames=str(first))
    assert len(wanted) == 18
    _same(face.render(source, **settings, first_frames=first), wanted)
    _same(face.render(str(source), **settings, first_frames=sketches.scene([90, 95])), wanted)
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
    wanted = _rendered(source, model, tmp_path / "out", cuts="none")
    found = [poses.FakePose()(image) for image in frames]  # [1, 25, 3] each
    _same(model.generate(found), wanted)
    _same(model.generate(np.concatenate(found)), wanted)
    _same(model.generate([People((Person(torch.tensor(people[0])),), (90, 80)) for people in found]), wanted)
    assert len(list(model.generate([None, found[0], np.concatenate([found[0], found[1]])]))) == 3
    for wrong, message in [
        (body()[:17], r"A person's body has the shape \[17, 3\]. Give 25 points as \(x, y, score\): \[25, 3\]"),
        (body() * [1, 1, 90], "A person's body has a score that is not between 0 and 1"),
        (People((Person(body(), face=body()),), (90, 80)), r"A person's face has the shape \[25, 3\]. Give 70 points"),
        (People((), (90, 80), skeleton=np.zeros((8, 8, 3), np.uint8)), "A skeleton is 8x8"),
    ]:
        with pytest.raises(V2VError, match=f"Frame 0: {message}"):
            list(model.generate([wrong]))


def _conditioned(work: Path, *conditions: tuple[Condition[Any], Origin], **frames: object) -> Model:
    """An untrained model of 64x48 with these conditions."""
    both = Conditioning(tuple(condition for condition, _ in conditions))
    config = generator_config("tiny", source_channels=both.num_channels, width=8, num_down=2, num_blocks=2)
    origins = tuple(origin for _, origin in conditions)
    changes = {"conditioning": both, "origins": origins, "generator": config, "frames": frames}
    info = save_untrained(work, "pose", maps={}, **changes)
    save_model(Folder(f"{work}/checkpoints/spatial-1"), VideoGenerator(config).state_dict(), info)
    return v2vkit.load(work, device="cpu")


def test_several_conditions_take_a_dict(tmp_path: Path) -> None:
    model = _conditioned(
        tmp_path,
        (LabelsCondition(num_labels=5), Origin(stage="ingest")),
        (FaceCondition(canny=False), Origin(stage="make-sketches")),
    )
    points = np.stack([sketches.face_landmarks(x, 24, 30) for x in (20, 24, 28, 32)])
    frames = list(model.generate({"face": points, "labels": np.stack(LABELS)}))
    assert len(frames) == 4
    _same(model.generate({"labels": of, "face": at} for of, at in zip(LABELS, points, strict=True)), frames)
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
    model = _conditioned(
        tmp_path / "work",
        (LabelsCondition(num_labels=5), Origin(stage="ingest")),
        (DepthCondition(metric=metric), Origin(stage="ingest")),
        depth_scale=scale,
    )
    stored = [np.add.outer(np.arange(48) * 500, np.arange(64) * 9).astype(np.uint16) + 2000 + t for t in range(4)]
    labels, depths = write_images(tmp_path / "labels", LABELS), write_images(tmp_path / "depth", stored)
    wanted = _rendered(labels, model, tmp_path / "out", depth=str(depths))
    _same(model.render(labels, depth=depths), wanted)
    if metric:
        metres = (np.stack(stored) / 1000).astype(np.float32)
        _same(model.generate({"labels": LABELS, "depth": metres}), wanted)
        _same(model.generate({"labels": LABELS, "depth": torch.from_numpy(metres)}), wanted)
    else:
        near_far = range_of_files(str(depths), sorted(path.name for path in depths.iterdir()), inverse=False)
        typed = [v2vkit.DepthMap.of((of / 256).astype(np.float32), near_far=near_far) for of in stored]
        _same(model.generate({"labels": LABELS, "depth": typed}), wanted)
    for wrong, message in [
        (stored[0] / 1000 if not metric else stored[0], "depth" if not metric else "uint16"),
        (None, "What is given for depth is None. Give a DepthMap, or depth in metres"),
        (v2vkit.DepthMap(stored[0][:40]), "A depth map is 64x40"),
    ]:
        with pytest.raises(V2VError, match=f"Frame 0: .*{message}"):
            list(model.generate({"labels": LABELS, "depth": [wrong]}))


def test_pictures_give_the_frames_of_render(tmp_path: Path) -> None:
    model = _conditioned(tmp_path / "work", (PictureCondition(), Origin(stage="ingest")))
    pictures = moving_frames(4)
    source = write_images(tmp_path / "images", pictures)
    wanted = _rendered(source, model, tmp_path / "out", cuts="none")
    for given in (pictures, torch.from_numpy(np.stack(pictures)), map(v2vkit.Picture, pictures)):
        _same(model.generate(given), wanted)
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


# --- beginnings and styles


def test_styles_are_those_of_render(tmp_path: Path) -> None:
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    run(SOURCE, FramesConfig(num_clips=2, clip_frames=4), options)
    save_feature_model(options.work)
    assert v2vkit.encode_features(options.work, workers=1).problems == ()
    v2vkit.sample_style(options.work, num_styles=2)
    labels = [of[::2, ::2] for of in label_maps(3)]
    source = write_images(tmp_path / "labels", labels)
    model = v2vkit.load(options.work, device="cpu")
    first, second = (_rendered(source, Path(options.work), tmp_path / f"out{style}", style=style) for style in (0, 1))
    _same(model.generate(labels), first)
    _same(model.generate(labels, style=1), second)
    _same(model.render(source, style=1), second)
    assert not np.array_equal(first, second)
    alone = tmp_path / "alone"
    shutil.copytree(f"{options.work}/checkpoints/spatial-1", alone)
    _same(v2vkit.load(alone, device="cpu", styles=f"{options.work}/styles").generate(labels, style=1), second)
    with pytest.raises(V2VError, match="There is no style 2"):
        model.generate(labels, style=2)
    with pytest.raises(V2VError, match="There are no styles"):
        v2vkit.load(alone, device="cpu").generate(labels)


def test_a_model_that_begins_from_another_ones_frames(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "street", maps={"num_labels": 5}, maps_stage="ingest", first_frame="image")
    model = v2vkit.load(tmp_path, device="cpu")
    source = write_images(tmp_path / "labels", LABELS)
    with pytest.raises(V2VError, match="begins from frames of an image model, and there is none"):
        model.generate(LABELS)
    config = image_generator_config("tiny", source_channels=6, width=8, num_down=2, num_blocks=1)
    images = info.model_copy(update={"generator": config, "stage": "pix2pixhd"})
    save_model(Folder(f"{tmp_path}/checkpoints/pix2pixhd"), FrameGenerator(config).state_dict(), images)
    wanted = _rendered(source, model, tmp_path / "out")
    _same(model.generate(LABELS), wanted)
    named = v2vkit.load(tmp_path, device="cpu", first_frame_model=tmp_path / "checkpoints/pix2pixhd")
    _same(named.render(source), wanted)
    given = np.stack([data.astronaut()[:48, :64], data.astronaut()[1:49, :64]])
    begun = list(model.generate(LABELS, first_frames=torch.from_numpy(given)))
    np.testing.assert_array_equal(begun[:2], given)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (np.zeros((1, 48, 64, 3), np.uint8), "1 first frames are given; the model begins from 2"),
        (np.zeros((2, 40, 64, 3), np.uint8), "A first frame is 64x40; the model takes 64x48"),
        (np.zeros((2, 48, 64, 3)), "A first frame holds float64 numbers"),
        (7, "first_frames: int is not a sequence of frames"),
        ("nowhere", "nowhere"),
    ],
    ids=str,
)
def test_what_are_no_first_frames_gets_a_sentence(street: Model, first: Any, message: str) -> None:
    with pytest.raises(V2VError, match=message):
        street.generate(LABELS, first_frames=first)


# --- opening


def test_a_model_is_opened_by_workspace_folder_or_file(street: Model, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(street.work.url, work)
    shutil.copytree(work / "checkpoints/spatial-1", work / "checkpoints/spatial-2")
    shutil.copy(work / "checkpoints/spatial-1/model.safetensors", tmp_path / "anna.safetensors")
    wanted = list(street.generate(LABELS))
    for path, home in (
        (work, work),
        (f"{work}/", work),
        (work / "checkpoints/spatial-1", work),
        (work / "checkpoints/spatial-1/model.safetensors", work),
        (tmp_path / "anna.safetensors", tmp_path),
    ):
        model = v2vkit.load(path, device="cpu")
        assert model.work.url == str(home)
        _same(model.generate(LABELS), wanted)


def test_a_file_in_the_folder_where_one_works(street: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(f"{street.work.url}/checkpoints/spatial-1/model.safetensors", tmp_path / "anna.safetensors")
    shutil.copytree(f"{street.work.url}/checkpoints", tmp_path / "checkpoints")
    monkeypatch.chdir(tmp_path)
    for path in ("anna.safetensors", "checkpoints/spatial-1", "."):
        assert next(v2vkit.load(path, device="cpu").generate(LABELS)).shape == (48, 64, 3)


def test_what_is_no_model_gets_a_sentence(tmp_path: Path, street: Model) -> None:
    (tmp_path / "empty/checkpoints").mkdir(parents=True)
    (tmp_path / "damaged.safetensors").write_bytes(b"x" * 64)
    (tmp_path / "in.mp4").write_bytes(b"")
    for path, message in (
        ("nowhere", r"There is no model in .*nowhere\. Give a checkpoint's folder"),
        ("empty", "There is no trained model in"),
        ("empty/checkpoints", "There is no model in"),
        ("damaged.safetensors", r"damaged\.safetensors is not a v2vkit model"),
        ("in.mp4", r"in\.mp4 is no model file. Give a file that ends in \.safetensors"),
    ):
        with pytest.raises(V2VError, match=message):
            v2vkit.load(tmp_path / path)
    with pytest.raises(V2VError, match="There is no device 'gpu'"):
        v2vkit.load(street.work.url, device="gpu")
    with pytest.raises(V2VError, match="There is no precision 'int8'. Known: auto, fp32"):
        v2vkit.load(street.work.url, precision="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"align": True}, "--align frames a video anew, which .* is not"),
        ({"start": 1.0}, "--start and --duration choose a part of a video"),
        ({"fps": "fast"}, r"fps: a frame rate is a number or a fraction.*\(got 'fast'\)"),
    ],
)
def test_settings_without_a_meaning_are_refused_at_once(
    street: Model, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    source = write_images(tmp_path / "labels", LABELS)
    with pytest.raises(V2VError, match=message):
        street.render(source, **settings)
    run(SOURCE, FramesConfig(num_clips=1), RunOptions(work=str(tmp_path / "work"), workers=1))
    with pytest.raises(V2VError, match="is a workspace, not footage"):
        street.render(tmp_path / "work")


def test_a_model_that_takes_flow_generates_nothing_from_annotations_alone(street: Model) -> None:
    from dataclasses import replace
    from types import SimpleNamespace

    covst: Any = SimpleNamespace(config=SimpleNamespace(takes_flow=True))
    with pytest.raises(V2VError, match=r"flow that it is given. Use `model\.render\(workspace, maps=True\)`"):
        replace(street, generator=covst).generate(LABELS)


def test_tensors_become_arrays_and_other_values_stay() -> None:
    half = as_numpy(torch.ones(3, dtype=torch.bfloat16, requires_grad=True))
    assert half.dtype == np.float32
    untouched = People((Person(body()),), (64, 48))
    assert as_numpy(untouched) is untouched
