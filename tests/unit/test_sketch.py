"""The drawing of faces: curves, parts, background edges, channels, and what must not break it."""

import sys

import cv2
import numpy as np
import pytest
from skimage.feature import canny

from tests.faces import face_landmarks, photo
from v2vkit.conditions import canny as edges
from v2vkit.conditions.curves import CURVES, NUM_CURVES, curve_pixels, strokes_of
from v2vkit.conditions.landmarks import add_forehead
from v2vkit.conditions.sketch import (
    NUM_CHANNELS,
    PARTS,
    background_edges,
    distance_maps,
    draw_curves,
    draw_parts,
    draw_sketch,
    face_channels,
)

SIZE = (140, 130)


def _near(canvas: np.ndarray, x: float, y: float) -> bool:
    """Whether something is drawn within one pixel of a point (the pen is two pixels wide)."""
    column, row = int(x), int(y)
    return bool(canvas[max(0, row - 2) : row + 2, max(0, column - 2) : column + 2].any())


def test_fourteen_curves_pass_through_their_landmarks() -> None:
    face = face_landmarks()
    points = add_forehead(face)
    curves = curve_pixels(face, SIZE)
    assert len(curves) == len(CURVES) == NUM_CURVES == 14
    for corners, (rows, columns) in zip(CURVES, curves, strict=True):
        canvas = np.zeros(SIZE[::-1], bool)
        canvas[rows, columns] = True
        assert all(_near(canvas, *points[corner]) for corner in corners)
        assert cv2.connectedComponents(canvas.astype(np.uint8))[0] == 2, "one piece without gaps"


