"""The benchmark of edge mixtures: distances between variants and the sheet of their frames."""

import numpy as np

from benchmarks.edge_variants import difference, sheet
from benchmarks.label_noise import Shot


def _frames(level: int, number: int = 3) -> list[np.ndarray]:
    return [np.full((8, 12, 3), level + k, np.uint8) for k in range(number)]


def test_difference_is_the_mean_over_the_frames_of_all_shots() -> None:
    a, b = [_frames(10), _frames(200, 1)], [_frames(14), _frames(196, 1)]
    assert difference(a, a) == 0
    assert difference(a, b) == difference(b, a) == 4


def test_sheet_shows_the_middle_frame_of_each_shot_real_first() -> None:
    footage = [Shot("a", _frames(0), []), Shot("b", _frames(50), [])]
    found = sheet({"x": [_frames(100), _frames(150)]}, footage)
    assert found.shape == (16, 24, 3)
    assert [found[y, x, 0] for y in (0, 8) for x in (0, 12)] == [1, 101, 51, 151]
