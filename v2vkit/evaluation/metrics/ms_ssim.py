"""Multi-scale structural similarity."""

from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from v2vkit.arrays import Image
from v2vkit.evaluation.metrics.contract import Metric, compared, one_by_one
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.metrics.tensors import unit

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, table of section 3.2
_SIDES = {5: 176, 4: 99, 3: 44, 2: 22}
"""Number of scales -> shorter side that it needs: the minimum of torchmetrics for its 11-pixel window; for two scales,
the window has to fit into the downsampled image."""


def ms_ssim_scales(height: int, width: int) -> int:
    """The number of scales of MS-SSIM at this image size; 0 = too small.

    The published metric has five. Smaller images use the first four, three or two, with weights rescaled to sum to one;
    values with different numbers of scales must not be compared.
    """
    side = min(height, width)
    return next((scales for scales, needed in _SIDES.items() if side >= needed), 0)


def ms_ssim(image: Image, real: Image) -> float | None:
    """Multi-scale structural similarity (Wang et al. 2003) with `ms_ssim_scales` scales; None where that is 0."""
    scales = ms_ssim_scales(*real.shape[:2])
    if scales == 0:
        return None
    weights = _WEIGHTS[:scales]
    betas = tuple(weight / sum(weights) for weight in weights)
    return float(multiscale_structural_similarity_index_measure(unit(image), unit(real), data_range=1.0, betas=betas))


def open_metric(setup: Setup) -> Metric:
    return compared(one_by_one(ms_ssim), {"scales": ms_ssim_scales(setup.height, setup.width)})
