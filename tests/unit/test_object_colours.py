"""Change of the colours of objects over time."""

import numpy as np
import pytest

from v2vkit.evaluation.object_colours import colour_change


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
