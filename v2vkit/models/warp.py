"""Backward warping with a flow field in pixels."""

import torch
from torch import Tensor


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample `image` where `flow` points: `warp(prev, flow)(p) = prev(p + flow(p))`.

    Bilinear, border replicated, pixel centres on integers (`align_corners=True` of `grid_sample`). Written with gathers
    because normalised coordinates would round: zero flow gives exactly `image`, integer flow an exact shift. NaN flow
    gives NaN, infinite flow the border; nothing outside the image is read.

    Args:
        image: [B, C, H, W], any range.
        flow: [B, 2, H, W] pixels, channel 0 = x (right), 1 = y (down), on the grid of the result.

    Returns:
        [B, C, H, W] in the dtype of `image`, differentiable in both arguments.

    Source: vid2vid paper, the operator w~_{t-1}(x~_{t-1}) of eq. 4; direction and border as in the published code.
    """
    batch, channels, height, width = image.shape
    if flow.dtype.itemsize < 4:
        flow = flow.float()  # half precision cannot address pixels
    x = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + flow[:, 1]
    left, right, fx = _neighbours(x, width)
    top, bottom, fy = _neighbours(y, height)
    pixels = image.reshape(batch, channels, height * width)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (row * width + column).reshape(batch, 1, -1).expand(-1, channels, -1)
        return pixels.gather(2, index).reshape(image.shape)

    upper = at(top, left) * (1 - fx) + at(top, right) * fx
    lower = at(bottom, left) * (1 - fx) + at(bottom, right) * fx
    return (upper * (1 - fy) + lower * fy).to(image.dtype)


def _neighbours(position: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels around each position [B, H, W], and its fraction [B, 1, H, W] of the way from first to second."""
    position = position.clamp(0, size - 1)
    first = position.detach().floor()
    index = first.nan_to_num(0.0).long()
    return index, (index + 1).clamp(max=size - 1), (position - first)[:, None]
