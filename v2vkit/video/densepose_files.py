"""Reads and checks DensePose IUV pictures."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.video.images import read_image
from v2vkit.video.png_header import RGB, png_header

NUM_PARTS = 24
"""Body parts, numbered from 1; 0 is the background."""


def read_iuv(path: str | Path) -> NDArray[np.uint8]:
    """One IUV picture: body part I and surface coordinates U, V of every pixel.

    DensePose writes [I, U, V] with OpenCV, whose channel order is BGR. So the PNG holds I (0 to 24) in blue, U in green
    and V in red (0 to 255). The returned RGB array is [V, U, I], the order of vid2vid's published networks.

    Returns:
        uint8 [H, W, 3].

    Raises:
        V2VError: missing, damaged, not a PNG of 8 bits and three channels, or its blue channel holds no part indices.
    """
    try:
        header = png_header(path)
    except OSError as error:
        raise V2VError(
            "file-unreadable", f"The DensePose map {path} cannot be read: {error.strerror}.", "Check the path."
        ) from None
    if header is None:
        raise V2VError(
            "format-unsupported",
            f"The DensePose map {path} is not a PNG.",
            "Save IUV pictures as PNG: other formats change the numbers.",
        )
    if header != (8, RGB):
        raise V2VError(
            "pixel-format-unsupported",
            f"The DensePose map {path} does not have three channels of 8 bits.",
            "Save the part index I and the coordinates U and V as one PNG: I blue, U green, V red, as DensePose does.",
        )
    iuv = read_image(path)
    if int(iuv[..., 2].max()) > NUM_PARTS:
        swapped = int(iuv[..., 0].max()) <= NUM_PARTS
        where = "; its red channel does, so red and blue are swapped" if swapped else ""
        raise V2VError(
            "part-out-of-range",
            f"The blue channel of the DensePose map {path} holds {int(iuv[..., 2].max())}, but it must hold the part "
            f"index, 0 to {NUM_PARTS}{where}.",
            "Save I as blue, U as green and V as red: with OpenCV, write the array [I, U, V] as it is.",
        )
    return iuv
