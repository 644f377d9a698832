"""The face drawing and the face landmarks against data made by others (the published reference, dlib)."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.shared_data import SHARED, needs_shared
from v2vkit.artifacts.images import decode_image
from v2vkit.conditions.landmarks import INNER_POINTS, landmark_errors
from v2vkit.conditions.sketch import background_edges, distance_maps, draw_curves, draw_parts, draw_sketch
from v2vkit.estimators.registry import open_estimator

pytestmark = needs_shared


@pytest.fixture(params=["0", "1"])
def case(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    """One photo with integer landmarks and everything that the reference drew from them."""
    assert SHARED is not None
    folder: Path = SHARED / "parity" / "face_sketch"
    with (folder / f"{request.param}_landmarks68.csv").open() as lines:
        landmarks = np.array([[float(v) for v in row] for row in csv.reader(lines)], np.float32)
    with np.load(folder / f"{request.param}_distance.npz") as archive:
        distance = archive["distance"]
    read = {
        name: cv2.imread(str(folder / f"{request.param}_{name}.png"), cv2.IMREAD_UNCHANGED)
        for name in ("edges", "edges_canny", "parts")
    }
    frame = cv2.cvtColor(cv2.imread(str(folder / f"{request.param}_image.jpg")), cv2.COLOR_BGR2RGB)
    return {"landmarks": landmarks, "frame": frame, "distance": distance, **read}


def size_of(image: np.ndarray) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def share_within_one_pixel(pixels: np.ndarray, target: np.ndarray) -> float:
    near = cv2.dilate(target.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return float(near[pixels].mean())


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_curves_lie_within_one_pixel(case: dict[str, np.ndarray]) -> None:
    ours = draw_curves(case["landmarks"], size_of(case["edges"])) > 0
    theirs = case["edges"] > 0
    assert share_within_one_pixel(ours, theirs) >= 0.98
    assert share_within_one_pixel(theirs, ours) >= 0.98


def test_curves_are_nearly_the_same_pixels(case: dict[str, np.ndarray]) -> None:
    """The pen has the reference's size and position: one pixel off would drop this far below."""
    ours = draw_curves(case["landmarks"], size_of(case["edges"])) > 0
    assert iou(ours, case["edges"] > 0) >= 0.85


def test_every_part_overlaps(case: dict[str, np.ndarray]) -> None:
    ours = draw_parts(case["landmarks"], size_of(case["parts"]))
    assert [iou(ours == part, case["parts"] == part) >= 0.99 for part in range(7)] == [True] * 7


def test_distance_maps_differ_by_at_most_one_level(case: dict[str, np.ndarray]) -> None:
    ours = distance_maps(case["landmarks"], size_of(case["parts"]))
    assert ours.shape == case["distance"].shape
    difference = np.abs(ours.astype(int) - case["distance"].astype(int)).mean(axis=(1, 2))
    assert difference.max() <= 1


def test_background_edges(case: dict[str, np.ndarray]) -> None:
    background = case["parts"] == 0
    ours = background_edges(case["frame"], draw_parts(case["landmarks"], size_of(case["parts"]))) > 0
    theirs = (case["edges_canny"] > 0) & background
    both_curves = case["edges"] > 0  # the reference drew the contour over the background
    assert iou((ours | both_curves) & background, theirs) >= 0.95


def test_whole_sketch(case: dict[str, np.ndarray]) -> None:
    sketch, _ = draw_sketch(case["frame"], case["landmarks"])
    assert iou(sketch > 0, case["edges_canny"] > 0) >= 0.95


def test_mediapipe_agrees_with_dlibs_landmarks() -> None:
    """Five frames of 640 x 480 with a face of about 123 pixels; the labels were made by dlib."""
    pytest.importorskip("mediapipe")
    assert SHARED is not None
    estimator = open_estimator("face", "mediapipe")
    folder = SHARED / "real" / "face" / "landmarks68_imaginaire"
    pictures = sorted((folder / "images").glob("*.jpg"))
    assert len(pictures) == 5
    for picture in pictures:
        truth = np.array(json.loads((folder / "landmarks-dlib68" / f"{picture.stem}.json").read_text()), np.float32)
        assert np.ptp(truth[:, 0]) >= 100
        landmarks = estimator(decode_image(picture.read_bytes()))
        assert landmarks is not None
        error = landmark_errors(landmarks, truth)
        assert error[INNER_POINTS].mean() <= 0.035
        assert error.mean() <= 0.045
