"""Fits the Gaussian mixtures that styles are drawn from. N vectors of d numbers."""

import warnings
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.region_features import RegionFeatures
from v2vkit.errors import V2VError
from v2vkit.inference.styles import Mixture, Styles

SMALLEST = 1 / 64
"""Regions of at most this share of the frame are left out: too few pixels for a reliable mean (pix2pixHD)."""
FLOOR = 1e-4
"""Added to every variance, so that all covariances are positive definite."""
MOST_VECTORS = 20_000
"""Vectors per class; of more, evenly spaced ones are taken, because neighbouring frames are nearly equal."""


def fit_styles(
    frames: Iterable[tuple[RegionFeatures, ...]], *, model: str, max_components: int, num_styles: int, seed: int
) -> Styles:
    """A mixture for each class of the regions of these frames, and one for all classes together.

    Args:
        model: `ModelInfo.identity` of the model whose encoder saw the frames.
        max_components: largest number of components of a mixture; BIC decides.
        num_styles: number of styles (seeds).
        seed: of the fit and of the styles' seeds.

    Raises:
        V2VError: the frames have no regions, or vectors of different lengths.
    """
    found: dict[int, array[float]] = {}  # flat rows of area and vector: compact enough for hours of footage
    lengths: set[int] = set()
    for frame in frames:
        for feature in frame:
            found.setdefault(feature.label, array("d")).extend((feature.area, *feature.vector))
            lengths.add(len(feature.vector))
    if len(lengths) != 1:
        problem = f"vectors of {sorted(lengths)} numbers" if lengths else "no regions"
        raise V2VError(
            "features-unusable", f"The features hold {problem}.", "Make them again: `v2v encode-features --overwrite`."
        )
    dims = lengths.pop()
    vectors = {label: _vectors(np.array(rows).reshape(-1, 1 + dims)) for label, rows in sorted(found.items())}
    return Styles(
        model=model,
        dims=dims,
        seeds=tuple(np.random.SeedSequence(seed).generate_state(num_styles).tolist()),
        classes={
            label: fit_mixture(of_class, max_components=max_components, seed=seed)
            for label, of_class in vectors.items()
        },
        any_class=fit_mixture(np.concatenate(list(vectors.values())), max_components=max_components, seed=seed),
    )


def _vectors(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """`rows` [M, 1 + d] of area and vector -> the vectors [N, d] of the larger regions; of all if none is larger."""
    large = rows[rows[:, 0] > SMALLEST]
    return (large if len(large) else rows)[:, 1:]


def fit_mixture(vectors: NDArray[np.float64], *, max_components: int, seed: int) -> Mixture:
    """The Gaussian mixture of vectors [N, d], with the number of components that minimises BIC.

    At least one component, and at most one for every 2 (d + 1) vectors: fewer do not determine a covariance. `FLOOR` is
    added to every variance.
    """
    vectors = vectors[:: -(-len(vectors) // MOST_VECTORS)]
    count, dims = vectors.shape
    most = min(max_components, count // (2 * (dims + 1)), len(np.unique(vectors, axis=0)))
    if most < 2:
        covariance = np.cov(vectors.T, bias=True).reshape(dims, dims) + FLOOR * np.eye(dims)
        return _mixture(np.ones(1), vectors.mean(0)[None], covariance[None])
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an almost converged fit is good enough to draw from
        fits = [
            GaussianMixture(number, reg_covar=FLOOR, random_state=seed).fit(vectors) for number in range(1, most + 1)
        ]
    best = min(fits, key=lambda fit: fit.bic(vectors))
    return _mixture(best.weights_, best.means_, best.covariances_)


def _mixture(weights: NDArray[np.float64], means: NDArray[np.float64], covariances: NDArray[np.float64]) -> Mixture:
    symmetric = (covariances + covariances.transpose(0, 2, 1)) / 2
    return Mixture.model_validate(
        {"weights": weights.tolist(), "means": means.clip(-1, 1).tolist(), "covariances": symmetric.tolist()}
    )
