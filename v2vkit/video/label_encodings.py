"""Label and instance maps that hold no plain ids: colours of a class table, palettes, ids in the red channel.

What a map holds is told from its file: grey PNGs hold ids; coloured ones ids in red where the table says that such
maps exist and green and blue do not contradict it (CARLA, SYNTHIA), else the colours of the classes.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from v2vkit.classes.colours import ids_of_colours, unknown_text
from v2vkit.classes.table import ClassTable, tables_with
from v2vkit.config import IGNORE, MAX_PIXELS
from v2vkit.errors import V2VError
from v2vkit.video.images import read_image, read_numbers
from v2vkit.video.png_header import PALETTE, RGB, RGBA, png_header

_MOST_NAMED = 8


def decode_labels(
    path: str | Path, table: ClassTable, *, nearest: bool = False, palette_ids: bool = False
) -> NDArray[np.int64] | None:
    """Ids of the table, int64 [H, W], from a map in colours; None where the file holds plain ids (or is no PNG).

    Args:
        nearest: colours that are no class's are taken for the nearest ones.
        palette_ids: the stored numbers of palette PNGs are the ids.

    Raises:
        V2VError: damaged, with colours that the table does not have, or the table has no colours.
    """
    kind, bits = _kind(path)
    if kind == PALETTE:
        if palette_ids:
            return None
        image = _palette_colours(path)
    elif kind in (RGB, RGBA):
        if table.ids_in_red and (ids := _ids_in_red(path, table, bits)) is not None:
            return ids
        image = read_image(path)
    else:
        return None
    if all(of.colour is None for of in table.classes):
        raise V2VError(
            "class-table-required",
            f"Label map {path} is in colours, and the class table {table.name} has none.",
            "Give a table with the colours of these maps, or maps of ids.",
        )
    ids, unknown = ids_of_colours(image, table, nearest=nearest)
    if unknown:
        message, hint = unknown_text(unknown, table)
        if kind == PALETTE:
            hint += " If the stored numbers of the palette are the ids, give --allow-palette."
        raise V2VError("label-colour-unknown", f"Label map {path} holds {message}.", hint)
    return ids


def decode_instances(path: str | Path, *, ids_in_red: bool, coloured: bool) -> NDArray[np.int64] | None:
    """Instance ids int64 [H, W], 0 = none, from a map in colours; None where the file holds plain ids.

    Args:
        ids_in_red: green and blue hold the instance (CARLA: green + 256 blue; SYNTHIA: green).
        coloured: every object has a colour of its own, black = none (CVAT); they are numbered by their colours.

    Raises:
        V2VError: damaged.
    """
    kind, bits = _kind(path)
    if ids_in_red and kind in (RGB, RGBA):
        channels = _channels(path, bits)
        return channels[..., 1] + (channels[..., 2] << 8 if bits == 8 else 0)
    if coloured and kind in (PALETTE, RGB, RGBA):
        image = (_palette_colours(path) if kind == PALETTE else read_image(path)).astype(np.int64)
        codes = (image[..., 0] << 16) | (image[..., 1] << 8) | image[..., 2]
        found = np.unique(codes)
        return np.searchsorted(found[found > 0], codes) + (codes > 0)
    return None


def classify(
    ids: NDArray[np.int64], path: str | Path, table: ClassTable, merged: Mapping[int, int] | None
) -> NDArray[np.int64]:
    """Ids of a table with ignored classes as 255, and classes merged.

    Args:
        ids: int64 [H, W], those of the table or 255.
        path: of the map, for messages.
        merged: id -> id that it becomes (`v2vkit.classes.remap`), all others 255; None = ids stay.

    Raises:
        V2VError: an id that the table does not have; says which tables have them all.
    """
    occurring = np.flatnonzero(np.bincount(ids.ravel())).tolist()  # np.unique sorts, which is slower
    unknown = [label for label in occurring if label not in table.names and label != IGNORE]
    if unknown:
        listed = ", ".join(map(str, unknown[:_MOST_NAMED])) + " ..." * (len(unknown) > _MOST_NAMED)
        others = [name for name in tables_with(occurring) if name != table.name]
        raise V2VError(
            "label-id-unknown",
            f"Label map {path} holds ids that the class table {table.name} does not have: {listed}.",
            f"Tables that have all its ids: {', '.join(others)}."
            if others
            else "Give the table of these maps with --classes, or map the ids to 255 with --ids FROM=255.",
        )
    become = np.full(IGNORE + 1, IGNORE, np.int64)
    for label in table.names:
        if label not in table.ignored:
            become[label] = label if merged is None else merged.get(label, IGNORE)
    for old, new in (merged or {}).items():  # an ignored class may be merged all the same
        become[old] = new
    return become[ids]


def _kind(path: str | Path) -> tuple[int, int]:
    """Colour type and bits per channel of a PNG; (-1, 0) of any other file, which the reader of ids explains."""
    try:
        header = png_header(path)
    except OSError:
        return -1, 0
    return (-1, 0) if header is None else (header.colour, header.bits)


def _ids_in_red(path: str | Path, table: ClassTable, bits: int) -> NDArray[np.int64] | None:
    """The red channel, where it holds ids of the table; None where the three channels are colours of its classes."""
    channels = _channels(path, bits)
    red = channels[..., 0]
    if not set(np.flatnonzero(np.bincount(red.ravel())).tolist()) <= {*table.names, IGNORE}:
        return None
    if bits == 8:
        _, unknown = ids_of_colours(channels.astype(np.uint8), table)
        if not unknown:  # black alone is a colour as well as the id 0: both mean the same class
            return None
    return red


def _channels(path: str | Path, bits: int) -> NDArray[np.int64]:
    """Red, green and blue as they are stored, int64 [H, W, 3]; Pillow would cut 16 bits down to 8.

    Raises:
        V2VError: damaged or too large.
    """
    if bits == 8:
        return read_image(path).astype(np.int64)
    with Image.open(path, formats=("PNG",)) as image:
        too_large = image.width * image.height > MAX_PIXELS
    stored = None if too_large else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 3:
        raise V2VError("image-damaged", f"The map {path} is damaged or too large.", "Replace the file.")
    return stored[..., 2::-1].astype(np.int64)


def _palette_colours(path: str | Path) -> NDArray[np.uint8]:
    """The colours that a palette PNG shows, RGB uint8 [H, W, 3]."""
    numbers = read_numbers(path)
    with Image.open(path, formats=("PNG",)) as image:
        stored = image.getpalette("RGB") or []
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(stored) // 3] = np.array(stored, np.uint8).reshape(-1, 3)
    return palette[numbers.astype(np.int64)]
