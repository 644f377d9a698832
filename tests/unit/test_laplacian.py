"""Laplacian edges: numpy and torch agree in every pixel, thresholds mean grey levels, flat images have no edges."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from v2vkit.conditions import laplacian
from v2vkit.models import laplacian as torch_laplacian
from v2vkit.models.laplacian import WEIGHT_STEPS, Kernel, gaussian_weights


def _noise(height: int = 37, width: int = 53) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _photo_like(height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """Smooth shading, shapes with hard borders and a little noise."""
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3)).astype(np.float32), (0, 0), 9) * 1.0
    cv2.circle(image, (40, 40), 21, (200.0, 30.0, 90.0), -1)
    cv2.rectangle(image, (70, 20), (120, 80), (20.0, 180.0, 160.0), -1)
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def _unit(image: NDArray[np.uint8]) -> torch.Tensor:
    """[1, 3, H, W] in [-1, 1], in the rounding of float32."""
    return torch.from_numpy(image.astype(np.float32) / np.float32(127.5) - 1).permute(2, 0, 1)[None]


@pytest.mark.parametrize("kernel", ["cross", "square"])
@pytest.mark.parametrize("sigma", [0.0, 0.6, 1.0, 2.5])
@pytest.mark.parametrize("threshold", [0.0, 3.0, 8.0, 20.0])
def test_numpy_and_torch_agree_in_every_pixel(kernel: Kernel, sigma: float, threshold: float) -> None:
    for image in (_noise(), _photo_like(), _noise(1, 1), _noise(1, 9), _noise(2, 3)):
        ours = laplacian.laplacian_edges(image, kernel=kernel, sigma=sigma, threshold=threshold)
        theirs = torch_laplacian.laplacian_edges(_unit(image), kernel=kernel, sigma=sigma, threshold=threshold)
        assert theirs.shape == (1, 1, *image.shape[:2])
        assert np.array_equal(ours, theirs[0, 0].numpy() == 1)


@pytest.mark.parametrize(("kernel", "factor"), [("cross", 1), ("square", 8 / 3)])
def test_the_threshold_is_in_grey_levels_and_a_tie_is_no_edge(kernel: Kernel, factor: float) -> None:
    """One pixel 10 levels above the rest: the Laplacian is 40 there (cross), or 80 / 3 (square)."""
    image = np.full((9, 9, 3), 100, np.uint8)
    image[4, 4] = 110
    height = 40.0 if kernel == "cross" else 10 * factor

    def edges(threshold: float) -> NDArray[np.bool_]:
        found = laplacian.laplacian_edges(image, kernel=kernel, sigma=0, threshold=threshold)
        same = torch_laplacian.laplacian_edges(_unit(image), kernel=kernel, sigma=0, threshold=threshold)
        assert np.array_equal(found, same[0, 0].numpy() == 1)
        return found

    assert edges(height - 0.01)[4, 4]
    assert not edges(height + 0.01).any()
    if kernel == "cross":
        assert not edges(40.0).any()  # exactly the response
        assert edges(9.99).sum() == 5
        assert edges(10.0).sum() == 1  # the four neighbours respond with exactly 10


def test_both_kernels_measure_the_same_curvature() -> None:
    """x^2 along the rows has the second derivative 2: the response of either kernel is 2, up to rounding to levels."""
    image = np.repeat((np.arange(15)[None, :, None] - 7) ** 2, 5, 0).repeat(3, 2).astype(np.uint8)
    for kernel in ("cross", "square"):
        inner = np.s_[:, 2:-2]
        assert laplacian.laplacian_edges(image, kernel=kernel, sigma=0, threshold=1.99)[inner].all()
        assert not laplacian.laplacian_edges(image, kernel=kernel, sigma=0, threshold=2.01)[inner].any()


def test_edges_stand_where_shapes_end() -> None:
    image = np.full((40, 60, 3), 60, np.uint8)
    image[10:30, 20:40] = 180
    edges = laplacian.laplacian_edges(image)
    assert edges[9:11, 22:38].all()
    assert not edges[:6].any()
    assert not edges[15:25, 25:35].any()


def test_flat_images_have_no_edges_even_at_threshold_zero() -> None:
    image = np.full((8, 12, 3), (10, 200, 77), np.uint8)
    assert not laplacian.laplacian_edges(image, threshold=0).any()
    assert not torch_laplacian.laplacian_edges(_unit(image), threshold=0).any()


def test_generated_frames_have_the_edges_of_their_stored_levels() -> None:
    image = _photo_like()
    x = (_unit(image) + (torch.rand(1, 3, 96, 128) - 0.5) * 0.007).requires_grad_()
    edges = torch_laplacian.laplacian_edges(x)
    assert not edges.requires_grad
    assert np.array_equal(edges[0, 0].numpy() == 1, laplacian.laplacian_edges(image))


def test_a_batch_is_done_image_by_image_in_its_dtype() -> None:
    batch = torch.cat([_unit(_noise()), _unit(_noise()[::-1].copy())])
    whole = torch_laplacian.laplacian_edges(batch.double())
    assert whole.dtype == torch.float64
    for i in range(2):
        assert torch.equal(whole[i : i + 1].float(), torch_laplacian.laplacian_edges(batch[i : i + 1]))


def test_gaussian_weights_sum_exactly_and_approximate_the_gaussian() -> None:
    assert gaussian_weights(0) == [WEIGHT_STEPS]
    for sigma in (0.1, 0.5, 1.0, 3.0, 10.0):
        weights = gaussian_weights(sigma)
        assert sum(weights) == WEIGHT_STEPS
        assert weights == weights[::-1]
        assert min(weights) >= 0
    wanted = cv2.getGaussianKernel(7, 1.0)[:, 0]
    np.testing.assert_allclose(np.array(gaussian_weights(1.0)) / WEIGHT_STEPS, wanted, atol=5e-4)


def test_numpy_edges_do_without_torch() -> None:
    code = "import sys, v2vkit.conditions.laplacian; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
