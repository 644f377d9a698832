"""Backward warping with a flow field in pixels."""

import torch
from torch import Tensor

from v2vkit.models.blocks import downsample


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


def downsampled_flow(flow: Tensor, confidence: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Downsamples flow by its confidence-weighted mean, so that outliers do not distort reliable vectors nearby.

    Where the confidence is 0 it is the plain mean.
    """
    for _ in range(times):
        share = downsample(confidence)
        trusted = downsample(flow * confidence) / share.clamp(min=1e-6)
        flow, confidence = torch.where(share > 1e-6, trusted, downsample(flow)) / 2, share
    return flow, confidence


def flow_levels(flow: Tensor, confidence: Tensor, *, downsamplings: int, num_scales: int) -> list[Tensor]:
    """Flow [B, 2, H, W] and confidence [B, 1, H, W] for a generator: flow per scale, coarsest first, in its pixels.

    Args:
        downsamplings: downsamplings by two between H x W and the finest scale.
        num_scales: scales of the generator.
    """
    levels = [downsampled_flow(flow, confidence, downsamplings)]
    for _ in range(num_scales - 1):
        levels.append(downsampled_flow(*levels[-1], 1))
    return [w for w, _ in reversed(levels)]
