"""Change of the colours of objects over time."""

import numpy as np
import pytest

from benchmarks.object_colours import colour_change, style_change
from benchmarks.style_tracks import switches


def _frames(colours: list[int], num: int = 6) -> list[tuple[np.ndarray, np.ndarray]]:
    """An object of 20 pixels that has each of these reds in turn, and one that stays grey."""
    frames = []
    for t in range(num):
        image, ids = np.full((10, 10, 3), 90, np.uint8), np.zeros((10, 10), np.uint16)
        ids[:2, :], ids[5:7, :] = 3, 8
        image[:2, :, 0] = colours[t % len(colours)]
        frames.append((image, ids))
    return frames


def test_only_objects_that_change_count() -> None:
    steady, flashing = colour_change(_frames([50])), colour_change(_frames([50, 150]))
    assert (steady.variance, steady.num_objects) == (0, 2)
    assert flashing.worst == pytest.approx(2500)
    assert flashing.variance == pytest.approx(1250)
    assert (steady.flicker, flashing.flicker) == (0, pytest.approx(5000))


def test_small_or_brief_objects_are_left_out() -> None:
    assert colour_change(_frames([50, 150]), least_pixels=21).num_objects == 0
    assert colour_change(_frames([50, 150], num=4)).num_objects == 0
    assert colour_change(_frames([50, 150], num=4), least_frames=4).num_objects == 2


def _styles(paints: np.ndarray) -> list[dict[int, dict[int, np.ndarray]]]:
    """Mean colours of one object: light that all styles share, and a style's own red, [styles, frames]."""
    light = 40 * np.sin(np.arange(paints.shape[1]))
    return [{3: {t: light[t] + np.array([paint[t], 0, 0]) for t in range(len(paint))}} for paint in paints]


def test_light_that_all_styles_share_is_no_change_of_a_style() -> None:
    stays = style_change(_styles(np.repeat([[0.0], [30.0], [60.0]], 200, axis=1)))
    assert (stays.reach, stays.num_objects) == (pytest.approx(600), 1)
    assert stays.change == pytest.approx(0, abs=1e-9)
    assert stays.share == pytest.approx(0, abs=1e-9)
    drawn_again = style_change(_styles(np.random.default_rng(0).normal(0, 20, (3, 200))))
    assert drawn_again.share == pytest.approx(1, abs=0.1)
    assert style_change(_styles(np.zeros((2, 4)))).num_objects == 0, "seen too briefly"


def test_changes_of_ids_are_counted_over_neighbouring_frames() -> None:
    truth = [np.full((8, 8), 5, np.uint16) for _ in range(6)]
    truth[3][:] = 0  # away for a frame
    found = [np.full((8, 8), number, np.uint16) for number in (1, 1, 2, 0, 7, 7)]
    assert switches(truth, found) == (1, 3)
