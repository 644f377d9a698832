"""From driven frames to rendered ones, in one pass and constant memory."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.regions import Regions
from v2vkit.config import Precision
from v2vkit.engine.devices import fitting
from v2vkit.engine.threads import batched, map_in_threads, prefetch
from v2vkit.inference.driving import Drive, Driven
from v2vkit.inference.rollout import Rollout
from v2vkit.inference.styles import Style, Styles
from v2vkit.models.any_generator import AnyGenerator

Image = NDArray[np.uint8]

_BURST = 4
"""Frames; more gain little, and all of their source maps are in memory."""


def render_frames(
    generator: AnyGenerator,
    drive: Drive,
    *,
    halvings: int = 0,
    first_frames: Image | None = None,
    opener: AnyGenerator | None = None,
    style: Style | None = None,
    precision: Precision = "fp32",
) -> Iterator[tuple[Driven, Image]]:
    """(driven frame, rendered frame RGB uint8 [H, W, 3]) for every frame of the drive.

    Args:
        generator: in evaluation mode, on its device.
        halvings: of `ModelInfo`.
        first_frames: L real frames [L, H, W, 3] that take the place of the first L of each video.
        opener: makes the first L frames of each video (`find_opener`).
        style: for a generator that takes features (`find_style`).
        precision: of `Rollout`.
    """
    rollout: Rollout | None = None
    for driven in drive.frames:
        if driven.begins or rollout is None:
            given = [] if first_frames is None else list(first_frames)
            rollout = Rollout(generator, halvings, None if given else opener, precision, given=given)
        yield driven, rollout.image(driven.conditioning(style))


def pace(drive: Drive, device: torch.device) -> Drive:
    """The drive with its frames made ahead of the network that runs on `device`: beside it, or on a CPU before it.

    On a CPU the network's threads share out every layer and wait for the last of them, whose core another thread has
    taken. So there is a burst of maps, then one of rendered frames.
    """
    frames = drive.frames
    ahead = chain.from_iterable(batched(frames, _BURST)) if device.type == "cpu" else prefetch(frames)
    return replace(drive, frames=ahead)


def write_each(
    rendered: Iterator[tuple[Driven, Image]], write: Callable[[Driven, Image], None], device: torch.device
) -> Iterator[int]:
    """Calls `write` in a thread for every rendered frame, in order; on a CPU while the next maps are made (`pace`).

    Yields:
        how many frames have been written since the last time.
    """

    def write_all(batch: list[tuple[Driven, Image]]) -> int:
        for driven, image in batch:
            write(driven, image)
        return len(batch)

    size = _BURST if device.type == "cpu" else 1
    return map_in_threads(write_all, batched(rendered, size), waiting=_BURST // size)


def side_by_side(source: Conditioning, driven: Driven, image: Image) -> Image:
    """[driving frame |] source map | output, RGB uint8 [H, n W, 3]."""
    parts = [source.preview(driven.s), image]
    if driven.image is not None:
        parts.insert(0, driven.image)
    return np.concatenate(parts, 1)


def style_sheet(
    generator: AnyGenerator, info: ModelInfo, styles: Styles, s: NDArray[np.float32], regions: Regions
) -> Image:
    """A source map and the first frame that it makes in every style, side by side: RGB uint8 [H, n W, 3].

    Args:
        generator: in evaluation mode; one that begins by itself.
        s: source map float32 [C, H, W].
        regions: of the same frame, int32 [H, W].
    """
    flow = np.zeros((3, *regions.shape), np.float32) if generator.config.takes_flow else None  # nothing before it
    driven = Driven(s, flow=flow, regions=regions)
    images = [info.conditioning.preview(s)]
    for seed in styles.seeds:
        images.append(Rollout(generator, info.halvings).image(driven.conditioning(Style(styles, seed))))
    return np.concatenate(images, 1)


def warm_up(generator: AnyGenerator, width: int, height: int, halvings: int = 0, precision: Precision = "fp32") -> None:
    """One throw-away frame, so that a model that does not fit fails before anything is written.

    Raises:
        V2VError: it does not.
    """
    zeros = np.zeros((generator.config.source_channels, height, width), np.float32)
    device = next(generator.parameters()).device
    with fitting("The model", device, "Close what else uses that memory, or give another --device."):
        Rollout(generator, halvings, precision=precision).step(zeros)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
