"""Optical flow by Dense Inverse Search (Kroeger et al., ECCV 2016) from OpenCV: no weights, deterministic."""

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image

_MIN_SIDE = 16
"""Smallest side in pixels; smaller images are padded, because OpenCV's DIS raises or crashes the process on them."""


class DIS:
    """Backward flow by DIS.

    Args:
        preset: `medium` is OpenCV's preset; `quality` also works at full resolution with 10 variational iterations:
            half the error at about four times the time.

    Not thread-safe: OpenCV keeps buffers in the object.
    """

    name = "dis"

    def __init__(self, *, preset: Literal["medium", "quality"] = "medium"):
        self.version = f"opencv-{cv2.__version__}-{preset}"
        self._dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
        self._finest_scale = self._dis.getFinestScale()
        if preset == "quality":
            self._finest_scale = 0
            self._dis.setVariationalRefinementIterations(10)

    def __call__(self, current: Image, previous: Image) -> NDArray[np.float32]:
        """Backward flow float32 [H, W, 2] in pixels, on the grid of `current`, from RGB uint8 [H, W, 3] of any size."""
        assert current.shape == previous.shape, (current.shape, previous.shape)
        height, width = current.shape[:2]
        # On an image below about 46 pixels OpenCV changes this setting of the object, and with it every later result.
        self._dis.setFinestScale(self._finest_scale)
        flow = self._dis.calc(_gray(current), _gray(previous), None)
        return flow[:height, :width]


def _gray(image: Image) -> Image:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    down, right = (max(0, _MIN_SIDE - side) for side in gray.shape)
    if down or right:
        gray = cv2.copyMakeBorder(gray, 0, down, 0, right, cv2.BORDER_REPLICATE)
    return gray  # type: ignore[return-value]
