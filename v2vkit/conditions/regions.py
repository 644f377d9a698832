"""Regions of a frame over which features are averaged: objects, areas of one label, or parts of a face.

A region's id holds its label and its instance, so that both can be read from the map: label * 65536 + instance, where
instance 0 means no object. Source: vid2vid paper, multimodal synthesis; pix2pixHD, section 3.4.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Regions = NDArray[np.int32]

_LABEL = 1 << 16


def region_ids(labels: NDArray[Any], instances: NDArray[Any] | None = None) -> Regions:
    """Region ids int32 [H, W] from labels [H, W] below 256 and optional instances [H, W] below 65536.

    An object with two labels makes two regions.
    """
    ids = labels.astype(np.int32) * _LABEL
    return ids if instances is None else ids + instances.astype(np.int32)


def label_and_instance(region: int) -> tuple[int, int]:
    """Label and instance of a region's id."""
    return divmod(region, _LABEL)
