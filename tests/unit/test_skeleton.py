"""The drawing of skeletons: colours, strokes, missing points, several people, and dropped parts."""

from dataclasses import replace

import numpy as np
import pytest

from tests.people import body, person
from v2vkit.conditions import skeleton
from v2vkit.conditions.people import Person
from v2vkit.conditions.skeleton import (
    LIMBS,
    default_stroke,
    draw_people,
    drop_parts,
    skeleton_channels,
)

SIZE = (64, 96)
RIGHT_UPPER_ARM, LEFT_UPPER_ARM = (153, 102, 0), (51, 153, 0)


def two_points(first: tuple[float, float], last: tuple[float, float], limb: int = 4) -> Person:
    """A person with one limb."""
    points = np.zeros((25, 3), np.float32)
    points[LIMBS[limb][0]], points[LIMBS[limb][1]] = (*first, 1), (*last, 1)
    return Person(points)


def around(drawing: np.ndarray, point: np.ndarray) -> np.ndarray:
    """The nine pixels around a point (x, y)."""
    x, y = point.astype(int)
    return drawing[y - 1 : y + 2, x - 1 : x + 2]


def test_there_are_24_limbs_in_their_colours() -> None:
    assert len(LIMBS) == 24
    assert {point for first, last, _ in LIMBS for point in (first, last)} == set(range(25))
    colors = {(first, last): color for first, last, color in LIMBS}
    assert colors[2, 3] == RIGHT_UPPER_ARM
    assert colors[5, 6] == LEFT_UPPER_ARM
    assert colors[0, 1] == (153, 0, 51)
    assert colors[19, 20] == colors[13, 14] == (0, 0, 153)


def test_a_limb_is_a_straight_stroke_with_discs_at_its_ends() -> None:
    """Half-width 3: six pixels across; discs of radius 6 around the points; the colour of nose and neck."""
    drawing = draw_people((two_points((30, 20), (30, 70)),), SIZE, stroke=3)
    drawn = drawing.any(2)
    across = np.flatnonzero(drawn[45])
    assert across.tolist() == list(range(27, 33))
    assert np.array_equal(np.unique(drawing[45, 27:33], axis=0), [[153, 0, 51]])
    y, x = np.argwhere(drawn).T
    assert (x.min(), x.max(), y.min(), y.max()) == (25, 35, 15, 75)
    assert np.flatnonzero(drawn[20]).tolist() == list(range(25, 36))


@pytest.mark.parametrize(("height", "stroke"), [(1, 1), (64, 1), (128, 1), (256, 2), (512, 3), (1080, 6)])
def test_strokes_grow_with_the_frame(height: int, stroke: int) -> None:
    assert default_stroke(height) == stroke
    size = (64, height)
    someone = (two_points((30, height * 0.3), (30, height * 0.6)),)
    np.testing.assert_array_equal(draw_people(someone, size), draw_people(someone, size, stroke=stroke))


def test_small_frames_keep_thin_lines() -> None:
    drawing = draw_people((Person(body(32, 2, 60)),), (64, 64))
    assert 0.03 < drawing.any(2).mean() < 0.25


def test_hands_and_faces_are_finer() -> None:
    someone = person(100, 8, 180)
    whole = draw_people((someone,), (200, 200), stroke=6)
    plain = draw_people((replace(someone, face=None, left_hand=None, right_hand=None),), (200, 200), stroke=6)
    assert (whole != plain).any(2).sum() > 200
    brow = np.zeros((70, 3), np.float32)
    brow[17:22, 0], brow[17:22, 1:] = np.linspace(20, 60, 5), (50, 1)
    drawn = draw_people((Person(np.zeros((25, 3), np.float32), face=brow),), (200, 200), stroke=6)
    assert (drawn[48:52, 26] == 255).all()
    assert (drawn[:, 25] > 0).any(1).sum() == 4, "a third of the body's twelve pixels"


def test_missing_points_take_their_limbs_with_them() -> None:
    points = body()
    points[3] = (*points[3, :2], 0.01)  # the threshold itself does not pass
    with_elbow, without = draw_people((Person(body()),), SIZE), draw_people((Person(points),), SIZE)
    elbow = tuple(body()[3, :2].astype(int))
    assert with_elbow[elbow[1], elbow[0]].any()
    assert not without[elbow[1], elbow[0]].any()
    left = tuple(body()[6, :2].astype(int))
    assert without[left[1], left[0]].any()


def test_a_line_of_the_face_or_a_finger_needs_all_its_points() -> None:
    someone = person()
    assert someone.face is not None
    assert someone.left_hand is not None
    alone = Person(np.zeros((25, 3), np.float32), face=someone.face.copy(), left_hand=someone.left_hand.copy())
    assert alone.face is not None
    assert alone.left_hand is not None
    alone.face[:, 2] = 0.1
    alone.left_hand[:, 2] = 0.01
    assert not draw_people((alone,), SIZE).any()
    alone.face[17:22, 2] = 0.11
    one_brow = draw_people((alone,), SIZE).any(2).sum()
    assert one_brow > 0
    alone.face[22:26, 2] = 0.11
    assert draw_people((alone,), SIZE).any(2).sum() == one_brow
    alone.left_hand[[0, 9, 10, 11, 12], 2] = 0.02
    finger = draw_people((alone,), SIZE)
    assert ((finger[..., 1] > 100) & (finger[..., 0] == 0)).any(), "the middle finger is green"


