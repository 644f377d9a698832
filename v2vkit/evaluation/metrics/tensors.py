"""Frames as tensors, and resizing as clean-fid does."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.arrays import Image
from v2vkit.models.layout import from_images


def unit(image: Image) -> Tensor:
    """uint8 [H, W, 3] to float32 [1, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def signed(images: Sequence[Image]) -> Tensor:
    """uint8 [H, W, 3] each to float32 [B, 3, H, W] in [-1, 1]."""
    return from_images(np.stack(images))


def clean_resize(images: Sequence[Image], size: tuple[int, int]) -> Tensor:
    """Bicubic resize with antialiasing and without rounding, as clean-fid does (Parmar et al. 2022).

    Args:
        images: uint8 [H, W, 3] each.
        size: (height, width).

    Returns:
        float32 [B, 3, height, width], 0 to 255.
    """
    from PIL import Image as Pillow

    def channel(values: NDArray[np.uint8]) -> NDArray[np.float32]:
        resized = Pillow.fromarray(values.astype(np.float32)).resize(size[::-1], Pillow.Resampling.BICUBIC)
        return np.asarray(resized, np.float32).clip(0, 255)

    return torch.from_numpy(
        np.stack([np.stack([channel(image[..., c]) for c in range(3)]) for image in images]).astype(np.float32)
    )
