"""The regions of a frame that features are averaged over: objects, else areas of one label or part of a face.

A region's id holds its label and its instance, so that both can be read from the map: label * 65536 + instance, where
instance 0 is what belongs to no object. Source: vid2vid paper, multimodal synthesis; pix2pixHD, section 3.4.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Regions = NDArray[np.int32]

_LABEL = 1 << 16


def region_ids(labels: NDArray[Any], instances: NDArray[Any] | None = None) -> Regions:
    """int32 [H, W] from labels [H, W] below 256 and, where there are some, instances [H, W] below 65536.

    An object over which two labels lie is two regions, each of one label.
    """
    ids = labels.astype(np.int32) * _LABEL
    return ids if instances is None else ids + instances.astype(np.int32)


def label_and_instance(region: int) -> tuple[int, int]:
    """What a region's id consists of."""
    return divmod(region, _LABEL)
