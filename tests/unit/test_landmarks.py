"""Landmarks in space and time: the forehead, gaps, smoothing as a stream, and the JSON on disk."""

import json
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import pytest

from tests.errors import raises
from tests.faces import face_landmarks
from v2vkit.conditions import smoothing
from v2vkit.conditions.landmarks import (
    FACE,
    INNER_POINTS,
    add_forehead,
    landmark_errors,
    landmarks_from_json,
    landmarks_to_json,
    outer_eye_distance,
    smooth_face,
)
from v2vkit.conditions.smoothing import HOLD_FRAMES

fill_gaps = partial(smoothing.fill_gaps, kind=FACE)


def smooth_landmarks(landmarks: Iterable[np.ndarray | None], window: int) -> Iterator[np.ndarray | None]:
    return smoothing.smooth(landmarks, FACE, window)


def at(x: float) -> np.ndarray:
    return np.full((68, 2), x, np.float32)


def xs(landmarks: list[np.ndarray | None]) -> list[float | None]:
    return [None if points is None else float(points[0, 0]) for points in landmarks]


def test_forehead_mirrors_the_jaw_at_two_thirds() -> None:
    face = face_landmarks(100, 80, 60)
    points = add_forehead(face)
    assert points.shape == (83, 2)
    np.testing.assert_array_equal(points[:68], face)
    for k in range(15):  # 68 lies over 15, 82 over 1
        np.testing.assert_allclose(points[68 + k, 0], face[15 - k, 0])
        np.testing.assert_allclose(points[68 + k, 1] - 80, -(face[15 - k, 1] - 80) * 2 / 3, atol=1e-4)
    assert points[75, 1] == points[68:, 1].min() < 80


def test_forehead_of_a_tilted_face_uses_the_mean_of_the_jaw_ends() -> None:
    face = face_landmarks()
    face[0, 1], face[16, 1] = 50, 60
    np.testing.assert_allclose(add_forehead(face)[75, 1], 55 - (face[8, 1] - 55) * 2 / 3, rtol=1e-5)


def test_landmark_errors_are_in_outer_eye_distances() -> None:
    truth = face_landmarks()
    assert outer_eye_distance(truth) == pytest.approx(float(truth[45, 0] - truth[36, 0]))
    estimate = truth.copy()
    estimate[:17, 0] += outer_eye_distance(truth)
    error = landmark_errors(estimate, truth)
    np.testing.assert_allclose(error[:17], 1, rtol=1e-5)
    assert error[INNER_POINTS].shape == (51,)
    assert error[INNER_POINTS].max() == 0


def test_short_gaps_are_interpolated() -> None:
    filled = list(fill_gaps([at(0), None, None, None, at(8), at(9)]))
    assert xs(filled) == [0, 2, 4, 6, 8, 9]


def test_ends_hold_the_nearest_face() -> None:
    assert xs(list(fill_gaps([None, None, at(3), at(4), None, None]))) == [3, 3, 3, 4, 4, 4]


def test_long_gaps_hold_and_then_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoothing, "HOLD_FRAMES", 3)
    filled = list(fill_gaps([at(0), *[None] * 7, at(4)]))
    assert xs(filled) == [0, 0, 0, 0, 0, 1, 2, 3, 4]


def test_nothing_is_shown_long_before_the_first_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoothing, "HOLD_FRAMES", 2)
    assert xs(list(fill_gaps([*[None] * 5, at(1)]))) == [None, None, None, 1, 1, 1]


def test_without_any_face_there_is_nothing() -> None:
    assert list(fill_gaps([None] * 40)) == [None] * 40
    assert list(fill_gaps([])) == []


@pytest.mark.parametrize("window", [2, 3, 4, 5, 9, 99])
@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_smoothing_keeps_length_and_constants(window: int, length: int) -> None:
    smooth = list(smooth_landmarks([at(7)] * length, window))
    assert len(smooth) == length
    np.testing.assert_allclose(np.array(smooth), 7, rtol=1e-6)


def test_smoothing_is_centred_and_damps_jitter() -> None:
    ramp = list(smooth_landmarks([at(t) for t in range(20)], 5))
    np.testing.assert_allclose([points[0, 0] for points in ramp[2:-2]], range(2, 18), rtol=1e-5)
    jitter = list(smooth_landmarks([at((-1) ** t) for t in range(20)], 5))
    assert np.abs(np.array(jitter[2:-2])).max() < 0.2
    peak = xs(list(smooth_landmarks([at(t == 10) for t in range(21)], 7)))
    assert peak == peak[::-1]
    assert peak[10] == max(value for value in peak if value is not None)
    assert peak[6] == peak[14] == 0


def test_smoothing_off_changes_nothing() -> None:
    values = [at(t * t) for t in range(5)]
    for window in (0, 1):
        np.testing.assert_array_equal(np.array(list(smooth_landmarks(values, window))), np.array(values))


