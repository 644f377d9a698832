"""Peak signal-to-noise ratio."""

import numpy as np
from torchmetrics.functional.image import peak_signal_noise_ratio

from v2vkit.arrays import Image
from v2vkit.evaluation.metrics.contract import Metric, compared, one_by_one
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.metrics.tensors import unit

PSNR_CAP = 100.0
"""PSNR of equal images in dB, instead of infinity, which would make every mean infinite."""


def psnr(image: Image, real: Image) -> float:
    """Peak signal-to-noise ratio in dB, at most `PSNR_CAP`."""
    if np.array_equal(image, real):
        return PSNR_CAP
    return min(PSNR_CAP, float(peak_signal_noise_ratio(unit(image), unit(real), data_range=1.0)))


def open_metric(setup: Setup) -> Metric:
    return compared(one_by_one(psnr))
