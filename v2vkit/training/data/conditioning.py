"""The conditions of a training frame: their files, and the source map as it is on disk or after augmentation.

The only place of the data path that knows how source maps are made.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.augment import Change
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.settings import MapSettings
from v2vkit.conditions.source import DOMAINS, SourceConfig, region_files, region_map

Bytes = NDArray[np.uint8]
Files = dict[str, bytes]


def condition_files(reader: ClipReader, source: SourceConfig, clip: str, t: int, *, regions: bool) -> Files:
    """The annotation files of a frame (extension -> bytes) from which everything here is made.

    Args:
        regions: also those that `frame_regions` reads.
    """
    files = reader.map_files(source, clip, t)
    if regions:
        kind = DOMAINS[source.domain].kind
        names = region_files(source.domain, lambda name: reader.has(kind, clip, t, name))
        files |= {name: reader.read(kind, clip, t, name) for name in names if name not in files}
    return files


def frame_map(source: SourceConfig, files: Files) -> Bytes:
    """s_t as it is on disk, uint8 [C, H, W], 255 = 1."""
    return DOMAINS[source.domain].build(source, files)


def augmented_map(source: SourceConfig, files: Files, image: Bytes, change: Change, settings: MapSettings) -> Bytes:
    """s_t after augmentation, uint8 [C, H, W]: the annotation is moved, then drawn.

    Args:
        image: the frame, already moved, RGB uint8 [H, W, 3].
        settings: of the stage that made the maps.
    """
    return DOMAINS[source.domain].changed(source, files, image, change, settings)


def frame_regions(source: SourceConfig, files: Files) -> NDArray[Any]:
    """The regions of the frame on disk, int32 [H, W]."""
    return region_map(source.domain, files)