def test_many_faces_at_once_have_the_strokes_that_each_has_alone() -> None:
    open_mouth = face_landmarks()
    open_mouth[54:60, 1] += 40
    profile = face_landmarks() * np.array([0.2, 1], np.float32)
    faces = [face_landmarks(), open_mouth, profile, face_landmarks() - 500, face_landmarks(3, 3, 0.1)]
    for face, strokes in zip(faces, strokes_of(faces), strict=True):
        (alone,) = strokes_of([face])
        assert len(alone.columns) > 0
        for one, other in zip(strokes, alone, strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(draw_curves(face, SIZE, strokes=strokes), draw_curves(face, SIZE))
    assert strokes_of([]) == []


def test_the_contour_is_closed_over_the_forehead() -> None:
    face = face_landmarks()
    canvas = np.zeros(SIZE[::-1], np.uint8)
    rows, columns = curve_pixels(face, SIZE)[0]
    canvas[rows, columns] = 255
    inside = face[[30, 57]].mean(0).astype(int)
    filled = cv2.floodFill(canvas.copy(), None, (int(inside[0]), int(inside[1])), 255)[1]
    assert not filled[0].any()
    assert not filled[:, 0].any(), "the fill must not leak out of the face"
    assert _near(canvas, *add_forehead(face)[75])


def test_straight_pieces_have_a_two_pixel_pen() -> None:
    rows, columns = list(curve_pixels(face_landmarks(64, 60, 60), SIZE))[3]
    canvas = np.zeros(SIZE[::-1], np.uint8)
    canvas[rows, columns] = 1
    assert set(canvas.sum(axis=1)[canvas.any(axis=1)]) <= {2, 3}


def test_the_nose_bridge_is_not_drawn() -> None:
    face = face_landmarks()
    assert not any(27 in corners for corners in CURVES)
    drawn = draw_curves(face, SIZE)
    assert not _near(drawn, *face[27])
    assert _near(drawn, *face[33])  # the nostrils


@pytest.mark.parametrize("mouth_open", [0.0, 0.6])
@pytest.mark.parametrize("x", [0, 64, 128])
@pytest.mark.parametrize("y", [0, 64, 128])
def test_the_drawing_is_the_union_of_the_curves(x: float, y: float, mouth_open: float) -> None:
    """Also at the borders of the frame, where part of the pen is outside."""
    face = face_landmarks(x, y, 70, mouth_open=mouth_open)
    canvas = np.zeros(SIZE[::-1], np.uint8)
    for rows, columns in curve_pixels(face, SIZE):
        canvas[rows, columns] = 255
    assert canvas.any()
    np.testing.assert_array_equal(draw_curves(face, SIZE), canvas)


def test_curves_move_with_the_landmarks() -> None:
    here, there = draw_curves(face_landmarks(50, 50), SIZE), draw_curves(face_landmarks(57, 61), SIZE)
    np.testing.assert_array_equal(here[:-11, :-7], there[11:, 7:])


@pytest.mark.parametrize("mouth_open", [0.0, 0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("width", [25, 60, 200])
def test_open_mouths_draw_no_stray_loops(mouth_open: float, width: float) -> None:
    """A parabola through the corner of a wide-open mouth runs far beyond it; what is drawn must stay at the lips."""
    face = face_landmarks(300, 200, width, mouth_open=mouth_open)
    lips = face[48:]
    margin = 0.06 * width + 2
    for rows, columns in curve_pixels(face, (600, 700))[10:]:
        assert len(rows)
        assert lips[:, 0].min() - margin <= columns.min() <= columns.max() <= lips[:, 0].max() + margin
        assert lips[:, 1].min() - margin <= rows.min() <= rows.max() <= lips[:, 1].max() + margin


def test_no_piece_vanishes_where_a_parabola_is_too_steep() -> None:
    face = face_landmarks(width=100, x=70)
    face[18] = face[17] + (0.3, -8)  # the brow turns back on itself: |quadratic coefficient| far above 1
    face[19] = face[17] + (6, -4)
    canvas = np.zeros(SIZE[::-1], bool)
    rows, columns = curve_pixels(face, SIZE)[1]
    canvas[rows, columns] = True
    assert all(_near(canvas, *face[corner]) for corner in (17, 18, 19))


def test_parts_are_where_the_landmarks_say() -> None:
    face = face_landmarks(70, 60, 80)
    parts = draw_parts(face, SIZE)
    assert parts.dtype == np.uint8
    assert len(PARTS) == 7
    expected = {1: (face[30] + face[2]) / 2, 2: face[17:22].mean(0), 3: face[[28, 31, 35]].mean(0)}
    expected |= {4: face[42:48].mean(0), 5: (face[51] + face[62]) / 2, 6: face[60:68].mean(0)}
    for part, (x, y) in expected.items():
        assert parts[int(y), int(x)] == part, PARTS[part]
    assert parts[2, 2] == 0
    forehead = add_forehead(face)[75]
    assert parts[int(forehead[1]) + 3, int(forehead[0])] == 1


def test_background_edges_are_absent_inside_the_face() -> None:
    frame = photo()
    face = face_landmarks(160, 145, 110)
    sketch, parts = draw_sketch(frame, face)
    background = background_edges(frame, parts)
    assert background[parts > 0].max() == 0
    assert (background[parts == 0] > 0).mean() > 0.02
    assert set(np.unique(sketch)) == {0, 255}
    np.testing.assert_array_equal(sketch, background | draw_curves(face, (320, 300)))
    whole = background_edges(frame, np.zeros_like(parts))
    np.testing.assert_array_equal(background, np.where(parts == 0, whole, 0))


def test_background_edges_are_those_of_scikit_image() -> None:
    """Filters and connected parts by OpenCV are a matter of speed only, at the border too."""
    for height, width in ((300, 320), (61, 47), (9, 40), (2, 12)):
        frame = photo(height, width)
        theirs = canny(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
        ours = background_edges(frame, np.zeros((height, width), np.uint8)) > 0
        assert (ours != theirs).mean() < 1e-4


def test_edges_do_not_need_scikit_images_inner_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that keeps it elsewhere gives the same edges, only slower."""
    gray = cv2.cvtColor(photo(120, 150), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    fast = edges.canny(gray)
    monkeypatch.setitem(sys.modules, "skimage.feature._canny_cy", None)
    np.testing.assert_array_equal(fast, edges.canny(gray))
    assert fast.any()
    assert not edges.canny(np.full((20, 20), 0.5, np.float32)).any()


def test_canny_can_be_left_out() -> None:
    frame, face = photo(130, 140), face_landmarks()
    sketch, parts = draw_sketch(frame, face, canny=False)
    np.testing.assert_array_equal(sketch, draw_curves(face, SIZE))
    np.testing.assert_array_equal(parts, draw_parts(face, SIZE))


def test_no_landmarks_give_empty_maps() -> None:
    sketch, parts = draw_sketch(photo(130, 140), None)
    assert sketch.shape == parts.shape == (130, 140)
    assert not sketch.any()
    assert not parts.any()
    channels = face_channels(None, sketch)
    assert channels[0].max() == 0
    assert channels[1:].min() == 255, "no curve anywhere is as far as it gets"


def test_distance_maps_are_a_third_of_the_city_block_distance() -> None:
    face = face_landmarks()
    maps = distance_maps(face, SIZE)
    assert maps.shape == (14, 130, 140)
    assert maps.dtype == np.uint8
    rng = np.random.default_rng(0)
    for index, (rows, columns) in enumerate(curve_pixels(face, SIZE)):
        assert (maps[index][rows, columns] == 0).all()
        for y, x in rng.integers(0, (130, 140), (25, 2)):
            nearest = np.min(np.abs(rows - y) + np.abs(columns - x))
            assert maps[index, y, x] == nearest // 3


def test_far_distances_saturate() -> None:
    maps = distance_maps(face_landmarks(30, 30, 20), (1000, 40))
    assert maps[:, :, -1].min() == 255


def test_channels_are_sketch_and_distances() -> None:
    frame, face = photo(130, 140), face_landmarks()
    sketch, _ = draw_sketch(frame, face)
    channels = face_channels(face, sketch)
    assert channels.shape == (NUM_CHANNELS, 130, 140)
    assert channels.dtype == np.uint8
    np.testing.assert_array_equal(channels[0], sketch)
    np.testing.assert_array_equal(channels[1:], distance_maps(face, SIZE))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (139, 129), (-10, 60), (64, 135)])
def test_faces_partly_outside_the_frame_are_cut_not_squeezed(x: float, y: float) -> None:
    """What is visible is what a larger frame shows there."""
    for draw in (draw_curves, draw_parts):
        large = draw(face_landmarks(x + 200, y + 200), (540, 530))[200:330, 200:340]
        assert large.any()
        assert (draw(face_landmarks(x, y), SIZE) != large).sum() <= 4  # rounding


@pytest.mark.parametrize("far", [500, -500, 9e4, -9e4])
def test_faces_wholly_outside_draw_nothing(far: float) -> None:
    face = face_landmarks(far, far)
    assert not draw_curves(face, SIZE).any()
    assert not draw_parts(face, SIZE).any()
    assert distance_maps(face, SIZE).min() == 255


def _degenerate() -> dict[str, np.ndarray]:
    face, rng = face_landmarks(), np.random.default_rng(0)
    column, row, wild = face.copy(), face.copy(), face.copy()
    column[:, 0], row[:, 1] = 40, 40
    wild[::3] = (2e4, -2e4)
    return {
        "point": np.full((68, 2), 30, np.float32),
        "column": column,
        "row": row,
        "repeated": np.repeat(face[::4], 4, axis=0),
        "random": rng.uniform(-50, 200, (68, 2)).astype(np.float32),
        "huge": (face - 64) * 1000,
        "wild": wild,
        "tiny": (face - 64) * 0.01 + 30,
    }


@pytest.mark.parametrize("kind", _degenerate())
def test_degenerate_landmarks_do_not_crash(kind: str) -> None:
    face = _degenerate()[kind].astype(np.float32)
    with np.errstate(all="raise"):
        sketch, parts = draw_sketch(photo(130, 140), face, canny=False)
    assert sketch.shape == parts.shape == (130, 140)
    assert face_channels(face, sketch).shape == (NUM_CHANNELS, 130, 140)
    if kind in ("point", "tiny"):
        assert 4 <= (sketch > 0).sum() <= 16


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 16)])
def test_tiny_frames(size: tuple[int, int]) -> None:
    width, height = size
    frame = np.zeros((height, width, 3), np.uint8)
    sketch, _ = draw_sketch(frame, face_landmarks(width / 2, height / 2, width))
    assert face_channels(face_landmarks(), sketch).shape == (15, height, width)
