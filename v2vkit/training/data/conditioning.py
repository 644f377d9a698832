"""Source maps of training frames, unchanged or augmented, and the annotation files that they are made from."""

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.augment import Change
from v2vkit.conditions.base import Size, Use
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Annotations, Conditioning
from v2vkit.conditions.regions import Regions

Bytes = NDArray[np.uint8]
Files = dict[tuple[int, str], bytes]
"""(position of the condition, extension) -> bytes."""


def condition_files(reader: ClipReader, source: Conditioning, clip: str, t: int, use: Use, *, regions: bool) -> Files:
    """Reads the annotation files of a frame.

    Args:
        use: `channels` for `frame_map`, `augment` for `augmented_map`.
        regions: include the files that `frame_regions` needs.
    """
    files: Files = {}
    for position, condition in enumerate(source.conditions):
        also: tuple[Use, ...] = ("regions",) if regions and condition is source.with_regions else ()
        found = reader.annotation_files(condition, clip, t, use, *also)
        files |= {(position, extension): data for extension, data in found.items()}
    return files


def frame_map(source: Conditioning, files: Files, size: Size) -> Bytes:
    """Source map s_t without augmentation, uint8 [C, H, W], 255 = 1.

    Args:
        size: (width, height) of the frame.
    """
    return source.channels(_decoded(source, files, size))


def augmented_map(source: Conditioning, files: Files, image: Bytes, change: Change, size: Size) -> Bytes:
    """Source map s_t after augmentation, uint8 [C, H, W]: the annotation is transformed, then drawn.

    Args:
        image: the augmented frame, RGB uint8 [H, W, 3].
        size: (width, height) of the frame.
    """
    return source.channels(source.augment(_decoded(source, files, size), change), image)


def frame_regions(source: Conditioning, files: Files, size: Size) -> Regions:
    """The regions of the frame without augmentation, int32 [H, W]; the model must have a condition with regions."""
    condition = source.with_regions
    assert condition is not None, f"{source.names} has no regions"
    own = {extension: data for (i, extension), data in files.items() if source.conditions[i] is condition}
    return condition.regions(condition.decode(own, size=size))


def _decoded(source: Conditioning, files: Files, size: Size) -> Annotations:
    return [
        condition.decode({extension: data for (i, extension), data in files.items() if i == position}, size=size)
        for position, condition in enumerate(source.conditions)
    ]