def test_crossing_strokes_are_averaged() -> None:
    points = np.zeros((25, 3), np.float32)
    points[[1, 8]] = (30, 20, 1), (30, 70, 1)  # upright, (153, 0, 0)
    points[[6, 7]] = (10, 45, 1), (50, 45, 1)  # level, (0, 153, 0)
    drawing = draw_people((Person(points),), SIZE, stroke=1)
    assert drawing[60, 30].tolist() == [153, 0, 0]
    crossing = drawing[44:46, 29:31].reshape(-1, 3)
    assert (crossing[:, 0] < 153).all()
    assert (crossing[:, 1] > 50).all()
    assert (crossing > 0)[:, :2].any()


def test_copies_drawn_at_once_equal_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the copies of a stroke overlap each other, and other strokes."""
    rng = np.random.default_rng(0)
    people = []
    for spread in (2, 5, 10, 30):
        points = np.concatenate([rng.normal(40, spread, (25, 2)), np.ones((25, 1))], 1).astype(np.float32)
        people.append(Person(points))
    drawn = [draw_people((one,), (80, 80), stroke=stroke) for one in people for stroke in (1, 2, 3)]
    monkeypatch.setattr(skeleton, "_independent", lambda shifts, _: [np.array([shift]) for shift in shifts])
    slowly = [draw_people((one,), (80, 80), stroke=stroke) for one in people for stroke in (1, 2, 3)]
    np.testing.assert_array_equal(drawn, slowly)


def test_people_are_added_up() -> None:
    one, other = Person(body(20, 4, 80)), Person(body(44, 6, 80))
    both = draw_people((one, other), SIZE).astype(int)
    alone = [draw_people((somebody,), SIZE).astype(int) for somebody in (one, other)]
    np.testing.assert_array_equal(both, np.minimum(sum(alone), 255))
    twice = draw_people((one, one), SIZE)
    assert twice.max() == 255


def test_nobody_is_black() -> None:
    for people in (None, (), (Person(np.zeros((25, 3), np.float32)),)):
        drawing = draw_people(people, SIZE)
        assert drawing.shape == (96, 64, 3)
        assert drawing.dtype == np.uint8
        assert not drawing.any()


def test_cutting_the_frame_cuts_the_drawing() -> None:
    """People who are partly outside are drawn as far as they are inside, and nothing wraps around."""
    wide = draw_people((Person(body(60, 20, 88)),), (120, 130), stroke=2)
    cut = draw_people((Person(body(60 - 50, 20 - 30, 88)),), (50, 80), stroke=2)
    np.testing.assert_array_equal(cut.any(2), wide[30:110, 50:100].any(2))
    assert (np.abs(cut.astype(int) - wide[30:110, 50:100]).max(2) > 0).mean() < 0.01
    for x, y in ((-5000, 10), (90_000, 10), (10, -90_000)):
        assert not draw_people((Person(body(x, y)),), SIZE).any()


def test_huge_limbs_are_drawn_in_no_time() -> None:
    drawing = draw_people((two_points((-1e5, 48), (1e5, 48)),), SIZE)
    assert drawing[48].any(1).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 16)])
def test_tiny_frames(size: tuple[int, int]) -> None:
    width, height = size
    assert draw_people((person(width / 2, 0, height),), size).shape == (height, width, 3)


def test_channels_are_the_colours() -> None:
    drawing = draw_people((person(),), SIZE)
    s = skeleton_channels(drawing)
    assert s.shape == (3, 96, 64)
    assert s.dtype == np.uint8
    np.testing.assert_array_equal(s.transpose(1, 2, 0), drawing)


def test_each_part_is_dropped_with_its_probability() -> None:
    """Binomial: over 20,000 people the share stays within 5 standard deviations (0.0077) of 0.05."""
    count, probability = 20_000, 0.05
    dropped = drop_parts((person(),) * count, np.random.default_rng(0), probability)
    limbs = np.array([[limb in one.hidden for limb in range(24)] for one in dropped])
    whole = np.array([[one.face is None, one.left_hand is None, one.right_hand is None] for one in dropped])
    every = np.concatenate([limbs, whole], 1)
    bound = 5 * np.sqrt(probability * (1 - probability) / count)
    assert np.abs(every.mean(0) - probability).max() < bound
    together = np.corrcoef(every.T.astype(float)) - np.eye(27)
    assert np.abs(together).max() < 5 / np.sqrt(count), "parts are dropped independently"


def test_dropping_is_seeded_and_leaves_the_people_alone() -> None:
    people = (person(),) * 50
    first, again = (drop_parts(people, np.random.default_rng(3), 0.3) for _ in range(2))
    other = drop_parts(people, np.random.default_rng(4), 0.3)
    assert [one.hidden for one in first] == [one.hidden for one in again]
    assert [one.hidden for one in first] != [one.hidden for one in other]
    assert not people[0].hidden
    np.testing.assert_array_equal(first[0].body, people[0].body)
    assert all(not one.hidden and one.face is not None for one in drop_parts(people, np.random.default_rng(0), 0.0))
    (nothing,) = drop_parts((person(),), np.random.default_rng(0), 1.0)
    assert not draw_people((nothing,), SIZE).any()


def test_a_dropped_limb_is_not_drawn_and_its_neighbours_are() -> None:
    someone = Person(body(), hidden=frozenset({7}))  # the right upper arm
    drawing = draw_people((someone,), SIZE, stroke=1)
    upper = (body()[2, :2] + body()[3, :2]) / 2
    lower = (body()[3, :2] + body()[4, :2]) / 2
    assert not around(drawing, upper).any()
    assert around(drawing, lower).any()
