"""How the source maps of a training were made, as far as those that are made later depend on it."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from v2vkit.conditions.people import MIN_SCORE
from v2vkit.conditions.smoothing import Missing
from v2vkit.errors import V2VError


class MapSettings(BaseModel):
    """The settings of the stage that made them, of which each domain has some.

    What a manifest or a model file lacks was not a setting when it was written: the values here are what was done then,
    and not the stages' defaults.

    Attributes:
        smooth, missing: how faces and people are followed (`v2vkit.conditions.smoothing`).
        canny: sketches have background edges.
        stroke, min_score: of skeletons; `min_score` None = `MIN_SCORE`.
        openpose: folder of the key points where no estimator found them.
        keep: the labels that were kept of an estimator's; none = all.
        segment: the estimator of labels.
        instances: folder of the instance maps that came with the frames.
        weights: file of the estimator's weights.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    smooth: int = Field(default=0, ge=0, le=99)
    missing: Missing = "hold"
    canny: bool = True
    stroke: int = Field(default=0, ge=0, le=64)
    min_score: float | None = Field(default=None, ge=0, le=1)
    openpose: str | None = None
    keep: tuple[int, ...] = ()
    segment: str | None = None
    instances: str | None = None
    weights: str | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any], where: str) -> Self:
        """From what a manifest holds.

        Raises:
            V2VError: a value is none that the stage takes; names `where`.
        """
        try:
            return cls.model_validate(stored)
        except ValidationError as error:
            key = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise V2VError(
                f"The settings of {where} are damaged: {key} is {stored.get(key)!r}.", "Make it again with --overwrite."
            ) from None

    @property
    def point_score(self) -> float:
        """Key points that score less are missing."""
        return MIN_SCORE if self.min_score is None else self.min_score
