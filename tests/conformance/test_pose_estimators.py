"""The contract of the `pose` task, run over every row of its table."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data

from tests.networks import needs_ultralytics, yolo_weights
from v2vkit.conditions.people import MID_HIP, NECK
from v2vkit.engine.local import LocalEngine
from v2vkit.engine.threads import map_in_threads, pool_calls
from v2vkit.estimators.base import PoseEstimator, estimate_all
from v2vkit.estimators.registry import open_estimator, open_estimators, rows_of

# Row of the table -> pixels by which a moved person's head and shoulders may miss the movement. `LEARNED` ones get
# random weights here: what they see is worth nothing, so that only the rest of the contract can be checked; that it is
# put in the right place is shown in tests/unit/test_ultralytics_models.py.
TOLERANCE = {"mediapipe": 3.5, "yolo": 0.0}
LEARNED = {"yolo"}
SHOULDERS = [2, 5]
UPPER_BODY = [0, 1, 2, 5, 15, 16, 17, 18]


def photo(height: int = 300, width: int = 300, *, dx: int = 0, dy: int = 0) -> np.ndarray:
    """A person to the hips, RGB uint8, 256 pixels high in the middle of a larger picture, moved by (dx, dy) pixels."""
    small = cv2.resize(data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    source = np.pad(small, ((200, 200), (200, 200), (0, 0)), mode="edge")
    left, top = 328 - width // 2 - dx, 328 - height // 2 - dy
    return np.ascontiguousarray(source[top : top + height, left : left + width])


@pytest.fixture(scope="module", params=list(TOLERANCE))
def name(request: pytest.FixtureRequest) -> str:
    if request.param in LEARNED:
        needs_ultralytics()
    else:
        pytest.importorskip(request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def settings(name: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if name not in LEARNED:
        return {}
    return {"weights": str(yolo_weights(tmp_path_factory.mktemp("weights") / "random.pt", "pose"))}


@pytest.fixture(scope="module")
def estimator(name: str, settings: dict[str, Any]) -> PoseEstimator:
    found: PoseEstimator = open_estimator("pose", name, **settings)
    return found


@pytest.fixture
def sees(name: str) -> None:
    if name in LEARNED:
        pytest.skip("random weights see nothing")


def found(estimator: PoseEstimator, image: np.ndarray) -> np.ndarray:
    """The first person, [25, 3]."""
    people = estimator(image)
    assert people.shape[1:] == (25, 3)
    assert len(people) >= 1
    return people[0]


def test_every_row_of_the_table_is_here() -> None:
    assert set(TOLERANCE) == set(rows_of("pose"))


def test_says_what_it_is(estimator: PoseEstimator, name: str) -> None:
    assert isinstance(estimator, PoseEstimator)
    assert estimator.name == name
    assert estimator.version


@pytest.mark.usefixtures("sees")
def test_gives_the_points_of_body_25(estimator: PoseEstimator) -> None:
    image = data.astronaut()
    before = image.copy()
    points = found(estimator, image)
    np.testing.assert_array_equal(image, before)
    assert points.dtype == np.float32
    assert points[:, 2].min() >= 0
    assert points[:, 2].max() <= 1
    assert points[UPPER_BODY, 2].min() > 0.5
    x, y = points[:, 0], points[:, 1]
    assert x[2] < x[NECK] < x[5], "her right shoulder is on the left of the image"
    assert x[17] < x[15] < x[16] < x[18]
    assert y[15] < y[0] < y[NECK] < y[MID_HIP]
    np.testing.assert_allclose(points[NECK, :2], points[SHOULDERS, :2].mean(0), atol=0.01)
    np.testing.assert_allclose(points[MID_HIP, :2], points[[9, 12], :2].mean(0), atol=0.01)
    assert 190 < x[0] < 260
    assert 90 < y[0] < 160


@pytest.mark.usefixtures("sees")
def test_points_out_of_sight_score_low(estimator: PoseEstimator) -> None:
    """Knees and feet are below the picture; small toes are in no back end here."""
    points = found(estimator, data.astronaut())
    assert points[[10, 11, 13, 14, 19, 22], 2].max() < 0.2
    missing = points[points[:, 2] == 0]
    np.testing.assert_array_equal(missing, 0)


@pytest.mark.usefixtures("sees")
@pytest.mark.parametrize(("dx", "dy"), [(6, 0), (-9, 0), (0, 7)])
def test_points_move_with_the_picture(estimator: PoseEstimator, name: str, dx: int, dy: int) -> None:
    moved = (found(estimator, photo(dx=dx, dy=dy)) - found(estimator, photo()))[UPPER_BODY, :2]
    np.testing.assert_allclose(moved.mean(0), [dx, dy], atol=TOLERANCE[name])


def test_identical_frames_give_identical_points(estimator: PoseEstimator, name: str, settings: dict[str, Any]) -> None:
    first = estimator(photo())
    kept = first.copy()
    for _ in range(3):
        np.testing.assert_array_equal(estimator(photo()), kept)
    np.testing.assert_array_equal(first, kept, err_msg="a result must not be overwritten by the next call")
    np.testing.assert_array_equal(open_estimator("pose", name, **settings)(photo()), kept)


def test_the_order_of_frames_does_not_matter(estimator: PoseEstimator) -> None:
    frames = [photo(dx=7 * k) for k in range(3)] + [np.zeros((90, 90, 3), np.uint8), photo(257, 301)]
    forwards = [estimator(frame) for frame in frames]
    backwards = [estimator(frame) for frame in reversed(frames)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("sees")
@pytest.mark.parametrize("size", [(301, 257), (255, 401), (131, 97)], ids=str)
def test_odd_sizes(estimator: PoseEstimator, size: tuple[int, int]) -> None:
    """Points scale with the picture, each side on its own."""
    height, width = size
    image = cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)
    points = found(estimator, image)[UPPER_BODY, :2] / (width, height)
    whole = found(estimator, data.astronaut())[UPPER_BODY, :2] / 512
    assert np.abs(points - whole).mean() < 0.03


@pytest.mark.usefixtures("sees")
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (2, 300), (16, 16), (128, 128)], ids=str)
def test_blank_frames_have_no_people(estimator: PoseEstimator, size: tuple[int, int]) -> None:
    for value in (0, 127, 255):
        people = estimator(np.full((*size, 3), value, np.uint8))
        assert people.shape == (0, 25, 3)
        assert people.dtype == np.float32


def test_frames_need_not_be_contiguous(estimator: PoseEstimator) -> None:
    image = photo()
    mirrored = np.ascontiguousarray(image[:, ::-1])
    np.testing.assert_array_equal(estimator(image[:, ::-1]), estimator(mirrored))
    inside = np.pad(image, ((5, 5), (8, 8), (0, 0)))[5:-5, 8:-8]
    np.testing.assert_array_equal(estimator(inside), estimator(image))


def test_several_at_once_give_the_same_bits(estimator: PoseEstimator, name: str, settings: dict[str, Any]) -> None:
    frames = [photo(dx=2 * k, dy=-k) for k in range(6)]
    several = open_estimators("pose", name, **settings)
    together = list(map_in_threads(pool_calls(several), frames, threads=len(several)))
    for one, frame in zip(together, frames, strict=True):
        np.testing.assert_array_equal(one, estimator(frame))


def test_several_together_give_the_same_bits(estimator: PoseEstimator) -> None:
    """Frames of other sizes and frames with nothing in them among them."""
    frames = [photo(), np.zeros((90, 120, 3), np.uint8), photo(dx=5)[:, ::-1], photo(257, 290), photo(), photo()[1:]]
    for _ in range(2):
        together = estimate_all(estimator, frames)
        assert len(together) == len(frames)
        for one, frame in zip(together, frames, strict=True):
            np.testing.assert_array_equal(one, estimator(frame))
    assert estimate_all(estimator, []) == []


def _open_in_worker(case: tuple[str, dict[str, Any]]) -> Callable[[int], bytes]:
    estimator = open_estimator("pose", case[0], **case[1])
    return lambda dx: found(estimator, photo(dx=dx)).tobytes()


@pytest.mark.slow
def test_spawned_workers_give_the_same_bits(name: str, settings: dict[str, Any]) -> None:
    here = _open_in_worker((name, settings))
    with LocalEngine(_open_in_worker, (name, settings), workers=2) as engine:
        results = dict(engine.map([-5, 0, 3, 8]))
    assert results == {dx: here(dx) for dx in (-5, 0, 3, 8)}


@pytest.mark.slow
@pytest.mark.usefixtures("sees")
def test_it_is_silent(name: str) -> None:
    """No environment variable stops MediaPipe's log lines, so the adapter does."""
    code = (
        "from skimage import data\n"
        "from v2vkit.estimators.registry import open_estimator\n"
        f"pose = open_estimator('pose', '{name}')\n"
        "import numpy, sys, time\n"
        "time.sleep(0.5)\n"
        "assert len(pose(numpy.zeros((99, 99, 3), numpy.uint8))) == 0 and len(pose(data.astronaut())) == 1\n"
        "assert len(pose(data.astronaut()[:400])) == 1\n"
        "print('still there', file=sys.stderr)\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["still there"]
