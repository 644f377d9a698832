"""File of a frame's features: one vector of the feature encoder E per region."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from v2vkit.errors import V2VError

EXTENSION = "features.json"

Feature = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
"""One number of a vector, in the range of E."""


class RegionFeatures(BaseModel):
    """One region of a frame.

    Attributes:
        id: of the object in the instance map; 0 = no object.
        label: of the region's pixels (of a face: its part).
        area: share of the frame's pixels.
        vector: mean of E's map over the region.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(ge=0, lt=1 << 16)
    label: int = Field(ge=0, lt=256)
    area: float = Field(gt=0, le=1, allow_inf_nan=False)
    vector: tuple[Feature, ...] = Field(min_length=1, max_length=64)


_FRAME = TypeAdapter(tuple[RegionFeatures, ...])


def features_to_json(frame: tuple[RegionFeatures, ...]) -> bytes:
    """A frame's file."""
    return _FRAME.dump_json(frame)


def features_from_json(data: bytes, where: str) -> tuple[RegionFeatures, ...]:
    """The regions in a frame's file.

    Raises:
        V2VError: not such a file; `where` names it.
    """
    try:
        return _FRAME.validate_json(data)
    except ValidationError as error:
        raise V2VError(
            "features-damaged",
            f"{where} holds no features ({error.errors()[0]['msg']}).",
            "Run `v2v encode-features --overwrite`.",
        ) from None
