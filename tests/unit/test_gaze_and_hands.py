"""The irises as a channel of `face`, and the hands and faces of people with mediapipe."""

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from tests.errors import raises
from tests.faces import face_landmarks, photo
from tests.shared_data import SHARED, needs_shared
from tests.unit.ingesting import write_images
from tests.unit.rendering import conditioned, save_untrained
from tests.unit.video_files import write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.augment import Change, draw_affine, transform_points
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.face import FaceCondition, FaceLandmarks
from v2vkit.conditions.face_proportions import measure_face
from v2vkit.conditions.people import estimated_people
from v2vkit.conditions.people_files import people_from_json
from v2vkit.conditions.pose import PoseCondition
from v2vkit.conditions.sketch import draw_irises
from v2vkit.estimators.registry import open_estimator
from v2vkit.evaluation.metrics.contract import MISSED, OURS, REAL, Batch
from v2vkit.evaluation.metrics.iris_error import OPEN, gaze, iris_error
from v2vkit.evaluation.metrics.registry import open_metric, rows
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.estimate_pose import STAGE as POSES
from v2vkit.stages.estimate_pose import PoseConfig
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig
from v2vkit.stages.make_sketches import STAGE as SKETCHES
from v2vkit.stages.make_sketches import SketchConfig
from v2vkit.video.footage_source import open_video_source


def _irises(points: np.ndarray, look: float = 0.0, radius: float = 3.0) -> np.ndarray:
    """Two irises in the middle of the eyes, moved sideways by `look` pixels."""
    rim = np.array([(0, 0), (1, 0), (0, -1), (-1, 0), (0, 1)]) * radius
    eyes = [points[eye].mean(0) for eye in (slice(36, 42), slice(42, 48))]
    return np.concatenate([rim + np.array([x + look, y]) for x, y in eyes]).astype(np.float32)


def _face(look: float = 0.0) -> FaceLandmarks:
    points = face_landmarks()
    return FaceLandmarks(points, (128, 128), irises=_irises(points, look))


def _middle(channel: np.ndarray) -> float:
    return float(np.nonzero(channel)[1].mean())


def test_the_gaze_is_a_channel_of_its_own() -> None:
    plain, gaze = FaceCondition(canny=False), FaceCondition(canny=False, gaze=True)
    assert gaze.num_channels == plain.num_channels + 1
    ahead, aside = (gaze.channels(_face(look)) for look in (0, 4))
    np.testing.assert_array_equal(ahead[:-1], plain.channels(_face()))
    assert set(np.unique(ahead[-1])) == {0, 255}
    assert _middle(aside[-1]) - _middle(ahead[-1]) == pytest.approx(4, abs=0.3)
    assert (ahead[-1] > 0).sum() == pytest.approx(2 * np.pi * 3.5**2, rel=0.1)
    assert not gaze.channels(FaceLandmarks(face_landmarks(), (128, 128)))[-1].any(), "no irises known"
    assert not gaze.channels(FaceLandmarks(None, (128, 128)))[-1].any()
    assert plain.given(face_landmarks(), size=(128, 128)).points is not None
    with raises("irises-missing", "no irises"):
        gaze.given(face_landmarks(), size=(128, 128))
    assert gaze.given(_face(4), size=(128, 128)).irises is not None


def test_irises_are_kept_in_files_and_moved_with_the_face() -> None:
    condition = FaceCondition(canny=False, gaze=True)
    face = _face(2)
    files = FaceCondition.encode(condition.draw(face), estimator="e 1")
    read = FaceCondition.decode(files, size=(128, 128))
    assert read.irises is not None
    np.testing.assert_allclose(read.irises, face.irises, atol=1e-3)
    move = draw_affine(np.random.default_rng(0), 1.0, (128, 128))
    moved = condition.augment(face, Change(move))
    np.testing.assert_allclose(moved.irises, transform_points(face.irises, move), atol=1e-3)
    assert np.abs(moved.irises - face.irises).max() > 1
    without = FaceCondition.encode(condition.draw(FaceLandmarks(face.points, (128, 128))), estimator="e 1")
    assert b"irises" not in without["json"]


def test_a_damaged_iris_is_refused() -> None:
    files = FaceCondition.encode(FaceCondition(canny=False).draw(_face()), estimator="e 1")
    files["json"] = files["json"].replace(b'"irises": [[', b'"irises": [[1, 2], [')
    with raises("landmarks-damaged", "79"):
        FaceCondition.decode(files, size=(128, 128))


def test_irises_are_retargeted_with_their_eyes() -> None:
    condition = FaceCondition(canny=False, gaze=True)
    own, target = measure_face([face_landmarks(60, 60, 60)]), measure_face([face_landmarks(80, 70, 30)])
    moved = condition.retarget(_face(4), own, target)
    assert moved.irises is not None
    expected = _irises(face_landmarks(82, 70, 30), 2, 1.5)
    np.testing.assert_allclose(moved.irises, expected, atol=0.1)


