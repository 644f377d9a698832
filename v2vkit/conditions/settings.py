"""How annotations were made, as recorded in a manifest or a model file."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from v2vkit.conditions.smoothing import Missing


class AnnotationSettings(BaseModel):
    """The settings of the stage that made annotations which matter when new annotations are made in the same way.

    The defaults here are the behaviour before a setting existed, for manifests that lack it; they are not the stages'
    defaults.

    Attributes:
        weights: file of the estimator's weights.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    weights: str | None = None


class TimeSettings(AnnotationSettings):
    """Settings of annotations that are smoothed in time (`v2vkit.conditions.smoothing`).

    Attributes:
        smooth: window in frames, 0 = off.
        missing: `hold` fills frames in which nothing was found, `blank` leaves them empty.
        causal: without look-ahead, for live rendering; no stage sets it.
    """

    smooth: int = Field(default=0, ge=0, le=99)
    missing: Missing = "hold"
    causal: bool = False


class TrackerSettings(AnnotationSettings):
    """Settings of `track`.

    Attributes:
        things: ids of the labels whose objects are tracked; empty = those of every instance.
        bridge: longest gap in seconds.
        min_overlap: smallest overlap of a match.
        min_pixels: smaller connected areas are ignored (without instance maps).
    """

    things: tuple[int, ...] = ()
    bridge: float = Field(default=1.0, ge=0, le=60)
    min_overlap: float = Field(default=0.2, gt=0, le=1)
    min_pixels: int = Field(default=16, ge=1)


class Origin(BaseModel):
    """How annotations were made.

    Attributes:
        stage: name of the stage.
        settings: its settings, as in its manifest.
        estimator: name, version and checksum of the weights of the estimator; empty = none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    settings: dict[str, Any] = {}
    estimator: dict[str, str] = {}
