"""The measures of `benchmarks.derain`."""

import numpy as np
import pytest

from benchmarks.derain import apply_colours, errors, fit_colours


def test_errors_are_counted_under_the_rain_and_elsewhere() -> None:
    clean = np.full((2, 4, 4, 3), 100, np.uint8)
    rainy, found = clean.copy(), clean.copy()
    rainy[:, 0] += 40  # a quarter of the pixels
    found[:, 0] += 10
    found[:, 1:] += 2
    measured = errors(found, clean, rainy, 16)
    assert measured["under rain"] == pytest.approx(10)
    assert measured["elsewhere"] == pytest.approx(2)
    assert measured["psnr"] == pytest.approx(10 * np.log10(255**2 / (100 / 4 + 4 * 3 / 4)))
    assert np.isnan(errors(found, clean, clean, 16)["under rain"])


def test_fitted_colours_undo_a_gain_and_an_offset_per_channel() -> None:
    clean = np.random.default_rng(0).integers(20, 200, (2, 8, 8, 3)).astype(np.uint8)
    veiled = np.rint(clean * np.array([0.8, 0.7, 0.9]) + np.array([30, 20, 10])).astype(np.uint8)
    assert np.abs(apply_colours(veiled, fit_colours(veiled, clean)).astype(int) - clean).max() <= 1
