"""Backward flow in numpy: warping, confidence, and colours to look at it.

Backward flow lies on the grid of frame t and points into frame t-k: `warp(previous, flow)(p) = previous(p + flow(p))`.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image

FloatMap = NDArray[np.float32]

PHOTOMETRIC_THRESHOLD = 0.02


def _positions(flow: FloatMap) -> FloatMap:
    """The position to which each pixel of the grid points: p + flow(p), float32 [H, W, 2]."""
    height, width = flow.shape[:2]
    positions = flow.astype(np.float32, copy=True)
    positions[..., 0] += np.arange(width, dtype=np.float32)
    positions[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    return positions


def _sample(image: NDArray, positions: FloatMap) -> NDArray:
    """Bilinear samples at the given positions; OpenCV rounds positions to 1/32 pixel. The border is replicated."""
    return cv2.remap(image, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]


def warp_backward(previous: NDArray, flow: FloatMap) -> NDArray:
    """The previous frame as seen from the current one: `out(p) = previous(p + flow(p))` (vid2vid, eq. 4).

    Bilinear, borders replicated; positions are rounded to 1/32 pixel, whole-pixel flow is exact.

    Args:
        previous: uint8 or float32 [H, W] or [H, W, C <= 4].
        flow: float32 [H, W, 2] in pixels.
    """
    assert previous.shape[:2] == flow.shape[:2], (previous.shape, flow.shape)
    return _sample(previous, _positions(flow))


def confidence_forward_backward(backward: FloatMap, forward: FloatMap) -> FloatMap:
    """Forward-backward consistency: 1 where following both flows returns to the start, else 0.

    The test of Sundaram, Brox and Keutzer (ECCV 2010, eq. 5): `|f + g(p + f)|^2 < 0.01 (|f|^2 + |g(p + f)|^2) + 0.5`.
    Pixels that point outside the frame (pixels are unit squares) get 0.

    Args:
        backward: f, float32 [H, W, 2], on the grid of the current frame, into the previous one.
        forward: g, float32 [H, W, 2], on the grid of the previous frame, into the current one.

    Returns:
        float32 [H, W] of 0 and 1.
    """
    assert backward.shape == forward.shape, (backward.shape, forward.shape)
    height, width = backward.shape[:2]
    positions = _positions(backward)
    returned = _sample(forward, positions)
    bound = 0.01 * (_squared_norm(backward) + _squared_norm(returned)) + 0.5
    # Written so that a NaN is not consistent.
    consistent = _squared_norm(backward + returned) < bound
    inside = cv2.inRange(positions, (-0.5, -0.5), (width - 0.5, height - 0.5)) > 0  # type: ignore[call-overload]
    return (consistent & inside).astype(np.float32)


def _squared_norm(vectors: NDArray) -> FloatMap:
    """Sum of squares over the last axis (adding channels is several times faster than reducing so short an axis)."""
    squares = vectors * vectors
    return sum(squares[..., channel] for channel in range(1, squares.shape[2])) + squares[..., 0]


def confidence_photometric(current: Image, previous: Image, flow: FloatMap) -> FloatMap:
    """Photometric consistency (published code): 1 where the warped previous frame equals the current one, else 0.

    `sum over RGB of (current - warp(previous, flow))^2 < PHOTOMETRIC_THRESHOLD`, colours in [-1, 1], at full size (the
    published code works at a size rounded down to multiples of 64 and upsamples the mask).

    Args:
        current, previous: RGB uint8 [H, W, 3].
        flow: backward flow, float32 [H, W, 2].

    Returns:
        float32 [H, W] of 0 and 1.
    """
    warped = warp_backward(previous.astype(np.float32), flow)
    difference = (current.astype(np.float32) - warped) * np.float32(2 / 255)
    return (_squared_norm(difference) < PHOTOMETRIC_THRESHOLD).astype(np.float32)


def flow_color(flow: FloatMap, *, max_flow: float | None = None) -> Image:
    """Flow as colours: hue is direction, saturation is length (Middlebury colour wheel: Baker et al., IJCV 2011).

    Zero is white; +x is red, +y yellow-green, -x cyan, -y violet. Vectors longer than `max_flow` are darker.

    Args:
        flow: float32 [H, W, 2] in pixels.
        max_flow: length in pixels that is fully saturated; None takes the longest vector of this map.

    Returns:
        RGB uint8 [H, W, 3].
    """
    flow = np.nan_to_num(flow, nan=0.0, posinf=0.0, neginf=0.0)
    length = np.sqrt(_squared_norm(flow))
    scale = float(length.max(initial=0.0)) if max_flow is None else max_flow
    length = length / max(scale, 1e-6)
    # The six hues of the wheel and how many of its 55 colours lie between each and the next.
    stops = np.cumsum((0, 15, 6, 4, 11, 13, 6))
    hues = np.array(((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0)), np.float32)
    direction = (np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi + 1) / 2 * (stops[-1] - 1)
    hue = np.stack([np.interp(direction, stops, channel) for channel in hues.T], axis=-1)
    length = length[..., None]
    color = np.where(length <= 1 + 1e-6, 1 - np.minimum(length, 1) * (1 - hue), 0.75 * hue)
    return np.rint(255 * color).astype(np.uint8)
