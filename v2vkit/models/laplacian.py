"""Thresholded Laplacian edges of a batch of frames on any device: E(x) of the S-Flow GAN paper (section 3.2).

`v2vkit.conditions.laplacian` is the same function for one numpy image. Both compute in integers, so they agree in every
pixel, on every device. torch is imported late, because the numpy function takes the constants from here without it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Kernel = Literal["cross", "square"]
"""`cross`: 4 times the pixel minus its 4 neighbours. `square`: 8 times the pixel minus its 8 neighbours, over 3."""

SIGMA = 1.0
"""Default smoothing in pixels; one pixel suppresses edges of noise and JPEG blocks."""
THRESHOLD = 8.0
"""Default threshold in grey levels of 255: with `SIGMA`, 13 to 18 % of the pixels of CamVid's streets are edges."""
MAX_SIGMA = 10.0

GREY = (299, 587, 114)
"""Thousandths of red, green and blue in the luminance (ITU-R BT.601)."""
WEIGHT_STEPS = 1 << 12
"""Weights of the Gaussian are integer multiples of 1 / 4096, so that sums are exact."""


def gaussian_weights(sigma: float) -> list[int]:
    """Weights of a Gaussian cut off at 3 sigma, in units of 1 / `WEIGHT_STEPS`; they sum to `WEIGHT_STEPS`.

    Args:
        sigma: standard deviation in pixels, 0 to `MAX_SIGMA`; 0 = no smoothing, a single weight.
    """
    assert 0 <= sigma <= MAX_SIGMA
    radius = math.ceil(3 * sigma)
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(1, radius + 1)]
    total = 1 + 2 * sum(weights)
    side = [round(weight / total * WEIGHT_STEPS) for weight in weights]
    return [*side[::-1], WEIGHT_STEPS - 2 * sum(side), *side]


def integer_threshold(threshold: float, *, kernel: Kernel) -> int:
    """Largest integer response that is not an edge.

    Args:
        threshold: in grey levels of 255, 0 or more.
        kernel: the Laplacian; on the same gradient `square` responds three times as strongly as `cross`.
    """
    assert threshold >= 0
    return math.floor(threshold * sum(GREY) * WEIGHT_STEPS**2 * (3 if kernel == "square" else 1))


def laplacian_edges(
    x: Tensor, *, kernel: Kernel = "cross", sigma: float = SIGMA, threshold: float = THRESHOLD
) -> Tensor:
    """E(x) = 1 where |Laplacian(Gaussian(grey(x)))| > threshold, else 0. No gradient: it is an input and a target.

    A response equal to the threshold is not an edge, so a flat image has none at threshold 0. Frames are rounded to 256
    levels, so a generated frame has the same edges as its stored file. The border is replicated. The paper states
    neither kernel, smoothing nor threshold, nor whether edges are binary (here they are).

    Args:
        x: [B, 3, H, W] RGB in [-1, 1].
        kernel: the discrete Laplacian.
        sigma: standard deviation of the Gaussian blur before it, in pixels; 0 for none.
        threshold: in grey levels of 255.

    Returns:
        [B, 1, H, W] of 0 and 1 in the dtype of `x`.
    """
    import torch

    from v2vkit.models.layout import to_levels

    levels = to_levels(x).to(torch.int64)
    red, green, blue = (weight * levels[:, channel] for channel, weight in enumerate(GREY))
    grey = red + green + blue  # at most 18 bits; smoothing adds 24 and the Laplacian 5, which fits into 64
    weights = gaussian_weights(sigma)
    for dim in (1, 2):
        radius, size = len(weights) // 2, grey.shape[dim]
        padded = _replicate(grey, radius, dim)
        grey = sum(
            (weight * padded.narrow(dim, i, size) for i, weight in enumerate(weights)), start=torch.zeros_like(grey)
        )
    height, width = grey.shape[1:]
    padded = _replicate(_replicate(grey, 1, 1), 1, 2)
    if kernel == "cross":
        around = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
        response = 4 * grey - around
    else:
        rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
        response = 9 * grey - (rows[..., :width] + rows[..., 1 : width + 1] + rows[..., 2:])
    edges = response.abs() > integer_threshold(threshold, kernel=kernel)
    return edges.view(-1, 1, height, width).to(x.dtype)


def _replicate(x: Tensor, border: int, dim: int) -> Tensor:
    """`x` with `border` copies of its first and last slices along `dim`; torch's `pad` cannot replicate integers."""
    import torch

    index = torch.arange(-border, x.shape[dim] + border, device=x.device).clamp(0, x.shape[dim] - 1)
    return x.index_select(dim, index)
