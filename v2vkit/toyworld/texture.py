"""Anti-aliased procedural textures: everything finer than a pixel fades to its average.

Otherwise distant windows and asphalt would flicker from frame to frame and contradict the flow.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_SIZE = 256


def band(u: Any, width: Any, low: float, high: float) -> Any:
    """Share of the interval [u - width/2, u + width/2] that lies in [low, high]."""
    half = 0.5 * width
    return (np.clip(u + half, low, high) - np.clip(u - half, low, high)) / width


def pulse(u: Any, width: Any, period: Any, low: Any, high: Any) -> Any:
    """Share of [u - width/2, u + width/2] that lies in the intervals [low, high] + k · period."""

    def area(x: Any) -> Any:
        turns = np.floor(x / period)
        return turns * (high - low) + np.clip(x - turns * period, low, high) - low

    return (area(u + 0.5 * width) - area(u - 0.5 * width)) / width


def smoothstep(low: float, high: float, x: Any) -> Any:
    """0 below `low`, 1 above `high`, smooth between (also with low > high)."""
    s = np.clip((x - low) / (high - low), 0, 1)
    return s * s * (3 - 2 * s)


@dataclass(frozen=True)
class Noise:
    """Value noise over a periodic table of random numbers.

    `texture` scales surface detail (1 = full, 0 = none): grain, stains, joints. Random features of shapes (which bay of
    a shop has a door) come from `cell` and do not depend on it.
    """

    table: Array
    texture: float = 1.0

    @staticmethod
    def seeded(seed: int, *, texture: float = 1.0) -> "Noise":
        """The noise of a seed."""
        return Noise(np.random.default_rng([seed, 1]).random(_SIZE * _SIZE, np.float32), texture)

    def cell(self, i: Any, j: Any, salt: Any = 0) -> Array:
        """One random number in [0, 1) per integer cell (i, j); floats are floored."""
        i, j = np.floor(i).astype(np.int32), np.floor(j).astype(np.int32)
        return self.table[((i * 7 + j * 157 + salt * 61) & 255) * _SIZE + ((i * 113 + j * 11 + salt * 17) & 255)]

    def speck(self, i: Any, j: Any, salt: Any = 0) -> Array:
        """As `cell`, scaled by `texture`: 0.5 everywhere at 0."""
        found = self.cell(i, j, salt)
        return found if self.texture == 1 else 0.5 + np.float32(self.texture) * (found - 0.5)

    def value(self, u: Any, v: Any) -> Array:
        """Smooth noise in [-1, 1] whose lattice has unit spacing."""
        if self.texture == 0:
            return np.zeros(np.shape(u + v), np.float32)
        fu, fv = np.floor(u), np.floor(v)
        iu, iv = fu.astype(np.int32), fv.astype(np.int32)
        a, b = (u - fu).astype(np.float32), (v - fv).astype(np.float32)
        a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
        left, right = iu & 255, (iu + 1) & 255
        upper, lower = (iv & 255) * _SIZE, ((iv + 1) & 255) * _SIZE
        top = self.table[upper + left] * (1 - a) + self.table[upper + right] * a
        bottom = self.table[lower + left] * (1 - a) + self.table[lower + right] * a
        return np.asarray(self.texture * (2 * (top * (1 - b) + bottom * b) - 1), np.float32)

    def fractal(self, u: Any, v: Any, footprint: Any, wavelength: float, octaves: int) -> Array:
        """Octaves of noise from `wavelength` (in the units of u, v) down, each faded out where pixels are larger.

        Args:
            u, v: surface coordinates.
            footprint: size of a pixel on the surface in the same units.
            wavelength: lattice spacing of the coarsest octave.
            octaves: number of octaves, each at half the wavelength and 0.6 of the strength of the previous one.
        """
        total: Any = 0.0
        strength = 1.0
        for k in range(octaves):
            seen = np.clip(1.6 - 1.6 * footprint / wavelength, 0, 1)
            if np.any(seen):
                total = total + strength * seen * self.value(u / wavelength + 17.3 * k, v / wavelength + 5.7 * k)
            wavelength, strength = wavelength / 2, strength * 0.6
        return np.asarray(total + np.zeros_like(u), np.float32)
