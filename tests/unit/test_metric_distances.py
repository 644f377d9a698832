"""Fréchet and kernel distances: analytic values, streaming, agreement with the reference implementations."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_statistics_to_metric
from torch_fidelity.metric_kid import mmd2

from v2vkit.evaluation.metrics.frechet import Moments, frechet_distance
from v2vkit.evaluation.metrics.kernel_distance import Reservoir, kernel_distance, spread
from v2vkit.evaluation.metrics.sets import _kernel

Vectors = NDArray[np.float64]


def _moments(vectors: Vectors, *, parts: int = 1) -> Moments:
    found = Moments(vectors.shape[1])
    for part in np.array_split(vectors, parts):
        found.add(part)
    return found


def _distance(a: Vectors, b: Vectors) -> float:
    x, y = _moments(a), _moments(b)
    return frechet_distance(x.mean, x.covariance, y.mean, y.covariance)


def test_of_gaussians_with_commuting_covariances_it_is_the_sum_over_axes() -> None:
    """|mu_a - mu_b|^2 + sum (sigma_a - sigma_b)^2, in any orthonormal basis."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    a, b = rng.uniform(0.1, 3, 7), rng.uniform(0.1, 3, 7)
    mean = rng.normal(size=7)
    found = frechet_distance(mean, basis @ np.diag(a**2) @ basis.T, np.zeros(7), basis @ np.diag(b**2) @ basis.T)
    assert found == pytest.approx(mean @ mean + ((a - b) ** 2).sum(), rel=1e-12)


def test_of_any_gaussians_it_is_the_formula_with_the_matrix_root() -> None:
    rng = np.random.default_rng(1)
    a, b = (m @ m.T for m in rng.normal(size=(2, 6, 6)))
    mean = rng.normal(size=6)
    expected = mean @ mean + np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert frechet_distance(mean, a, np.zeros(6), b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(np.zeros(6), b, mean, a) == pytest.approx(expected, rel=1e-8)


def test_fewer_vectors_than_dimensions_need_no_offset() -> None:
    """Two sets on lines at right angles: the covariances share no direction, and neither has full rank."""
    a, b = np.zeros((2, 5, 40))
    a[:, 0], b[:, 1] = [1, 2, 3, 4, 5], [2, 4, 6, 8, 10]
    assert _distance(a, b) == pytest.approx(9 + 36 + 2.5 + 10, rel=1e-12)
    assert _distance(a, a) == pytest.approx(0, abs=1e-10)


def test_it_agrees_with_torch_fidelity_to_six_digits() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(300, 32)), rng.gamma(2.0, size=(250, 32)) @ rng.normal(size=(32, 32)) / 4
    theirs = [{"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)} for x in (a, b)]
    expected = fid_statistics_to_metric(*theirs, verbose=False)["frechet_inception_distance"]
    assert _distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_moments_do_not_depend_on_the_parts_in_which_vectors_come() -> None:
    vectors = 1e4 + np.random.default_rng(3).normal(size=(101, 5))  # far from 0: sums of squares would cancel
    whole, parts = _moments(vectors), _moments(vectors, parts=13)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-14)
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=1e-9)
    np.testing.assert_allclose(whole.covariance, np.cov(vectors, rowvar=False), rtol=1e-9)
    whole.add(vectors[:0])
    assert whole.num == 101


def test_kernel_distance_agrees_with_torch_fidelity() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(60, 24)), rng.normal(0.3, size=(60, 24))
    kernels = [(x @ y.T / 24 + 1) ** 3 for x, y in ((a, a), (a, b), (b, b))]
    assert kernel_distance(a, b) == pytest.approx(float(mmd2(*kernels)), rel=1e-10)
    assert kernel_distance(b, a) == pytest.approx(kernel_distance(a, b), rel=1e-10)


def test_kernel_distance_of_pairs_agrees_with_torch_fidelity() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(300, 24)), rng.normal(0.3, 1.2, size=(300, 24))
    kernels = [(x @ y.T / 24 + 1) ** 3 for x, y in ((a, a), (a, b), (b, b))]
    expected = float(mmd2(*kernels, mmd_est="u-statistic"))
    assert kernel_distance(a, b, paired=True) == pytest.approx(expected, rel=1e-10)


def test_kernel_distance_of_frames_and_their_real_ones_is_unbiased() -> None:
    """Two correlated sets of one distribution: what a model makes of a frame resembles that frame."""
    rng = np.random.default_rng(5)
    real = rng.normal(size=(400, 20, 16))
    ours = 0.9 * real + (1 - 0.9**2) ** 0.5 * rng.normal(size=real.shape)
    paired, apart = (
        np.array([kernel_distance(a, b, paired=paired) for a, b in zip(ours, real, strict=True)])
        for paired in (True, False)
    )
    assert abs(paired.mean()) < 3 * paired.std() / 20
    assert apart.mean() < -10 * apart.std() / 20
    assert kernel_distance(real[0], real[0], paired=True) == spread(real[0], real[0], paired=True) == 0


def test_sets_of_one_length_are_of_the_same_frames() -> None:
    """Also beyond what a reservoir keeps; more frames of one set are no pairs."""

    def values(num_ours: int, num_real: int) -> dict[str, float]:
        sets = []
        for number in (num_ours, num_real):
            sets.append(Reservoir(50))
            sets[-1].add(np.random.default_rng(6).normal(size=(200, 8))[:number])
        return _kernel(*sets)

    assert values(200, 200) == {"value": 0, "spread": 0}
    assert values(40, 200)["spread"] > 0


def test_kernel_distance_of_few_vectors_is_unbiased() -> None:
    """Of two samples of one distribution it is 0 on average, also for ten vectors; the Fréchet distance is not."""
    rng = np.random.default_rng(5)
    pairs = [rng.normal(size=(2, 10, 8)) for _ in range(400)]
    kernel = [kernel_distance(*pair) for pair in pairs]
    assert abs(np.mean(kernel)) < 3 * np.std(kernel) / 20
    assert np.mean([_distance(*pair) for pair in pairs]) > 2


def test_spread_shrinks_with_more_vectors() -> None:
    rng = np.random.default_rng(6)
    few, many = (spread(rng.normal(size=(n, 8)), rng.normal(0.5, size=(n, 8))) for n in (20, 800))
    assert 0 < many < few / 3


def test_a_reservoir_keeps_a_bounded_even_sample() -> None:
    kept = Reservoir(50)
    for start in range(0, 5000, 7):
        kept.add(np.arange(start, min(start + 7, 5000))[:, None])
    assert kept.num == 5000
    assert kept.vectors.shape == (50, 1)
    assert len(np.unique(kept.vectors)) == 50
    assert 1900 < kept.vectors.mean() < 3100
    again = Reservoir(50)
    again.add(np.arange(5000)[:, None])
    np.testing.assert_array_equal(again.vectors, kept.vectors)