def test_arrays_with_irises_are_taken() -> None:
    condition = FaceCondition(canny=False, gaze=True)
    face = _face()
    given = condition.given(face.all_points, size=(128, 128))
    assert given.irises is not None
    np.testing.assert_array_equal(given.irises, face.irises)
    with raises("array-mismatch"):
        condition.given(np.zeros((70, 2), np.float32), size=(128, 128))


def test_irises_beyond_the_frame_are_not_drawn() -> None:
    assert not draw_irises(np.full((10, 2), -1e5, np.float32), (64, 48)).any()
    assert draw_irises(None, (64, 48)).shape == (48, 64)


def _turned(points: np.ndarray, degrees: float, scale: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points @ turn.T + (7, -3)).astype(np.float32)


def test_iris_error_is_in_widths_of_the_eye() -> None:
    ahead, aside = (_face(look).all_points for look in (0, 4))
    assert ahead is not None
    assert aside is not None
    width = float(np.linalg.norm(ahead[36] - ahead[39]))
    assert iris_error(aside, ahead) == pytest.approx(4 / width, rel=1e-4)
    assert iris_error(_turned(aside, 20, 1.5), ahead) == pytest.approx(4 / width, rel=1e-4)
    place, opening = gaze(_turned(aside, 20, 1.5))
    np.testing.assert_allclose(place, [[4 / width, 0]] * 2, atol=1e-4)
    assert (opening > OPEN).all()


def test_closed_eyes_have_no_iris_error() -> None:
    ahead, aside = (_face(look).all_points for look in (0, 4))
    closed = aside.copy()
    closed[36:42, 1] = closed[36, 1]
    closed[68:73, 0] += 50
    width = float(np.linalg.norm(ahead[42] - ahead[45]))
    assert iris_error(ahead, closed) == pytest.approx(4 / width, rel=1e-4), "of the eye that is open"
    closed[42:48, 1] = closed[42, 1]
    assert iris_error(ahead, closed) is None


class _Looking:
    """Sees eyes that look the farther aside the brighter the picture is; no face in the dark."""

    name, version = "looking", "1"

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        return _face(float(image[0, 0, 0]) / 10).all_points if image.any() else None


def test_eyes_are_compared_with_those_of_the_real_frame() -> None:
    metrics = {
        row.name: open_metric(row, Setup(8, 8, {}, face=_Looking())) for row in rows(("landmark_error", "iris_error"))
    }
    images, real = ([np.full((8, 8, 3), level, np.uint8) for level in levels] for levels in ((50, 0, 50), (10, 10, 0)))
    landmarks = [face_landmarks()] * 3
    batch = Batch(OURS, "c", "c", range(3), images, real, beside={"landmarks": landmarks})
    width = float(np.linalg.norm(landmarks[0][36] - landmarks[0][39]))
    assert metrics["iris_error"].update(batch) == [pytest.approx(4 / width, rel=1e-3), MISSED, None]
    assert metrics["landmark_error"].update(batch) == [0, MISSED, 0], "landmarks of an estimator that adds irises"
    assert metrics["iris_error"].update(Batch(REAL, "c", "c", range(3), real, real)) == [None] * 3


def test_mediapipe_sees_where_a_face_looks(tmp_path: Path) -> None:
    """The irises lie within their eyes; stage and stream give the same."""
    pytest.importorskip("mediapipe")
    face = open_estimator("face", "mediapipe", gaze=True)(photo())
    assert face.shape == (78, 2)
    np.testing.assert_array_equal(face[:68], open_estimator("face", "mediapipe")(photo()))
    for eye, iris in ((slice(36, 42), face[68]), (slice(42, 48), face[73])):
        low, high = face[eye].min(0), face[eye].max(0)
        assert (iris > low - 1).all()
        assert (iris < high + 1).all()
    source = write_file(tmp_path / "in.mp4", [photo(96, 96, dx=t) for t in range(5)], options={"qp": "0"})
    options = RunOptions(work=str(tmp_path), workers=1)
    run(INGEST, IngestConfig(sources=(str(source),), cuts="none", lossless=True, min_frames=1), options)
    run(SKETCHES, SketchConfig(gaze=True), options)
    work = Folder(str(tmp_path))
    manifest = read_manifest(work / "sketches")
    assert manifest is not None
    conditioning = Conditioning.of(FaceCondition(gaze=True))
    info = save_untrained(tmp_path, "face", size=(96, 96), maps=manifest.config)
    info = ModelInfo.model_validate({**info.model_dump(), "conditioning": conditioning.model_dump()})
    reader = ClipReader(work, {"frames": read_manifest(work / "frames"), "sketches": manifest})
    frames = list(conditioned(source, info))
    assert frames[0].s.shape[0] == 16
    assert frames[0].s[-1].any()
    for t, frame in enumerate(frames):
        expected = reader.channels(conditioning, reader.clips[0].name, t) / np.float32(255)
        np.testing.assert_array_equal(frame.s, expected)


