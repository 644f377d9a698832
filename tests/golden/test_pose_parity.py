"""The drawing of skeletons and the body key points against data made by others (the published reference, OpenPose)."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.shared_data import SHARED, needs_shared
from v2vkit.artifacts.images import decode_image
from v2vkit.conditions.people_files import people_from_json
from v2vkit.conditions.skeleton import draw_people
from v2vkit.estimators.registry import open_estimator
from v2vkit.video.decode import decode

pytestmark = needs_shared


@pytest.fixture(params=["0", "1"])
def case(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Our drawing and the reference's, both RGB uint8 1920 x 1080."""
    assert SHARED is not None
    folder: Path = SHARED / "parity" / "pose_map"
    people = people_from_json((folder / f"{request.param}_openpose.json").read_bytes())
    theirs = decode_image((folder / f"{request.param}_pose.png").read_bytes())
    return draw_people(people, (theirs.shape[1], theirs.shape[0]), stroke=3), theirs


def share_within_one_pixel(pixels: np.ndarray, target: np.ndarray) -> float:
    near = cv2.dilate(target.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return float(near[pixels].mean())


def test_strokes_lie_within_one_pixel(case: tuple[np.ndarray, np.ndarray]) -> None:
    ours, theirs = (picture.any(2) for picture in case)
    assert theirs.sum() > 10_000
    assert share_within_one_pixel(ours, theirs) >= 0.98
    assert share_within_one_pixel(theirs, ours) >= 0.98


def test_colours_are_the_same(case: tuple[np.ndarray, np.ndarray]) -> None:
    """Over the pixels that either of them colours, which is far stricter than over the whole picture."""
    ours, theirs = case
    drawn = ours.any(2) | theirs.any(2)
    difference = np.abs(ours.astype(int) - theirs)[drawn]
    assert difference.mean() <= 1
    assert (difference.max(1) == 0).mean() >= 0.999


# Shoulders, elbows, wrists, hips, knees, ankles (left, right), then the neck, in BODY_25 and in BODY_25B.
OURS, THEIRS = [5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11], [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
THEIR_NECK, THEIR_HIPS = 17, [11, 12]


def test_mediapipe_agrees_with_openpose() -> None:
    """Every fourth frame of a man of about 230 pixels on a treadmill, seen from behind; labels by OpenPose."""
    pytest.importorskip("mediapipe")
    assert SHARED is not None
    estimator = open_estimator("pose", "mediapipe")
    folder = SHARED / "real" / "pose"
    files = sorted((folder / "balance_cam03_openpose_scaled").glob("*.json"))
    frames = [frame.image for frame in decode(str(folder / "balance_cam03.mp4"))]
    assert len(files) == len(frames) == 100
    errors = []
    for file, frame in list(zip(files, frames, strict=True))[::4]:
        truth = np.array(json.loads(file.read_text())["people"][0]["pose_keypoints_2d"]).reshape(25, 3)
        found = estimator(frame)
        assert len(found) == 1
        torso = np.linalg.norm(truth[THEIR_NECK, :2] - truth[THEIR_HIPS, :2].mean(0))
        errors.append(np.linalg.norm(found[0, OURS, :2] - truth[THEIRS, :2], axis=1)[truth[THEIRS, 2] > 0] / torso)
    error = np.concatenate(errors)
    assert error.mean() <= 0.1
    assert np.median(error) <= 0.07
