"""What the feature encoder E says of a frame: one vector for each region, and the file that holds them."""

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from v2vkit.errors import V2VError
from v2vkit.maps.regions import Regions, label_and_instance
from v2vkit.models.encoder import FeatureEncoder, features_at, instance_vectors
from v2vkit.synthesis.rollout import from_images

EXTENSION = "features.json"
_DIGITS = 6

Feature = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
"""One number of a vector, in the range of E."""


class RegionFeatures(BaseModel):
    """One region of a frame.

    Attributes:
        id: of the object in the instance map; 0 = what belongs to none.
        label: of the region's pixels (of a face: its part).
        area: share of the frame.
        vector: mean of E's map over the region.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(ge=0, lt=1 << 16)
    label: int = Field(ge=0, lt=256)
    area: float = Field(gt=0, le=1, allow_inf_nan=False)
    vector: tuple[Feature, ...] = Field(min_length=1, max_length=64)


_FRAME = TypeAdapter(tuple[RegionFeatures, ...])


def describe_frame(
    encoder: FeatureEncoder, image: NDArray[np.uint8], regions: Regions, *, halvings: int
) -> tuple[RegionFeatures, ...]:
    """Every region of a frame, sorted by label and id (vid2vid paper, multimodal synthesis).

    Args:
        encoder: E in evaluation mode, on its device.
        image: the frame, RGB uint8 [H, W, 3].
        regions: `v2vkit.maps.regions`, int32 [H, W].
        halvings: how often E sees it halved (`ModelInfo.encoder_halvings`).
    """
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        x = from_images(image[None]).to(device)
        ids = torch.from_numpy(regions)[None, None].to(device)
        height, width = regions.shape
        features = features_at(encoder, x, (height, width), halvings=halvings)
        vectors, which, index = instance_vectors(features, ids)
        areas = torch.bincount(index, minlength=len(vectors)).double() / regions.size
    found = []
    for (_, region), area, vector in zip(which.tolist(), areas.tolist(), vectors.tolist(), strict=True):
        label, instance = label_and_instance(region)
        rounded = tuple(round(min(1.0, max(-1.0, number)), _DIGITS) for number in vector)
        found.append(RegionFeatures(id=instance, label=label, area=area, vector=rounded))
    return tuple(found)


def features_to_json(frame: tuple[RegionFeatures, ...]) -> bytes:
    """A frame's file."""
    return _FRAME.dump_json(frame)


def features_from_json(data: bytes, where: str) -> tuple[RegionFeatures, ...]:
    """The regions in a frame's file.

    Raises:
        V2VError: it is no such file; `where` names it.
    """
    try:
        return _FRAME.validate_json(data)
    except ValidationError as error:
        raise V2VError(
            f"{where} holds no features ({error.errors()[0]['msg']}).", "Run `v2v encode-features --overwrite`."
        ) from None
