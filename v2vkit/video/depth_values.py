"""Encodings of depth: 16 bits for storage, 8 bits of normalised inverse depth for a network."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.video.depth_files import KITTI_SCALE, Depth, read_depth

NEAR, FAR = 1.0, 100.0
"""Metres that map to 1 and 0 in a network's input, by default."""
LARGEST = 65535
"""Stored value of depth too large for 16 bits."""
_SAMPLES = 4096  # pixels per frame from which a clip's range is estimated
_BEYOND = 2.0  # per cent of the pixels beyond either end of a clip's range
_FRAMES = 64  # frames per shot from which its range is estimated


def encode_depth(depth: NDArray[np.floating], valid: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Depth as it is stored and as KITTI's depth PNGs have it: depth * KITTI_SCALE rounded, 0 = unknown.

    Args:
        depth: [H, W] metres; ignored where `valid` is False.
        valid: [H, W].

    Returns:
        uint16 [H, W]. Known depth takes 1 to 65535; 65535 means that or farther (255.99 m).
    """
    known = np.where(valid, depth, 0).astype(np.float64) * KITTI_SCALE
    return np.where(valid, np.clip(np.rint(known), 1, LARGEST), 0).astype(np.uint16)


def decode_depth(stored: NDArray[np.generic]) -> Depth:
    """Inverse of `encode_depth`: depth float32 [H, W], 0 where unknown, and valid bool [H, W].

    Raises:
        V2VError: not 16 bits and one channel.
    """
    if stored.dtype != np.uint16 or stored.ndim != 2:
        raise V2VError(
            "depth-damaged",
            f"A stored depth map is {stored.dtype} with {stored.ndim} dimensions, not 16 bits with one channel.",
            "Make the depth artifact again.",
        )
    numbers = stored.astype(np.float64)
    return (numbers / KITTI_SCALE).astype(np.float32), numbers > 0


def encode_relative(
    depth: NDArray[np.floating], valid: NDArray[np.bool_], *, near: float, far: float
) -> NDArray[np.uint16]:
    """Relative depth as it is stored: 1 + 65534 times the normalised inverse depth of `depth_channel`, 0 = unknown.

    Inverse depth, because depth computed from disparity spans many orders of magnitude.

    Args:
        depth, valid: [H, W], as in `read_depth`.
        near, far: range of the shot (`depth_range`); depth is clipped to it.
    """
    share = _share(np.where(valid, depth, near), near, far)
    return np.where(valid, 1 + np.rint((LARGEST - 1) * share), 0).astype(np.uint16)


def relative_channel(stored: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Network input from the result of `encode_relative`: uint8 [2, H, W] as in `depth_channel`."""
    share = (stored.astype(np.float64) - 1) / (LARGEST - 1)
    known = stored > 0
    values = np.where(known, np.rint(255 * share), 0).astype(np.uint8)
    return np.stack([values, np.where(known, 255, 0).astype(np.uint8)])


def depth_channel(
    depth: NDArray[np.floating], valid: NDArray[np.bool_], *, near: float, far: float
) -> NDArray[np.uint8]:
    """Depth as network input: inverse depth, (1/d - 1/far) / (1/near - 1/far), clipped to [0, 1].

    Inverse depth resolves near objects best, is linear in image motion, and maps infinite depth close to 0. For metric
    depth `near` and `far` belong to the model, so a distance has the same value in every video. For relative depth they
    are the clip's own (`depth_range`), which cancels its unknown scale (and for disparity its unknown shift).

    Args:
        depth: [H, W], in the unit of `near` and `far`.
        valid: [H, W].
        near, far: depths that map to 255 and 0; 0 < near < far, and far may be infinite.

    Returns:
        uint8 [2, H, W]: inverse depth (0 where unknown), and 255 where depth is known.

    Raises:
        V2VError: not 0 < near < far.
    """
    if not 0 < near < far:
        raise V2VError(
            "depth-range-invalid",
            f"The depth range is {near:g} to {far:g}.",
            "The near end must be positive and below the far end.",
        )
    share = _share(np.where(valid, depth, near), near, far)
    values = np.where(valid, np.rint(255 * share), 0).astype(np.uint8)
    return np.stack([values, np.where(valid, 255, 0).astype(np.uint8)])


def _share(depth: NDArray[np.floating], near: float, far: float) -> NDArray[np.float64]:
    """Normalised inverse depth: 1 at `near`, 0 at `far`, clipped to [0, 1]."""
    share = (1 / depth.astype(np.float64) - 1 / far) / (1 / near - 1 / far)
    return np.asarray(np.clip(share, 0, 1), np.float64)


def range_of_files(folder: str | Path, names: Iterable[str], *, inverse: bool = False) -> tuple[float, float]:
    """Near and far end of the relative depth of one shot (`depth_range`), from at most 64 evenly spaced files.

    Args:
        folder, names: the depth maps of the shot's frames.
        inverse: as in `read_depth`.

    Raises:
        V2VError: a file cannot be read, or no pixel has a depth.
    """
    of_shot = list(names)
    chosen = np.unique(np.linspace(0, len(of_shot) - 1, min(_FRAMES, len(of_shot))).round().astype(int))
    try:
        return depth_range(read_depth(Path(folder) / of_shot[number], inverse=inverse) for number in chosen)
    except V2VError as error:
        raise V2VError(error.code, f"{folder}: {error.message}", error.hint) from None


def depth_range(frames: Iterable[Depth]) -> tuple[float, float]:
    """Near and far end of a clip of relative depth, for `depth_channel`; 2 % of the pixels are beyond either end.

    Args:
        frames: depth [H, W] and valid [H, W] of each frame; at most 4096 pixels of each are kept in memory.

    Returns:
        (near, far), near < far.

    Raises:
        V2VError: no pixel of the clip has a depth.
    """
    kept = []
    for depth, valid in frames:
        known = depth[valid]
        kept.append(known[:: max(1, -(-len(known) // _SAMPLES))].astype(np.float64))
    pixels = np.concatenate(kept) if kept else np.zeros(0)
    if not len(pixels):
        raise V2VError(
            "depth-missing", "No pixel of the clip has a depth.", "Check the depth maps: 0 means that depth is unknown."
        )
    low, high = np.percentile(1 / pixels, (_BEYOND, 100 - _BEYOND))
    if high <= low * (1 + 1e-6):  # a single distance: put it in the middle of the range
        low, high = low / 2, high * 1.5
    return float(1 / high), float(1 / low)
