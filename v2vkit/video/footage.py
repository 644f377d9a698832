"""Reads both kinds of source alike: video files and image sequences."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2

from v2vkit.errors import V2VError
from v2vkit.video.damage import Damage
from v2vkit.video.decode import Frame, decode
from v2vkit.video.images import read_image
from v2vkit.video.png_header import png_header
from v2vkit.video.probe import probe
from v2vkit.video.sources import SourceFiles


@dataclass(frozen=True)
class Footage:
    """Facts about a source.

    Attributes:
        width, height: of its frames, as displayed.
        fps: exact average rate.
        num_frames: None = unknown.
        remarks: sentences on conversions that a user may not expect, to be printed after its name.
    """

    width: int
    height: int
    fps: Fraction
    num_frames: int | None
    remarks: tuple[str, ...] = ()


def describe(source: SourceFiles, *, fps: Fraction) -> Footage:
    """Opens the source and reads its first frame.

    Args:
        source: what to open.
        fps: rate of an image sequence; unused for videos.

    Raises:
        V2VError: it cannot be read.
    """
    if source.images:
        height, width = read_image(source.image_path(0)).shape[:2]
        header = png_header(source.image_path(0))
        deep = header is not None and header.bits > 8
        remarks = ("of 16 bits per channel, the upper 8 are used.",) if deep else ()
        return Footage(width, height, fps, len(source.images), remarks)
    info = probe(source.path, options=source.options)
    return Footage(info.width, info.height, info.fps, info.num_frames, info.remarks)


def read_frames(
    source: SourceFiles,
    start: int = 0,
    stop: int | None = None,
    *,
    fps: Fraction,
    threads: bool = True,
    start_pts: int | None = None,
    long_side: int | None = None,
    damage: Damage | None = None,
) -> Iterator[Frame]:
    """The frames `start` to `stop` (exclusive) of a source; see `decode` for the settings.

    Raises:
        V2VError: a file cannot be read, or an image differs in size from the first one.
    """
    if not source.images:
        yield from decode(
            source.path,
            start,
            stop,
            threads=threads,
            start_pts=start_pts,
            long_side=long_side,
            options=source.options,
            damage=damage,
        )
        return
    size: tuple[int, ...] | None = None
    for number in range(start, len(source.images) if stop is None else min(stop, len(source.images))):
        path = source.image_path(number)
        image = read_image(path)
        if size is not None and image.shape != size:
            raise V2VError(
                "size-mismatch",
                f"Image {path} is {image.shape[1]}x{image.shape[0]}, the ones before it are {size[1]}x{size[0]}.",
                "Resize them to one size first, or put those of each size into a folder of its own, beside each other: "
                "the folder around them can be named as the source.",
            )
        size = image.shape
        if long_side is not None and max(size[:2]) > long_side:
            scale = long_side / max(size[:2])
            target = (max(1, round(size[1] * scale)), max(1, round(size[0] * scale)))
            image = cv2.resize(image, target, interpolation=cv2.INTER_AREA).astype(image.dtype, copy=False)
        yield Frame(image, number, 1 / fps, number)
