"""Pictures of artifacts: a layer per kind of file, and contact sheets.

Layers of a condition's files are in `Condition.layers`.
"""

import re
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from v2vkit.arrays import Image
from v2vkit.classes.table import ClassTable
from v2vkit.conditions.flow import flow_color
from v2vkit.conditions.flow_io import decode_kitti
from v2vkit.conditions.label_ids import colorize
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.conditions.layers import Layer, OpenLayer, classes_layer, photo_layer
from v2vkit.conditions.region_features import features_from_json
from v2vkit.conditions.registry import condition_classes

Legend = Sequence[tuple[str, tuple[int, int, int]]]

TILE_SIDE = 256
"""Longest side of a picture on a contact sheet; smaller ones keep their size."""

BLANK = 208
"""Grey level of the empty field of a frame without a file."""

_GAP, _LINE = 4, 18
_LEGEND_WIDTH = 130
_BANDS_SIDE = 128
_PAPER, _INK = 255, 0


def _flow(examples: Sequence[bytes]) -> Layer:
    """One colour scale for all pictures, so that they can be compared; from the confident flow of the examples."""
    lengths = [np.zeros(1, np.float32)]
    for data in examples:
        flow, confidence = decode_kitti(data)
        lengths.append(np.linalg.norm(flow, axis=2)[confidence > 0][::7])
    scale = max(1.0, float(np.percentile(np.concatenate(lengths), 99.5)))
    return Layer(
        lambda data, where: flow_color(decode_kitti(data, where)[0], max_flow=scale),
        f"white = rest, red = right, full colour = {scale:.1f} px, darker = more",
    )


def _features(examples: Sequence[bytes]) -> Layer:
    return Layer(_bands, "a band per region: the colour of its label, then its vector as red, green and blue")


def _bands(data: bytes, where: str) -> Image:
    """One band per region: the colour of its label, and its first three numbers (-1 to 1) as red, green and blue."""
    bands = []
    for region in features_from_json(data, where):
        numbers = np.resize(region.vector, 3) if len(region.vector) < 3 else np.array(region.vector[:3])
        colour = np.rint((numbers + 1) * 127.5).astype(np.uint8)
        bands.append(np.stack([colorize(np.array([region.label]))[0], colour, colour]))
    picture = np.stack(bands) if bands else np.full((1, 3, 3), BLANK, np.uint8)
    return np.asarray(cv2.resize(picture, (_BANDS_SIDE, _BANDS_SIDE), interpolation=cv2.INTER_NEAREST), np.uint8)


def _patterns() -> Iterator[tuple[str, OpenLayer]]:
    """(pattern of the extension, layer) pairs, the best first."""
    yield r"flow\d+\.png", _flow
    for condition in condition_classes():
        yield from ((re.escape(extension), layer) for extension, layer in condition.layers.items())
    yield r"features\.json", _features
    yield r"jpg|png", photo_layer


def sort_layers(extensions: set[str]) -> list[str]:
    """The extensions that can be shown, the most informative first."""
    return [found for pattern, _ in _patterns() for found in sorted(extensions) if re.fullmatch(pattern, found)]


def open_layer(extension: str, examples: Sequence[bytes], table: ClassTable | None = None) -> Layer:
    """How to show files with this extension.

    Args:
        extension: without the leading dot; one that `sort_layers` gives.
        examples: some of the files, which set the colour scale.
        table: the classes of label maps, where they are known.

    Raises:
        V2VError: an example is damaged.
    """
    if table is not None and extension in LabelsCondition.required:
        return classes_layer(examples, table)
    return next(make(examples) for pattern, make in _patterns() if re.fullmatch(pattern, extension))


def _fit(picture: Image) -> Image:
    """The picture with its longest side at most `TILE_SIDE`."""
    height, width = picture.shape[:2]
    scale = TILE_SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _write(sheet: Image, text: str, x: int, y: int, width: int) -> None:
    """Write one line of text, cut at the front to at most `width` pixels."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    kept = text
    while kept and cv2.getTextSize(text, font, scale, 1)[0][0] > width:
        kept = kept[1:]
        text = ".." + kept if kept else ""
    cv2.putText(sheet, text, (x, y + _LINE - 5), font, scale, (_INK, _INK, _INK), 1, cv2.LINE_AA)


def contact_sheet(
    pictures: Sequence[Image | None], captions: Sequence[str], *, columns: int, title: str, legend: Legend = ()
) -> Image:
    """Pictures in rows, each above its caption, under a title.

    Args:
        pictures: RGB uint8 [H, W, 3] of any sizes, at least one; None is shown as an empty field.
        captions: one per picture.
        columns: pictures per row.
        legend: (name, RGB) of colours, shown below.

    Returns:
        RGB uint8 [H, W, 3].
    """
    tiles = [None if picture is None else _fit(picture) for picture in pictures]
    sizes = [tile.shape[:2] for tile in tiles if tile is not None] or [(TILE_SIDE // 2, TILE_SIDE // 2)]
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    cell_height, cell_width = height + _LINE + _GAP, width + _GAP
    sheet = np.full((_LINE + _GAP + rows * cell_height, _GAP + columns * cell_width, 3), _PAPER, np.uint8)
    _write(sheet, title, _GAP, 0, sheet.shape[1] - 2 * _GAP)
    for i, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        y, x = _LINE + _GAP + i // columns * cell_height, _GAP + i % columns * cell_width
        if tile is None:
            sheet[y : y + height, x : x + width] = BLANK
        else:
            sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        _write(sheet, caption, x, y + height, width)
    return np.concatenate([sheet, _legend(legend, sheet.shape[1])]) if legend else sheet


def _legend(legend: Legend, width: int) -> Image:
    """Squares of the colours with their names, in rows."""
    per_row = max(1, (width - _GAP) // _LEGEND_WIDTH)
    rows = -(-len(legend) // per_row)
    picture = np.full((rows * _LINE + _GAP, width, 3), _PAPER, np.uint8)
    for i, (name, colour) in enumerate(legend):
        y, x = i // per_row * _LINE, _GAP + i % per_row * _LEGEND_WIDTH
        picture[y + 3 : y + _LINE - 3, x : x + _LINE] = colour
        _write(picture, name, x + _LINE + _GAP, y, _LEGEND_WIDTH - _LINE - 2 * _GAP)
    return picture
