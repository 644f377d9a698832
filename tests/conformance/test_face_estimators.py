"""The contract of the `face` task, run over every row of its table."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from tests.faces import photo, train_dlib_predictor
from v2vkit.engine.local import LocalEngine
from v2vkit.engine.threads import map_in_threads, pool_calls
from v2vkit.estimators.base import FaceEstimator, estimate_all
from v2vkit.estimators.registry import open_estimator, open_estimators, rows_of

# Row of the table -> pixels by which a moved face's landmarks may miss the movement: mediapipe cuts its regions at
# sub-pixel places, and the predictor trained here knows little.
TOLERANCE = {"mediapipe": 1.0, "dlib": 2.0}


@pytest.fixture(scope="module", params=list(TOLERANCE))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    pytest.importorskip(request.param)
    if request.param == "dlib":
        path = train_dlib_predictor(tmp_path_factory.mktemp("weights") / "tiny.dat")
        return request.param, {"weights": str(path)}
    return request.param, {}


@pytest.fixture(scope="module")
def estimator(case: tuple[str, dict[str, Any]]) -> FaceEstimator:
    found: FaceEstimator = open_estimator("face", case[0], **case[1])
    return found


def found(estimator: FaceEstimator, image: np.ndarray) -> np.ndarray:
    landmarks = estimator(image)
    assert landmarks is not None
    return landmarks


def test_every_row_of_the_table_is_here() -> None:
    assert set(TOLERANCE) == set(rows_of("face"))


def test_says_what_it_is(estimator: FaceEstimator, case: tuple[str, dict[str, Any]]) -> None:
    assert isinstance(estimator, FaceEstimator)
    assert estimator.name == case[0]
    assert estimator.version


def test_gives_68_points_of_a_face_in_dlib_order(estimator: FaceEstimator) -> None:
    image = photo()
    before = image.copy()
    points = found(estimator, image)
    np.testing.assert_array_equal(image, before)
    assert points.shape == (68, 2)
    assert points.dtype == np.float32
    right_eye, left_eye = points[36:42].mean(0), points[42:48].mean(0)
    nose, mouth, chin = points[31:36].mean(0), points[48:60].mean(0), points[8]
    assert right_eye[0] < nose[0] < left_eye[0], "the person's right eye is on the left of the image"
    assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1] < chin[1]
    assert points[0, 0] < points[36, 0] < points[45, 0] < points[16, 0]
    assert points[17:27, 1].max() < min(right_eye[1], left_eye[1])
    assert points[48, 0] < points[51, 0] < points[54, 0]
    assert points[51, 1] < points[62, 1] < points[66, 1] + 1 < points[57, 1] + 1
    assert 100 < points.mean(0)[0] < 220
    assert 90 < points.mean(0)[1] < 220


@pytest.mark.parametrize(("dx", "dy"), [(6, 0), (0, 7), (-9, 4)])
def test_landmarks_move_with_the_picture(
    estimator: FaceEstimator, case: tuple[str, dict[str, Any]], dx: int, dy: int
) -> None:
    moved = found(estimator, photo(dx=dx, dy=dy)) - found(estimator, photo())
    np.testing.assert_allclose(moved.mean(0), [dx, dy], atol=TOLERANCE[case[0]])
    assert np.linalg.norm(moved - (dx, dy), axis=1).mean() < 2 * TOLERANCE[case[0]]


def test_identical_frames_give_identical_landmarks(estimator: FaceEstimator, case: tuple[str, dict[str, Any]]) -> None:
    first = found(estimator, photo())
    kept = first.copy()
    for _ in range(3):
        np.testing.assert_array_equal(found(estimator, photo()), kept)
    np.testing.assert_array_equal(first, kept, err_msg="a result must not be overwritten by the next call")
    np.testing.assert_array_equal(found(open_estimator("face", case[0], **case[1]), photo()), kept)


def test_the_order_of_frames_does_not_matter(estimator: FaceEstimator) -> None:
    frames = [photo(dx=7 * k, dy=-3 * k) for k in range(3)] + [np.zeros((90, 90, 3), np.uint8), photo(257, 301)]
    forwards = [estimator(frame) for frame in frames]
    backwards = [estimator(frame) for frame in reversed(frames)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("size", [(301, 257), (255, 401), (400, 231)], ids=str)
def test_odd_sizes(estimator: FaceEstimator, case: tuple[str, dict[str, Any]], size: tuple[int, int]) -> None:
    """Cutting away the surroundings moves the landmarks by as much as was cut."""
    height, width = size
    whole = found(estimator, photo(400, 402))
    points = found(estimator, photo(height, width)) + np.array([201 - width // 2, 200 - height // 2])
    np.testing.assert_allclose(points.mean(0), whole.mean(0), atol=2 * TOLERANCE[case[0]])


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (2, 300), (16, 16), (128, 128)], ids=str)
def test_blank_frames_have_no_face(estimator: FaceEstimator, size: tuple[int, int]) -> None:
    for value in (0, 127, 255):
        assert estimator(np.full((*size, 3), value, np.uint8)) is None


def test_frames_need_not_be_contiguous(estimator: FaceEstimator) -> None:
    image = photo(300, 321)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    np.testing.assert_array_equal(found(estimator, image[:, ::-1]), found(estimator, mirrored))
    inside = np.pad(image, ((5, 5), (8, 8), (0, 0)))[5:-5, 8:-8]
    np.testing.assert_array_equal(found(estimator, inside), found(estimator, image))


def test_the_larger_face_is_the_prominent_one(estimator: FaceEstimator) -> None:
    large, small = photo(), cv2.resize(photo(), (224, 210), interpolation=cv2.INTER_AREA)
    for place in (slice(0, 210), slice(90, 300)):
        both = np.full((300, 560, 3), 60, np.uint8)
        both[:, 240:], both[place, :224] = large, small
        assert found(estimator, both)[:, 0].min() > 240
        assert found(estimator, np.ascontiguousarray(both[:, ::-1]))[:, 0].max() < 320


def test_several_at_once_give_the_same_bits(estimator: FaceEstimator, case: tuple[str, dict[str, Any]]) -> None:
    frames = [photo(dx=2 * k, dy=-k) for k in range(6)]
    several = open_estimators("face", case[0], **case[1])
    together = list(map_in_threads(pool_calls(several), frames, threads=len(several)))
    for one, frame in zip(together, frames, strict=True):
        np.testing.assert_array_equal(one, found(estimator, frame))


def test_several_together_give_the_same_bits(estimator: FaceEstimator) -> None:
    """Frames of other sizes and frames with nothing in them among them."""
    frames = [photo(), np.zeros((90, 120, 3), np.uint8), photo(dx=5)[:, ::-1], photo(257, 290), photo(), photo()[1:]]
    for _ in range(2):
        together = estimate_all(estimator, frames)
        assert len(together) == len(frames)
        for one, frame in zip(together, frames, strict=True):
            np.testing.assert_array_equal(one, estimator(frame))
    assert estimate_all(estimator, []) == []


def _open_in_worker(case: tuple[str, dict[str, Any]]) -> Callable[[int], bytes]:
    estimator = open_estimator("face", case[0], **case[1])
    return lambda dx: found(estimator, photo(dx=dx)).tobytes()


@pytest.mark.slow
def test_spawned_workers_give_the_same_bits(case: tuple[str, dict[str, Any]]) -> None:
    here = _open_in_worker(case)
    with LocalEngine(_open_in_worker, case, workers=2) as engine:
        results = dict(engine.map([-5, 0, 3, 8]))
    assert results == {dx: here(dx) for dx in (-5, 0, 3, 8)}