def test_smoothing_leaves_blank_frames_blank_and_out_of_the_mean() -> None:
    smooth = list(smooth_landmarks([at(2), at(2), None, at(2), None, None, at(5)], 5))
    assert [points is None for points in smooth] == [False, False, True, False, True, True, False]
    np.testing.assert_allclose(np.array(smooth[:2]), 2, rtol=1e-6)
    np.testing.assert_allclose(smooth[6], 5, rtol=1e-6)


def _walk(length: int, seed: int) -> list[np.ndarray | None]:
    """Moving faces with gaps of all lengths."""
    rng = np.random.default_rng(seed)
    faces: list[np.ndarray | None] = []
    while len(faces) < length:
        if rng.random() < 0.3:
            faces += [None] * int(rng.integers(1, 2 * HOLD_FRAMES))
        faces += [face_landmarks(60 + rng.normal(), 60) for _ in range(int(rng.integers(1, 9)))]
    return faces[:length]


@pytest.mark.parametrize("smooth", [0, 3, 9])
@pytest.mark.parametrize("missing", ["hold", "blank"])
def test_a_frame_does_not_depend_on_what_comes_after_the_look_ahead(smooth: int, missing: str) -> None:
    """So a stream can be shown with a bounded delay and still gives what the whole clip gives."""
    faces = _walk(150, 1)
    look_ahead = smooth // 2 + (HOLD_FRAMES if missing == "hold" else 0)

    def followed(found: list[np.ndarray | None]) -> list[tuple]:
        frames = [np.full((2, 2, 3), t, np.uint8) for t in range(len(found))]
        return list(smooth_face(frames, lambda frame: found[frame[0, 0, 0]], smooth=smooth, missing=missing))

    whole = followed(faces)
    assert [frame[0, 0, 0] for frame, _, _ in whole] == list(range(150))
    assert [found for _, _, found in whole] == [face is not None for face in faces]
    for cut in (40, 77, 120):
        for (_, part, _), (_, full, _) in zip(followed(faces[:cut])[: cut - look_ahead], whole, strict=False):
            assert (part is None) == (full is None)
            if part is not None:
                np.testing.assert_array_equal(part, full)


@pytest.mark.parametrize(("smooth", "missing"), [(0, "hold"), (7, "hold"), (7, "blank")])
def test_follow_face_pulls_only_as_many_frames_as_it_needs(smooth: int, missing: str) -> None:
    faces, pulled = _walk(300, 2), []

    def frames():
        for t in range(300):
            pulled.append(t)
            yield np.full((1, 1, 3), t % 256, np.uint8)

    stream = smooth_face(frames(), lambda frame: faces[len(pulled) - 1], smooth=smooth, missing=missing)
    limit = smooth // 2 + (HOLD_FRAMES if missing == "hold" else 0)
    ahead = [pulled[-1] - t for t, _ in enumerate(stream)]
    assert len(ahead) == 300
    assert max(ahead) <= limit


def test_blank_policy_shows_nothing_where_nothing_was_found() -> None:
    faces = [face_landmarks(), None, face_landmarks(70)]
    frames = [np.full((1, 1, 3), t, np.uint8) for t in range(3)]
    blank = list(smooth_face(frames, lambda frame: faces[frame[0, 0, 0]], missing="blank"))
    assert [landmarks is None for _, landmarks, _ in blank] == [False, True, False]


def test_json_brings_back_exactly_what_was_drawn() -> None:
    frames = [np.zeros((120, 160, 3), np.uint8)]
    ((_, landmarks, found),) = smooth_face(frames, lambda frame: face_landmarks(50.12345, 60.98765, 61.7))
    data = landmarks_to_json(landmarks, found=found, size=(160, 120), estimator="test 1")
    read, size, found, _ = landmarks_from_json(data)
    assert found
    np.testing.assert_array_equal(read, landmarks)
    assert read is not None
    assert read.dtype == np.float32
    assert size == (160, 120)
    document = json.loads(data)
    assert document["found"] is True
    assert document["estimator"] == "test 1"


def test_json_without_a_face() -> None:
    data = landmarks_to_json(None, found=False, size=(3, 4), estimator="test 1")
    assert landmarks_from_json(data) == (None, (3, 4), False, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b"{}",
        b'{"landmarks": 3, "width": 1, "height": 1}',
        b'{"landmarks": [[1, 2]], "width": 1, "height": 1}',
        b"[" * 100_000,
        json.dumps({"landmarks": [[1, 2, 3]] * 68, "width": 1, "height": 1}).encode(),
        json.dumps({"landmarks": [["a", 2]] * 68, "width": 1, "height": 1}).encode(),
        json.dumps({"landmarks": [[float("nan"), 2]] * 68, "width": 1, "height": 1}).encode(),
        json.dumps({"landmarks": [[1e9, 2]] * 68, "width": 1, "height": 1}).encode(),
        b'{"landmarks": [[1' + b"0" * 400 + b', 2]], "width": 1, "height": 1}',
        json.dumps({"landmarks": None, "width": float("inf"), "height": 1}).encode(),
    ],
)
def test_hostile_json_is_refused(data: bytes) -> None:
    with raises("landmarks-damaged"):
        landmarks_from_json(data)
