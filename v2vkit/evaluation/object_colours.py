"""How much the colour of an object changes over time: the paper's failure of a car that changes its look."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_PIXELS = 16
"""Objects with fewer pixels in a frame are left out of it: their mean colour is that of their edges."""
LEAST_FRAMES = 5
"""Objects that are seen in fewer frames are left out."""


@dataclass(frozen=True)
class ColourChange:
    """How the mean colours of objects change; of 255 levels per channel.

    Attributes:
        variance: variance over time of the mean colour (sum of the three channels), averaged over objects.
        worst: the largest of an object.
        flicker: squared change from frame to frame (sum of the channels), averaged over frames, then over objects.
        num_objects: number of objects.
    """

    variance: float
    worst: float
    flicker: float
    num_objects: int


def colour_change(
    frames: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint16]]],
    *,
    least_pixels: int = LEAST_PIXELS,
    least_frames: int = LEAST_FRAMES,
) -> ColourChange:
    """The change over the frames of one shot.

    Args:
        frames: RGB uint8 [H, W, 3] with true object ids uint16 [H, W] (0 = none), the same over the shot.
        least_pixels, least_frames: smaller objects are left out of a frame, and of the result if seen too briefly.
    """
    colours: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    for image, ids in frames:
        flat, pixels = ids.ravel(), image.reshape(-1, 3).astype(float)
        counts = np.bincount(flat)
        sums = np.stack([np.bincount(flat, weights=pixels[:, channel]) for channel in range(3)], 1)
        for number in np.flatnonzero(counts >= least_pixels):
            if number:
                colours[int(number)].append(sums[number] / counts[number])
    seen = [np.stack(of) for of in colours.values() if len(of) >= least_frames]
    if not seen:
        return ColourChange(0.0, 0.0, 0.0, 0)
    variances = [float(np.var(of, axis=0).sum()) for of in seen]
    flicker = [float((np.diff(of, axis=0) ** 2).sum(1).mean()) for of in seen]
    return ColourChange(float(np.mean(variances)), max(variances), float(np.mean(flicker)), len(seen))
