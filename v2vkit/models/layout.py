"""Conversions between pictures (RGB uint8, channels last) and network tensors (float32 in [-1, 1], channels first)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_signed(levels: Tensor) -> Tensor:
    """Levels from 0 to 255 -> float32 in [-1, 1]."""
    return levels.float() / 127.5 - 1


def to_levels(x: Tensor) -> Tensor:
    """float32 in [-1, 1] -> whole levels from 0 to 255, still float32; values outside are clamped."""
    return ((x.detach().float() + 1) * 127.5).round().clamp(0, 255)


def from_images(images: NDArray[np.uint8]) -> Tensor:
    """RGB uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1]."""
    return to_signed(torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2))


def to_image(x: Tensor) -> NDArray[np.uint8]:
    """[3, H, W] in [-1, 1] -> RGB uint8 [H, W, 3]."""
    levels = to_levels(x).to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())
