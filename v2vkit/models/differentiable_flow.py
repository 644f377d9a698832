"""Classical dense optical flow, differentiable in both frames: F of the S-Flow GAN paper (eq. 8).

The paper names no algorithm. This is pyramidal Horn-Schunck (Horn and Schunck 1981) with warping and a Charbonnier data
term (Black and Anandan 1996; Sun, Roth and Black 2010). The numbers of levels, warps and iterations are fixed, so that
the flow is a function of the pixels with a gradient (almost everywhere: the bilinear warp has kinks at whole pixels).
There is nothing to train, and nothing leaves the device.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from v2vkit.models.blocks import upsample_to
from v2vkit.models.warp import warp

LEVELS = 5
"""Most pyramid levels, each half the size of the one before; at the coarsest a motion of 16 pixels is one pixel."""
MIN_SIDE = 16
"""Smallest side of the coarsest level in pixels (a smaller frame has one level)."""
WARPS = 4
ITERATIONS = 40
SMOOTHNESS = 0.07  # alpha of Horn and Schunck, in units of the grey range 0 to 1
ROBUSTNESS = 0.01  # grey difference above which pixels count less
"""WARPS to ROBUSTNESS: best of a small search on known translations and Middlebury's RubberWhale together."""

_BT601 = (0.299, 0.587, 0.114)
_PREFILTER = (1 / 6, 4 / 6, 1 / 6)
_BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_DERIVATIVE = (1 / 12, -8 / 12, 0.0, 8 / 12, -1 / 12)
_NEIGHBOURS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))


def estimate_flow(
    last: Tensor,
    frame: Tensor,
    *,
    warps: int = WARPS,
    iterations: int = ITERATIONS,
    gradient_checkpointing: bool = False,
) -> Tensor:
    """Backward flow between two frames: `warp(last, flow)` looks like `frame`.

    Minimises sum rho(last(p + w(p)) - frame(p)) + SMOOTHNESS^2 |grad w|^2 with rho(d) = sqrt(d^2 + ROBUSTNESS^2),
    scaled to the weight 1 at d = 0. Computed in float32 (float64 for float64 frames), also under autocast.
    The precision is limited by the bilinear warp, so frames are smoothed by [1 4 1] / 6 first.

    Args:
        last: [B, 3 or 1, H, W] the older frame in [-1, 1]; values outside are clamped.
        frame: the newer frame, of the same shape.
        warps: times per level that `last` is warped by the flow so far and the brightness is linearised there.
        iterations: Jacobi iterations after each warp.
        gradient_checkpointing: keep no activations inside a warp; they are computed again for the gradients.

    Returns:
        [B, 2, H, W] pixels, channel 0 = x (right), 1 = y (down), on the grid of `frame`. 0 where there is no texture.
    """
    with torch.autocast(frame.device.type, enabled=False):
        pair = [_grey(x) for x in (last, frame)]
        pyramid = [[_smooth(x, _PREFILTER) for x in pair]]
        while len(pyramid) < LEVELS and min(frame.shape[-2:]) >> len(pyramid) >= MIN_SIDE:
            pyramid.append([_smooth(x, _BINOMIAL)[..., ::2, ::2] for x in pyramid[-1]])
        flow = torch.zeros_like(pyramid[-1][0]).repeat(1, 2, 1, 1)
        for older, newer in reversed(pyramid):
            size = (newer.shape[2], newer.shape[3])
            if flow.shape[2:] != newer.shape[2:]:
                flow = 2 * upsample_to(flow, size, 1)
            older = torch.cat([older, _gradient(older)], 1)  # one warp for all is cheaper
            newer = torch.cat([newer, _gradient(newer)], 1)
            for _ in range(warps):
                args = (older, newer, flow, iterations)
                if gradient_checkpointing and torch.is_grad_enabled():
                    flow = checkpoint(_refine, *args, use_reentrant=False)
                else:
                    flow = _refine(*args)
    return flow


def _refine(older: Tensor, newer: Tensor, flow: Tensor, iterations: int) -> Tensor:
    """One linearisation around `flow` and its Jacobi iterations (Horn and Schunck 1981, section 12).

    Args:
        older, newer: [B, 3, H, W] grey value and its derivatives along x and y.
        flow: [B, 2, H, W].
    """
    warped = warp(older, flow)
    gradient = (warped[:, 1:] + newer[:, 1:]) / 2
    difference = warped[:, :1] - newer[:, :1]
    weight = ROBUSTNESS / (difference.square() + ROBUSTNESS**2).sqrt()
    constant = difference - (gradient * flow).sum(1, keepdim=True)  # the residual of the linear model at zero flow
    step = weight * gradient / (SMOOTHNESS**2 + weight * gradient.square().sum(1, keepdim=True))
    neighbours = flow.new_tensor(_NEIGHBOURS).expand(2, 1, 3, 3)
    for _ in range(iterations):
        mean = F.conv2d(F.pad(flow, [1] * 4, mode="replicate"), neighbours, groups=2)
        flow = mean - step * (constant + (gradient * mean).sum(1, keepdim=True))
    return flow


def _grey(x: Tensor) -> Tensor:
    """Luminance [B, 1, H, W] in [0, 1] of frames [B, 3 or 1, H, W] in [-1, 1]."""
    x = (x if x.dtype == torch.float64 else x.float()).clamp(-1, 1) / 2 + 0.5
    if x.shape[1] == 1:
        return x
    return (x * x.new_tensor(_BT601)[:, None, None]).sum(1, keepdim=True)


def _smooth(x: Tensor, kernel: tuple[float, ...]) -> Tensor:
    return _along_columns(_along_rows(x, kernel), kernel)


def _gradient(x: Tensor) -> Tensor:
    """Derivatives along x and y of [B, 1, H, W]: [B, 2, H, W] per pixel."""
    return torch.cat([_along_rows(x, _DERIVATIVE), _along_columns(x, _DERIVATIVE)], 1)


def _along_rows(x: Tensor, kernel: tuple[float, ...]) -> Tensor:
    border = len(kernel) // 2
    return F.conv2d(F.pad(x, [border, border, 0, 0], mode="replicate"), x.new_tensor(kernel).view(1, 1, 1, -1))


def _along_columns(x: Tensor, kernel: tuple[float, ...]) -> Tensor:
    border = len(kernel) // 2
    return F.conv2d(F.pad(x, [0, 0, border, border], mode="replicate"), x.new_tensor(kernel).view(1, 1, -1, 1))
