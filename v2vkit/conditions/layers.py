"""Layers: how `show` draws one kind of file as a picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from v2vkit.arrays import Image
from v2vkit.artifacts.images import decode_gray, decode_image
from v2vkit.classes.table import ClassTable
from v2vkit.conditions.label_ids import colorize


@dataclass(frozen=True)
class Layer:
    """How one kind of file is drawn.

    Attributes:
        render: (bytes, name for messages) -> RGB uint8 [H, W, 3].
        note: explains the colours; may be empty.
        legend: (name, RGB) of the colours; may be empty.
    """

    render: Callable[[bytes, str], Image]
    note: str = ""
    legend: tuple[tuple[str, tuple[int, int, int]], ...] = ()


OpenLayer = Callable[[Sequence[bytes]], Layer]
"""Example files, which set the colour scale -> the layer that draws all of them."""


def ids_layer(examples: Sequence[bytes]) -> Layer:
    """Maps of ids (labels, instances, parts): one colour per id."""
    return Layer(lambda data, where: colorize(decode_gray(data, where)), "one colour per id, black = 255 (ignore)")


def classes_layer(examples: Sequence[bytes], table: ClassTable) -> Layer:
    """Label maps in the colours of their classes, with those that occur in the examples as a legend."""
    occurring = set[int]().union(*(np.unique(decode_gray(data, "a label map")).tolist() for data in examples))
    shown = sorted(label for label in occurring if label in table.names)
    colours = colorize(np.array([shown]), table)[0].tolist() if shown else []
    legend = tuple((table.names[label], tuple(colour)) for label, colour in zip(shown, colours, strict=True))
    return Layer(
        lambda data, where: colorize(decode_gray(data, where), table),
        f"classes of {table.name}, black = 255 (ignore)",
        legend,
    )


def gray_layer(examples: Sequence[bytes]) -> Layer:
    """Drawings of one channel, uint8."""
    return Layer(lambda data, where: np.repeat(decode_gray(data, where).astype(np.uint8)[..., None], 3, axis=2))


def photo_layer(examples: Sequence[bytes]) -> Layer:
    """RGB images, unchanged."""
    return Layer(decode_image)
