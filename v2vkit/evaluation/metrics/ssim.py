"""Structural similarity."""

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from v2vkit.arrays import Image
from v2vkit.evaluation.metrics.contract import Metric, compared, one_by_one
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.metrics.tensors import unit


def ssim(image: Image, real: Image) -> float:
    """Structural similarity (Wang et al. 2004), Gaussian window of 11 pixels, mean over RGB."""
    value = structural_similarity_index_measure(unit(image), unit(real), data_range=1.0)
    assert isinstance(value, Tensor)
    return float(value)


def open_metric(setup: Setup) -> Metric:
    return compared(one_by_one(ssim))
