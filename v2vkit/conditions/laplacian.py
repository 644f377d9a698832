"""Thresholded Laplacian edges of one image: E(x) of the S-Flow GAN paper (section 3.2).

`v2vkit.models.laplacian` is the same function for a batch of frames on any device, and states the constants.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.models.laplacian import GREY, SIGMA, THRESHOLD, Kernel, gaussian_weights, integer_threshold

_LAPLACIANS = {
    "cross": np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float64),
    "square": np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], np.float64),
}


def laplacian_edges(
    image: NDArray[np.uint8], *, kernel: Kernel = "cross", sigma: float = SIGMA, threshold: float = THRESHOLD
) -> NDArray[np.bool_]:
    """E(x) = 1 where |Laplacian(Gaussian(grey(x)))| > threshold. A response equal to the threshold is not an edge.

    All sums are of integers below 2^53, which float64 represents exactly, so the order of OpenCV's additions does not
    matter and every pixel equals that of the torch function.

    Args:
        image: RGB uint8 [H, W, 3].
        kernel: the discrete Laplacian.
        sigma: standard deviation of the Gaussian blur before it, in pixels; 0 for none.
        threshold: in grey levels of 255.

    Returns:
        bool [H, W].
    """
    grey = image.astype(np.float64) @ np.array(GREY, np.float64)
    weights = np.array(gaussian_weights(sigma), np.float64)
    smooth = cv2.sepFilter2D(grey, cv2.CV_64F, weights, weights, borderType=cv2.BORDER_REPLICATE)
    response = cv2.filter2D(smooth, cv2.CV_64F, _LAPLACIANS[kernel], borderType=cv2.BORDER_REPLICATE)
    edges: NDArray[np.bool_] = np.abs(response) > integer_threshold(threshold, kernel=kernel)
    return edges
