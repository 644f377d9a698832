"""Kernel distance (KID), and the sample of vectors that it is computed from."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating[Any]]


class Reservoir:
    """At most `capacity` of the vectors that come along, each with the same chance (Vitter 1985); reproducible.

    Args:
        capacity: vectors that are kept.
        seed: of the choice. Two reservoirs of one seed keep the vectors at the same positions.
    """

    def __init__(self, capacity: int, seed: int = 0):
        self.num = 0
        self._capacity, self._rng, self._kept = capacity, np.random.default_rng(seed), list[NDArray[np.float32]]()

    def add(self, vectors: Vectors) -> None:
        """Takes vectors [n, d]."""
        for vector in np.asarray(vectors, np.float32):
            self.num += 1
            if len(self._kept) < self._capacity:
                self._kept.append(vector.copy())
            elif (place := int(self._rng.integers(self.num))) < self._capacity:
                self._kept[place] = vector.copy()

    @property
    def vectors(self) -> NDArray[np.float32]:
        """[min(num, capacity), d]."""
        return np.stack(self._kept)


def kernel_distance(a: Vectors, b: Vectors, *, paired: bool = False) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (Bińkowski et al. 2018, section 4).

    Unbiased also for few vectors, so it may be slightly negative.

    Args:
        a, b: [n, d] and [m, d], two vectors or more each.
        paired: vectors at equal positions depend on each other, such as those of a generated frame and its real one.
            These pairs are left out, as a vector and itself are within a set, else they would bias the value (the
            U-statistic of Gretton et al. 2012, eq. 4).
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert len(a) > 1, "one vector has no distance to others of its set"
    assert len(b) > 1, "one vector has no distance to others of its set"

    def kernel(x: Vectors, y: Vectors) -> NDArray[np.float64]:
        return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)

    def of_others(x: Vectors, y: Vectors) -> float:
        """The mean over pairs of different positions."""
        values = kernel(x, y)
        return float((values.sum() - np.trace(values)) / (len(x) * (len(x) - 1)))

    across = of_others(a, b) if paired else float(kernel(a, b).mean())
    return of_others(a, a) + of_others(b, b) - 2 * across


def spread(a: Vectors, b: Vectors, *, paired: bool = False) -> float:
    """Standard deviation of `kernel_distance` over 20 random halves: how far to trust a digit.

    Where vectors are `paired`, both halves have the same positions.
    """
    rng = np.random.default_rng(0)

    def half(x: Vectors) -> NDArray[np.intp]:
        return rng.permutation(len(x))[: max(2, len(x) // 2)]

    def distance() -> float:
        places = half(a)
        return kernel_distance(a[places], b[places if paired else half(b)], paired=paired)

    return float(np.std([distance() for _ in range(20)]))
