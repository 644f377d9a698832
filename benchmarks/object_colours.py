"""How much the colour of an object changes over time: the paper's failure of a car that changes its look."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


def mean_colours(
    frames: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint16]]], *, least_pixels: int = LEAST_PIXELS
) -> dict[int, dict[int, NDArray[np.float64]]]:
    """Object -> number of a frame -> its mean colour there, float64 [3]; frames in which it is too small are left out.

    Args:
        frames: RGB uint8 [H, W, 3] with true object ids uint16 [H, W] (0 = none), the same over the shot.
        least_pixels: an object with fewer pixels in a frame is left out of it.
    """
    colours: dict[int, dict[int, NDArray[np.float64]]] = defaultdict(dict)
    for t, (image, ids) in enumerate(frames):
        flat, pixels = ids.ravel(), image.reshape(-1, 3).astype(float)
        counts = np.bincount(flat)
        sums = np.stack([np.bincount(flat, weights=pixels[:, channel]) for channel in range(3)], 1)
        for number in np.flatnonzero(counts >= least_pixels):
            if number:
                colours[int(number)][t] = sums[number] / counts[number]
    return dict(colours)


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
    colours = mean_colours(frames, least_pixels=least_pixels)
    seen = [np.stack(list(of.values())) for of in colours.values() if len(of) >= least_frames]
    if not seen:
        return ColourChange(0.0, 0.0, 0.0, 0)
    variances = [float(np.var(of, axis=0).sum()) for of in seen]
    flicker = [float((np.diff(of, axis=0) ** 2).sum(1).mean()) for of in seen]
    return ColourChange(float(np.mean(variances)), max(variances), float(np.mean(flicker)), len(seen))


@dataclass(frozen=True)
class StyleChange:
    """What styles do to the mean colours of objects, and how much of it changes over time; of 255 levels per channel.

    Each object's colour in a frame is taken relative to its mean over the styles, so distance, light and the texture of
    the labels, which all styles share, do not count.

    Attributes:
        reach: variance over styles (sum of the three channels), averaged over frames, then over objects: how far a
            style can colour an object.
        change: variance over time in one style, averaged over styles and objects.
        num_objects: number of objects.
    """

    reach: float
    change: float
    num_objects: int

    @property
    def share(self) -> float:
        """Share of what styles do that does not stay: 0 = colours stay, 1 = they are drawn again in every frame."""
        return self.change / self.reach if self.reach else 0.0


def style_change(
    styles: Sequence[Mapping[int, Mapping[int, NDArray[np.float64]]]], *, least_frames: int = LEAST_FRAMES
) -> StyleChange:
    """How much of what styles do changes over one shot.

    Args:
        styles: the `mean_colours` of one shot in each of two or more styles, with the same objects and frames.
        least_frames: objects that are seen in fewer frames are left out.
    """
    reach, change = [], []
    for number, first in styles[0].items():
        if len(first) >= least_frames:
            colours = np.array([list(of[number].values()) for of in styles])  # [styles, frames, 3]
            own = colours - colours.mean(0)
            reach.append(float(own.var(0).sum(-1).mean()))
            change.append(float(own.var(1).sum(-1).mean()))
    if not reach:
        return StyleChange(0.0, 0.0, 0)
    return StyleChange(float(np.mean(reach)), float(np.mean(change)), len(reach))