def test_dlib_knows_no_gaze(tmp_path: Path) -> None:
    write_images(tmp_path / "in", [photo(64, 64)] * 3)
    options = RunOptions(work=str(tmp_path / "w"), workers=1)
    run(INGEST, IngestConfig(sources=(str(tmp_path / "in"),), min_frames=1), options)
    with raises("setting-unused", "--gaze", "--face mediapipe"):
        run(SKETCHES, SketchConfig(face="dlib", weights="a.dat", gaze=True), options)


def test_mediapipe_finds_hands_and_the_face_of_a_person(tmp_path: Path) -> None:
    """The astronaut shows her face and no hands; parts that are not asked for are not there."""
    pytest.importorskip("mediapipe")
    image = data.astronaut()
    with_face = estimated_people(open_estimator("pose", "mediapipe", face=True, hands=True)(image), 0.2)
    assert with_face is not None
    (person,) = with_face
    assert person.face is not None
    assert person.face.shape == (70, 3)
    landmarks = open_estimator("face", "mediapipe")(image)
    assert np.abs(person.face[:68, :2] - landmarks).mean() < 0.06 * np.ptp(landmarks[:, 0])
    for pupil, eye in ((68, slice(36, 42)), (69, slice(42, 48))):
        assert (person.face[pupil, :2] > person.face[eye, :2].min(0) - 2).all()
        assert (person.face[pupil, :2] < person.face[eye, :2].max(0) + 2).all()
    (plain,) = estimated_people(open_estimator("pose", "mediapipe")(image), 0.2) or ()
    assert plain.face is None
    assert plain.left_hand is None
    np.testing.assert_allclose(person.body[:9], plain.body[:9], atol=0.02 * 512)
    nobody = open_estimator("pose", "mediapipe", hands=True)(np.zeros((64, 64, 3), np.uint8))
    assert nobody.shape[0] == 0


def test_hands_and_faces_are_drawn_and_written_with_openposes_keys(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    write_images(tmp_path / "in", [data.astronaut()[::2, ::2]] * 3)
    work = Folder(str(tmp_path / "w"))
    options = RunOptions(work=work.url, workers=1)
    run(INGEST, IngestConfig(sources=(str(tmp_path / "in"),), min_frames=1), options)
    drawings = []
    for face in (False, True):
        run(POSES, PoseConfig(face=face), RunOptions(work=work.url, workers=1, overwrite=True))
        manifest = read_manifest(work / "poses")
        assert manifest is not None
        reader = ClipReader(work, {"poses": manifest})
        name = reader.clips[0].name
        (person,) = people_from_json(reader.read("poses", name, 1, "json"))
        assert (b"face_keypoints_2d" in reader.read("poses", name, 1, "json")) == face
        assert (person.face is not None) == face
        drawings.append(reader.annotation(PoseCondition(), name, 1, "channels").skeleton)
    white = [(drawing.min(2) > 250).sum() for drawing in drawings]
    assert white[0] < white[1], "the lines of the face are white"


@needs_shared
def test_real_hands_are_found() -> None:
    pytest.importorskip("mediapipe")
    source = open_video_source(f"{SHARED}/real/pose/asl_signer_a_book.mp4")
    frames = [frame.image for frame in source.frames()][40:60:5]
    found = open_estimator("pose", "mediapipe", hands=True).batch(frames)
    people = [person for points in found for person in estimated_people(points, 0.2) or ()]
    hands = [person for person in people if person.left_hand is not None or person.right_hand is not None]
    assert len(hands) >= 3
    for person in hands:
        for hand, wrist in ((person.left_hand, 7), (person.right_hand, 4)):
            if hand is not None and person.body[wrist, 2] > 0.5:
                assert np.linalg.norm(hand[0, :2] - person.body[wrist, :2]) < 60


def test_openpose_files_have_their_own_hands(tmp_path: Path) -> None:
    write_images(tmp_path / "in", [photo(64, 64)] * 3)
    options = RunOptions(work=str(tmp_path / "w"), workers=1)
    run(INGEST, IngestConfig(sources=(str(tmp_path / "in"),), min_frames=1), options)
    with raises("setting-unused", "--hands", "--openpose"):
        run(POSES, PoseConfig(openpose=str(tmp_path), hands=True), options)
    with raises("setting-unused", "--hands", "--pose mediapipe"):
        run(POSES, PoseConfig(pose="yolo", weights="a.pt", hands=True), options)
