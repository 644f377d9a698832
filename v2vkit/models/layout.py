"""Conversions between pictures (RGB uint8, channels last) and network tensors (float32 in [-1, 1], channels first)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def from_images(images: NDArray[np.uint8]) -> Tensor:
    """RGB uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_image(x: Tensor) -> NDArray[np.uint8]:
    """[3, H, W] in [-1, 1] -> RGB uint8 [H, W, 3]."""
    scaled = ((x.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())
