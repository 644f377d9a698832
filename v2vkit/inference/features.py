"""Feature vectors of a frame: one for each region, from the feature encoder E."""

import numpy as np
import torch
from numpy.typing import NDArray

from v2vkit.conditions.region_features import RegionFeatures
from v2vkit.conditions.regions import Regions, label_and_instance
from v2vkit.models.encoder import FeatureEncoder, features_at, instance_vectors
from v2vkit.models.layout import from_images

_DIGITS = 6


def describe_frame(
    encoder: FeatureEncoder, image: NDArray[np.uint8], regions: Regions, *, downsamplings: int
) -> tuple[RegionFeatures, ...]:
    """The features of every region of a frame, sorted by label and id (vid2vid paper, multimodal synthesis).

    Args:
        encoder: E in evaluation mode, on its device.
        image: the frame, RGB uint8 [H, W, 3].
        regions: `v2vkit.conditions.regions`, int32 [H, W].
        downsamplings: downsamplings by two before E (`ModelInfo.encoder_downsamplings`).
    """
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        x = from_images(image[None]).to(device)
        ids = torch.from_numpy(regions)[None, None].to(device)
        height, width = regions.shape
        features = features_at(encoder, x, (height, width), downsamplings=downsamplings)
        vectors, which, index = instance_vectors(features, ids)
        pixels = torch.bincount(index, minlength=len(vectors))
    found = []
    for (_, region), count, vector in zip(which.tolist(), pixels.tolist(), vectors.tolist(), strict=True):
        label, instance = label_and_instance(region)
        rounded = tuple(round(min(1.0, max(-1.0, number)), _DIGITS) for number in vector)
        found.append(RegionFeatures(id=instance, label=label, area=count / regions.size, vector=rounded))
    return tuple(found)
