"""Label maps in colours: which class each pixel has by a class table, and which colours it does not know."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from v2vkit.classes.table import ClassTable, Colour, built_in, tables_with, tables_with_colours
from v2vkit.config import IGNORE

_MOST_NAMED = 4
_UNKNOWN = -1


@dataclass(frozen=True)
class UnknownColour:
    """A colour that the table does not have: how many pixels have it, and the class with the nearest colour."""

    colour: Colour
    pixels: int
    nearest: str
    nearest_colour: Colour


def ids_of_colours(
    image: NDArray[np.uint8], table: ClassTable, *, nearest: bool = False
) -> tuple[NDArray[np.int64], list[UnknownColour]]:
    """Class ids of RGB uint8 [H, W, 3].

    Where several classes have one colour, the first of them is meant.

    Args:
        nearest: a colour that is no class's is taken for the nearest one (Euclidean in RGB).

    Returns:
        ids int64 [H, W], -1 where a colour is unknown; and the unknown colours, the most frequent first.
    """
    red, green, blue = (image[..., channel].astype(np.int32) for channel in range(3))
    codes = (red << 16) | (green << 8) | blue
    ids = _ids_by_code(table)[codes].astype(np.int64)
    missing = ids == _UNKNOWN
    if not missing.any():
        return ids, []
    known = _known(table)
    keys = np.array(sorted(known), np.int64)
    values = np.array([known[int(key)] for key in keys], np.int64)
    found, counts = np.unique(codes[missing].astype(np.int64), return_counts=True)
    colours = np.stack([found >> 16, (found >> 8) & 255, found & 255], -1)
    of_table = np.stack([keys >> 16, (keys >> 8) & 255, keys & 255], -1)
    from scipy.spatial import KDTree  # here, because it is slow to import

    closest = KDTree(of_table).query(colours)[1]
    if nearest:
        ids[missing] = values[closest][np.searchsorted(found, codes[missing])]
        return ids, []
    names = {of.id: of.name for of in table.classes}
    order = np.argsort(-counts, kind="stable")
    return ids, [
        UnknownColour(
            _colour(colours[i]), int(counts[i]), names[int(values[closest[i]])], _colour(of_table[closest[i]])
        )
        for i in order
    ]


def unknown_text(unknown: list[UnknownColour], table: ClassTable) -> tuple[str, str]:
    """A message and a hint about colours that the table does not have."""
    listed = "; ".join(
        f"{of.colour} in {of.pixels} pixels, nearest {of.nearest} {of.nearest_colour}" for of in unknown[:_MOST_NAMED]
    )
    more = f"; and {len(unknown) - _MOST_NAMED} more" * (len(unknown) > _MOST_NAMED)
    plural = "s" * (len(unknown) != 1)
    message = f"{len(unknown)} colour{plural} that the class table {table.name} does not have: {listed}{more}"
    others = [name for name in tables_with_colours(of.colour for of in unknown) if name != table.name]
    if others:
        return message, f"The table {' or '.join(others)} has these colours: --classes {others[0]}."
    if all(of.colour[1:] == (0, 0) for of in unknown):
        in_red = [name for name in tables_with(of.colour[0] for of in unknown) if built_in(name).ids_in_red]
        if in_red:
            return message, f"Their red channel holds ids of the table {' or '.join(in_red)}: --classes {in_red[0]}."
    return message, (
        "Give the table of these maps with --classes, or take each for the nearest one: `v2v ingest --nearest-colour`."
    )


def _known(table: ClassTable) -> dict[int, int]:
    """Code of a colour -> id of the first class that has it."""
    known: dict[int, int] = {}
    for of in table.classes:
        if of.colour is not None:
            known.setdefault(_code(of.colour), of.id)
    return known


@lru_cache(maxsize=1)
def _ids_by_code(table: ClassTable) -> NDArray[np.int16]:
    """The id of every colour by its code, -1 where no class has it: 32 MiB, ten times as fast as a search."""
    ids = np.full(1 << 24, _UNKNOWN, np.int16)
    for code, label in _known(table).items():
        ids[code] = label
    return ids


def _code(colour: Colour) -> int:
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]


def _colour(values: NDArray[np.int64]) -> Colour:
    return int(values[0]), int(values[1]), int(values[2])


def palette_of(table: ClassTable, default: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB uint8 [256, 3]: the table's colours by id, `default` [256, 3] for ids without one; 255 as in `default`."""
    colours = default.copy()
    for of in table.classes:
        if of.colour is not None and of.id != IGNORE:
            colours[of.id] = of.colour
    return colours
