"""Alignment: the placement of a subject, and windows that move it to another."""

import numpy as np
import pytest

from tests.faces import face_landmarks
from tests.people import body
from v2vkit.conditions.alignment import Placement, median_placement, place_face, place_people
from v2vkit.conditions.people import Person
from v2vkit.inference.framing import align_window
from v2vkit.video.framing import Window, reframe


def test_the_placement_of_a_face_follows_shift_and_scale() -> None:
    face = face_landmarks(0, 0, 60)
    here, there = place_face(face), place_face(face * 1.5 + np.float32([30, -7]))
    assert here is not None
    assert there is not None
    assert (there.x, there.y) == pytest.approx((1.5 * here.x + 30, 1.5 * here.y - 7), abs=1e-3)
    assert there.size == pytest.approx(1.5 * here.size, rel=1e-5)
    assert here.x == pytest.approx(0, abs=0.01)
    assert 0 < here.size < 30
    assert place_face(None) is None
    assert place_face(np.zeros((68, 2), np.float32)) is None


def test_people_are_placed_by_the_head_and_shoulders_of_the_largest() -> None:
    small, large = Person(body(20, 4, 40)), Person(body(60, 4, 88))
    placed = place_people((small, large))
    assert placed == place_people((large,))
    assert placed is not None
    assert placed.x == pytest.approx(60, abs=0.1)
    raised = large.body.copy()
    raised[4, :2] = (10, 0)  # an arm does not count
    assert place_people((Person(raised),)) == placed
    hidden = large.body.copy()
    hidden[0, 2] = 0  # seen from behind
    assert place_people((small, Person(hidden))) == place_people((small,))
    assert place_people((Person(hidden),)) is None
    assert place_people(()) is None
    assert place_people(None) is None


def test_median_placement_ignores_missing_subjects() -> None:
    rows = [Placement(x=x, y=2 * x, size=size) for x, size in ((1, 9), (3, 4), (90, 5))]
    assert median_placement([rows[0], None, rows[1], rows[2]]) == Placement(x=3, y=6, size=5)
    assert median_placement([None, None]) is None


@pytest.mark.parametrize("window", [Window(0, 0, 400, 300), Window(50, 20, 200, 150)])
@pytest.mark.parametrize(("wanted", "size"), [((60, 60), 20), ((30, 90), 7), ((100, 20), 50)])
def test_an_aligned_window_puts_the_subject_where_it_is_wanted(window: Window, wanted: tuple, size: float) -> None:
    """Of 128x128 pixels, whatever the window was before; landmarks go through both as the picture does."""
    target = Placement(x=wanted[0], y=wanted[1], size=size)
    face = face_landmarks(180, 90, 70)

    def seen(part: Window) -> Placement:
        found = place_face((face - (part.x, part.y)) * (128 / part.width, 128 / part.height))
        assert found is not None
        return found

    aligned = seen(align_window(window, seen(window), target, (128, 128)))
    assert (aligned.x, aligned.y, aligned.size) == pytest.approx((*wanted, size), rel=0.02, abs=1)


def test_a_window_beyond_the_picture_repeats_its_border() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    padded = np.pad(picture, ((5, 15), (10, 20), (0, 0)), mode="edge")
    whole = Window(-10, -5, 60, 40)
    np.testing.assert_array_equal(reframe(picture, whole, (60, 40)), padded)
    halved = reframe(picture, Window(-10, -6, 60, 40), (30, 20))
    assert halved.shape == (20, 30, 3)
    np.testing.assert_array_equal(halved[3:13, 5:20], reframe(picture, Window(0, 0, 30, 20), (15, 10)))
    corner = reframe(picture, Window(-8, -8, 10, 10), (10, 10))
    np.testing.assert_array_equal(corner[-2:, -2:], picture[:2, :2])


@pytest.mark.parametrize(
    "window", [Window(500, 5, 10, 10), Window(-90, -90, 10, 10), Window(-9, 2, 9000, 3), Window(9, 9, 1, 1)]
)
def test_every_window_gives_a_picture_of_the_size(window: Window) -> None:
    picture = np.full((20, 30, 3), 7, np.uint8)
    np.testing.assert_array_equal(reframe(picture, window, (16, 12)), np.full((12, 16, 3), 7))
