"""Affine augmentation: one random shift, rotation and zoom for a frame and everything that belongs to it.

A move is a float64 matrix [2, 3] that maps a pixel (x, y, 1) of the old frame to (x, y) in the new one.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.label_noise import LabelNoise

Move = NDArray[np.float64]
Points = NDArray[np.float32]

IDENTITY: Move = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""The identity."""

_SHARE = 0.1
_DEGREES = 10.0
_TRUSTED = 1e-6
"""Flow is divided by confidences above this only."""


@dataclass(frozen=True)
class Change:
    """Augmentation of the frames of a training window.

    Attributes:
        move: the affine map of every frame.
        drop: probability of leaving out each body part (limbs, hands, faces; DensePose parts), drawn anew per frame.
        seed: of the random choice of those parts.
        noise: of label maps, the same for all frames; None = none.
    """

    move: Move
    drop: float = 0.0
    seed: tuple[int, ...] = (0,)
    noise: LabelNoise | None = None

    def at(self, frame: int) -> "Change":
        """The same augmentation with a seed of its own for this frame."""
        return replace(self, seed=(*self.seed, frame))


def draw_affine(rng: np.random.Generator, strength: float, size: tuple[int, int]) -> Move:
    """A random shift, rotation and zoom about the centre of a frame of `size` (width, height).

    Args:
        strength: 1 = shifts of up to a tenth of the size, rotations of up to 10 degrees, zooms of up to a tenth.
    """
    width, height = size
    dx, dy, turn, zoom = rng.uniform(-strength, strength, 4)
    centre = ((width - 1) / 2, (height - 1) / 2)
    move: Move = cv2.getRotationMatrix2D(centre, _DEGREES * turn, (1 + _SHARE) ** zoom).astype(np.float64)
    move[:, 2] += _SHARE * dx * width, _SHARE * dy * height
    return move


def warp_image(image: NDArray[np.uint8], move: Move) -> NDArray[np.uint8]:
    """Warp RGB uint8 [H, W, 3]; the border is mirrored."""
    return _warp(image, move, cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101)


def warp_id_map(ids: NDArray[Any], move: Move) -> NDArray[Any]:
    """Warp labels or instances [H, W] by nearest neighbour; the border is mirrored, as of the image."""
    return _warp(ids, move, cv2.INTER_NEAREST, cv2.BORDER_REFLECT_101)


def transform_points(points: Points, move: Move) -> Points:
    """Transform points [N, 2]."""
    return (points @ move[:, :2].T + move[:, 2]).astype(np.float32)


def warp_flow(
    flow: NDArray[np.float32], confidence: NDArray[np.float32], move: Move
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Warp flow [H, W, 2] and its confidence [H, W], for a pair of frames that are both moved.

    Confidence becomes 0 where flow comes from outside the frame or points outside it. Flow is interpolated with its
    confidence as weight, so that wrong vectors do not spoil the right ones beside them.
    """
    height, width = confidence.shape
    turn = move[:, :2].T.astype(np.float32)
    trust = _warp(confidence, move, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
    trusted = _warp(flow * confidence[..., None], move, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
    plain = _warp(flow, move, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
    mixed = np.divide(trusted, trust[..., None], out=plain, where=trust[..., None] > _TRUSTED)
    vectors = np.matmul(mixed, turn, dtype=np.float32)
    x = vectors[..., 0] + np.arange(width, dtype=np.float32)
    y = vectors[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return vectors, trust * inside


def _warp(array: NDArray[Any], move: Move, interpolation: int, border: int) -> NDArray[Any]:
    height, width = array.shape[:2]
    return cv2.warpAffine(array, move, (width, height), flags=interpolation, borderMode=border)
