"""Fréchet distance of two Gaussians, and the mean and covariance of vectors that come in parts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating[Any]]
Float64 = NDArray[np.float64]


class Moments:
    """Mean and covariance of vectors that are seen once; memory does not depend on their number.

    Merges the parts' means and sums of squares (Chan et al. 1983), in float64: the difference of two large sums would
    cancel.

    Args:
        size: length of the vectors.
    """

    def __init__(self, size: int):
        self.num = 0
        self.mean: Float64 = np.zeros(size)
        self._scatter: Float64 = np.zeros((size, size))

    def add(self, vectors: Vectors) -> None:
        """Takes vectors [n, size]."""
        if not len(vectors):
            return
        values = np.asarray(vectors, np.float64)
        mean = values.mean(0)
        centred, shift, total = values - mean, mean - self.mean, self.num + len(values)
        self._scatter += centred.T @ centred + np.outer(shift, shift) * (self.num * len(values) / total)
        self.mean += shift * (len(values) / total)
        self.num = total

    @property
    def covariance(self) -> Float64:
        """Unbiased, [size, size]; of two vectors or more."""
        assert self.num > 1, "one vector has no covariance"
        return self._scatter / (self.num - 1)


def frechet_distance(mean_a: Float64, covariance_a: Float64, mean_b: Float64, covariance_b: Float64) -> float:
    """|mu_a - mu_b|^2 + Tr(A + B - 2 (A B)^(1/2)) of two Gaussians (Dowson and Landau 1982; vid2vid, section 4).

    With A = R R^T the trace of (A B)^(1/2) is the sum of the square roots of the eigenvalues of R^T B R, which is
    symmetric: no complex numbers, and covariances without full rank (fewer vectors than dimensions) need no offset.

    Args:
        mean_a, mean_b: [d].
        covariance_a, covariance_b: [d, d], symmetric, positive semi-definite.

    Returns:
        0 or more.
    """
    values, vectors = np.linalg.eigh(np.asarray(covariance_a, np.float64))
    kept = values > values.max(initial=0) * len(values) * np.finfo(np.float64).eps
    root = vectors[:, kept] * np.sqrt(values[kept])
    inner = root.T @ np.asarray(covariance_b, np.float64) @ root
    cross = np.sqrt(np.linalg.eigvalsh((inner + inner.T) / 2).clip(0)).sum()
    difference = np.asarray(mean_a, np.float64) - mean_b
    distance = difference @ difference + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross
    return max(0.0, float(distance))
