"""Generates a frame in overlapping tiles, for frames whose feature maps do not fit into memory.

Instance norms take the statistics of a tile, so tiles differ in brightness and contrast; the overlap blends them. Flow
samples only inside its tile.
"""

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from v2vkit.errors import V2VError
from v2vkit.inference.graphs import Forward
from v2vkit.models.any_generator import AnyGeneratorConfig
from v2vkit.models.generator import Output

FIELDS = ("x_fake", "h", "flow", "mask", "warped")
OVERLAP = 4
"""A tile shares 1 / OVERLAP of its side with the next one."""


def tiled(forward: Forward, tile: int, config: AnyGeneratorConfig) -> Forward:
    """The same forward pass in tiles of about `tile` x `tile` pixels of the finest scale.

    Args:
        forward: of any size.
        tile: longest side of a tile; frames within it are generated at once.
        config: of the generator.

    Raises:
        V2VError: the generator keeps feature maps between frames (COVST), or a tile is too small.
    """
    scales = config.num_scales
    unit = 1 << (scales - 1)
    if config.takes_flow:
        raise V2VError("setting-conflict", "--tile is not for models with COVST.", "Leave it out.")
    if tile < OVERLAP * unit:
        raise V2VError("tile-too-small", f"--tile {tile} is too small.", f"Give {OVERLAP * unit} or more.")

    def run(source: Tensor, history: list[Tensor] | None, *, first_frame: bool) -> list[Output]:
        height, width = source.shape[-2:]
        if max(height, width) <= tile:
            return forward(source, history, first_frame=first_frame)
        sums: list[dict[str, Tensor]] = [{} for _ in range(scales)]
        for rows, columns in product(spans(height, tile, unit), spans(width, tile, unit)):
            part = source[..., rows[0] : rows[1], columns[0] : columns[1]]
            past = None
            if history is not None:
                past = [
                    of[..., slice(*_coarse(rows, level)), slice(*_coarse(columns, level))]
                    for level, of in zip(reversed(range(scales)), history, strict=True)
                ]
            outputs = forward(part, past, first_frame=first_frame)
            for level, output, total in zip(reversed(range(scales)), outputs, sums, strict=True):
                places = (_coarse(rows, level), _coarse(columns, level))
                size = (-(-height // (1 << level)), -(-width // (1 << level)))
                _add(total, output, places, size, tile >> level)
        return [_mean(total) for total in sums]

    return run


def spans(length: int, tile: int, unit: int) -> list[tuple[int, int]]:
    """Beginnings and ends of overlapping tiles that cover `length` pixels; beginnings are multiples of `unit`."""
    if length <= tile:
        return [(0, length)]
    side = tile // unit * unit
    step = max(unit, (side - side // OVERLAP) // unit * unit)
    starts = [*range(0, length - side, step), (length - side) // unit * unit]
    ends = [start + side for start in starts[:-1]]
    return list(dict.fromkeys(zip(starts, [*ends, length], strict=True)))


def _coarse(span: tuple[int, int], level: int) -> tuple[int, int]:
    return span[0] >> level, -(-span[1] // (1 << level))


def _ramps(places: tuple[tuple[int, int], ...], size: tuple[int, int], tile: int) -> Iterator[Tensor]:
    """Weights of a tile's rows and columns: 1 inside, falling linearly where another tile continues."""
    for (start, end), whole in zip(places, size, strict=True):
        width = max(1, tile // OVERLAP)
        number = torch.arange(end - start, dtype=torch.float32)
        weight = torch.ones(end - start)
        if start > 0:
            weight = torch.minimum(weight, (number + 1) / (width + 1))
        if end < whole:
            weight = torch.minimum(weight, (end - start - number) / (width + 1))
        yield weight


def _add(
    total: dict[str, Tensor], output: Output, places: tuple[tuple[int, int], ...], size: tuple[int, int], tile: int
) -> None:
    """Adds a tile's weighted output to the sums of the frame."""
    (top, bottom), (left, right) = places
    down, across = _ramps(places, size, tile)
    weight = (down[:, None] * across).to(output.x_fake.device)
    values = {name: getattr(output, name) for name in FIELDS} | {"weight": torch.ones_like(output.x_fake[:, :1])}
    for name, value in values.items():
        if value is not None:
            whole = total.setdefault(name, value.new_zeros(*value.shape[:2], *size))
            whole[..., top:bottom, left:right] += value * weight.to(value.dtype)


def _mean(total: dict[str, Tensor]) -> Output:
    fields = {name: total[name] / total["weight"] if name in total else None for name in FIELDS}
    return Output(**fields)  # type: ignore[arg-type]
