"""Label and instance ids in PNG files that somebody else made: checked while they are read."""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.video.images import read_numbers
from v2vkit.video.png_header import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, png_header
from v2vkit.weights.files import refuse_pointer


def read_ids(path: str | Path, *, what: Literal["label", "instance"], allow_palette: bool) -> NDArray[np.int64]:
    """The ids in a PNG of one channel, int64 [H, W].

    Args:
        path: the file.
        what: kind of map, for messages.
        allow_palette: take the stored numbers of a palette PNG as ids; else palettes are refused.

    Raises:
        V2VError: not a PNG, damaged, or with colours or a palette instead of ids.
    """
    try:
        header = png_header(path)
    except OSError as error:
        raise V2VError(
            "file-unreadable", f"The {what} map {path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
    if header is None:
        refuse_pointer(path)
        raise V2VError(
            "format-unsupported",
            f"The {what} map {path} is not a PNG.",
            f"Save {what} maps as PNG: JPEG and WebP change the ids.",
        )
    if header.colour == PALETTE and not allow_palette:
        raise V2VError(
            "pixel-format-unsupported",
            f"The {what} map {path} is a palette PNG, whose stored numbers need not be the ids.",
            "Save it as a single-channel PNG of ids."
            if what == "instance"
            else "If they are (as in PASCAL VOC), say --allow-palette to `v2v ingest`; otherwise save it as a "
            "single-channel PNG of ids.",
        )
    channels = {RGB: "3 channels (colours)", RGBA: "4 channels (colours)", GREY_ALPHA: "2 channels"}
    if header.colour in channels:
        raise V2VError(
            "pixel-format-unsupported",
            f"The {what} map {path} has {channels[header.colour]} instead of one channel of ids.",
            "Save a single-channel PNG of ids."
            if what == "instance"
            else "If the colours are classes, give their table with --classes (cityscapes, camvid, a TOML file); "
            "otherwise save a single-channel PNG of ids.",
        )
    if header.colour == GREY and header.bits < 8:
        raise V2VError(
            "pixel-format-unsupported",
            f"The {what} map {path} has {header.bits} bits per pixel, which programs read as different numbers.",
            "Save it with 8 bits per pixel.",
        )
    return read_numbers(path).astype(np.int64)
