"""Finds the face regions in source maps of people, for the face discriminator (specification 1.5, 1.7).

B frames, H x W pixels.
"""

import torch
from torch import Tensor

from v2vkit.conditions.skeleton import LIMBS

_NECK = next(color for first, last, color in LIMBS if (first, last) == (0, 1))
_FAINTEST = 0.1  # of full brightness; strokes have soft edges, where their colour is mixed with black
_TOLERANCE = 0.1  # of that brightness
_FACE_PARTS = 0.95  # DensePose's parts 23 and 24 of 24 are the halves of the face; 0.9 in [-1, 1], as published

Corner = tuple[int, int]


def region_side(height: int, width: int) -> int:
    """Side of the square window in pixels: a quarter of the frame's height, a multiple of 8, at least 8."""
    return min(height, width, max(8, height // 32 * 8))


def find_faces(s: Tensor, *, densepose: bool = False) -> list[Corner | None]:
    """Top left corner (y, x) of each frame's window, centred on the face and kept inside the frame.

    The face is the stroke from nose to neck, or DensePose's parts of the face.

    Args:
        s: channels of the condition `pose`, or `densepose` [B, 3, H, W] in [0, 1].

    Returns:
        One per frame; None where there is no face.
    """
    height, width = s.shape[-2:]
    side = region_side(height, width)
    face = s[:, 2] > _FACE_PARTS if densepose else _necks(s)
    ends = []
    for size, other in ((height, 2), (width, 1)):
        touched = face.any(other).int()  # [B, size]; argmax finds the first
        ends += [touched.argmax(1), size - 1 - touched.flip(1).argmax(1)]
    # Read in one go: a GPU has to be waited for.
    corners: list[Corner | None] = []
    for found, top, bottom, left, right in torch.stack([face.any(2).any(1).long(), *ends], 1).tolist():
        y, x = (top + bottom) // 2 - side // 2, (left + right) // 2 - side // 2
        corners.append((min(max(y, 0), height - side), min(max(x, 0), width - side)) if found else None)
    return corners


def _necks(s: Tensor) -> Tensor:
    """Where the stroke from nose to neck is drawn [B, H, W]."""
    color = s.new_tensor(_NECK).view(1, 3, 1, 1) / max(_NECK)
    brightness = s.amax(1, keepdim=True)
    return ((s - color * brightness).abs() <= _TOLERANCE * brightness).all(1) & (brightness[:, 0] > _FAINTEST)


def cut_faces(frames: Tensor, corners: list[Corner | None]) -> Tensor:
    """The windows [N, C, side, side] of those N of the frames [B, C, H, W] that have a face."""
    side = region_side(*frames.shape[-2:])
    cut = [
        frame[:, corner[0] : corner[0] + side, corner[1] : corner[1] + side]
        for frame, corner in zip(frames, corners, strict=True)
        if corner is not None
    ]
    return torch.stack(cut)
