"""Metrics of one frame: pure functions of RGB uint8 [H, W, 3] images, flow maps and landmarks."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from v2vkit.conditions.landmarks import landmark_errors
from v2vkit.models.warp import warp

Image = NDArray[np.uint8]
FloatMap = NDArray[np.float32]

PSNR_CAP = 100.0
"""PSNR of equal images in dB, instead of infinity, which would make every mean infinite."""

_MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, table of section 3.2
_MS_SSIM_SIDES = {5: 176, 4: 99, 3: 44, 2: 22}
"""Number of scales -> shorter side that it needs: the minimum of torchmetrics for its 11-pixel window; for two scales,
the window has to fit into the downsampled image."""


def _unit(image: Image) -> Tensor:
    """uint8 [H, W, 3] to float32 [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def psnr(image: Image, real: Image) -> float:
    """Peak signal-to-noise ratio in dB, at most `PSNR_CAP`."""
    if np.array_equal(image, real):
        return PSNR_CAP
    return min(PSNR_CAP, float(peak_signal_noise_ratio(_unit(image), _unit(real), data_range=1.0)))


def ssim(image: Image, real: Image) -> float:
    """Structural similarity (Wang et al. 2004), Gaussian window of 11 pixels, mean over RGB."""
    value = structural_similarity_index_measure(_unit(image), _unit(real), data_range=1.0)
    assert isinstance(value, Tensor)
    return float(value)


def ms_ssim_scales(height: int, width: int) -> int:
    """The number of scales of MS-SSIM at this image size; 0 = too small.

    The published metric has five. Smaller images use the first four, three or two, with weights rescaled to sum to one;
    values with different numbers of scales must not be compared.
    """
    side = min(height, width)
    return next((scales for scales, needed in _MS_SSIM_SIDES.items() if side >= needed), 0)


def ms_ssim(image: Image, real: Image) -> float | None:
    """Multi-scale structural similarity (Wang et al. 2003) with `ms_ssim_scales` scales; None where that is 0."""
    scales = ms_ssim_scales(*real.shape[:2])
    if scales == 0:
        return None
    weights = _MS_SSIM_WEIGHTS[:scales]
    betas = tuple(weight / sum(weights) for weight in weights)
    return float(multiscale_structural_similarity_index_measure(_unit(image), _unit(real), data_range=1.0, betas=betas))


def warp_error(current: Image, previous: Image, flow: FloatMap, confidence: FloatMap) -> float | None:
    """Temporal consistency: mean of |x_t - warp(x_{t-1}, w)| over RGB and pixels, weighted with the confidence.

    Colours in [0, 1]. Absolute differences, where Lai et al. 2018 use squares. The real frames have a warp error, too:
    compare with it.

    Args:
        current, previous: two consecutive frames of the video to measure.
        flow: backward flow w of the *real* video at the same frame, float32 [H, W, 2].
        confidence: of that flow, [H, W] in [0, 1].

    Returns:
        None if the confidence is 0 everywhere.
    """
    total = float(confidence.sum(dtype=np.float64))
    if total <= 0:
        return None
    vectors = torch.from_numpy(np.ascontiguousarray(flow, np.float32)).permute(2, 0, 1)[None]
    difference = (_unit(current) - warp(_unit(previous), vectors)).abs().mean(1)[0].numpy()
    return float((difference * confidence).sum(dtype=np.float64) / total)


def landmark_error(found: FloatMap, expected: FloatMap) -> float:
    """Mean distance between 68 landmarks [68, 2] and the expected ones, in units of the expected outer eye distance."""
    return float(landmark_errors(found.astype(np.float64), expected.astype(np.float64)).mean())
