"""The description of a model, which its file carries."""

from fractions import Fraction
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.base import Condition
from v2vkit.conditions.conditioning import Conditioning, settings_problem
from v2vkit.conditions.proportions import Proportions
from v2vkit.conditions.settings import Origin, TrackerSettings
from v2vkit.config import DEFAULT_RATE, MAX_PIXELS, MAX_SIDE, parse_rate
from v2vkit.errors import V2VError
from v2vkit.models.any_generator import AnyGeneratorConfig
from v2vkit.models.any_network import AnyNetworkConfig
from v2vkit.models.encoder import EncoderConfig

FORMAT = 2


def downsampled_size(width: int, height: int, times: int) -> tuple[int, int]:
    """Width and height after `times` downsamplings by two, odd sides rounded up."""
    return -(-width // 2**times), -(-height // 2**times)


class ModelInfo(BaseModel):
    """Description of a model: everything that rendering has to know besides the weights.

    Attributes:
        format: version of this description.
        network: configuration of the network's layers.
        conditioning: the conditions, in the order of their channels.
        origins: for each condition, the stage, settings and estimator that made its annotations.
        tracks: how `v2v track` made the object ids of the label maps; None = they are those of the label maps.
        encoder: configuration of E, whose vectors are appended to the source maps; None = no features.
        width, height: size of the frames and source maps of its workspace, in pixels.
        downsamplings: times that source maps are downsampled by two before the generator; above 0 for the coarse
            scales of a model with several.
        first_frame: how a video begins (`self`, `real` or `image`).
        frames: settings of `ingest`; rendering crops and resizes in the same way.
        placement: typical position and size of the face or body in the training footage, in pixels of its frames;
            None = unknown.
        proportions: of that face or body, for `render --retarget`; None = unknown.
        epochs, steps: how long it was trained.
        method: the training method.
        stage: name of the checkpoint.
        fingerprint: of the training run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    method: str = "vid2vid"
    stage: str
    fingerprint: str
    network: AnyNetworkConfig
    encoder: EncoderConfig | None = None
    conditioning: Conditioning
    origins: tuple[Origin, ...]
    tracks: Origin | None = None
    width: int = Field(ge=1, le=MAX_SIDE)
    height: int = Field(ge=1, le=MAX_SIDE)
    downsamplings: int = Field(default=0, ge=0, le=8)
    first_frame: str = "self"
    frames: dict[str, Any]
    placement: Placement | None = None
    proportions: Proportions | None = None
    epochs: int = 0
    steps: int = 0

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.width * self.height > MAX_PIXELS:
            raise ValueError(f"{self.width}x{self.height} is more than the allowed {MAX_PIXELS} pixels")
        parse_rate(str(self.frames.get("fps") or DEFAULT_RATE))
        if (problem := settings_problem(self.conditioning, self.origins)) is not None:
            raise ValueError(problem)
        if self.tracks is not None:
            TrackerSettings.model_validate(self.tracks.settings)
        return self

    @property
    def tracker(self) -> TrackerSettings | None:
        """The settings by which objects were tracked; None = they were not."""
        return None if self.tracks is None else TrackerSettings.model_validate(self.tracks.settings)

    @property
    def generator(self) -> AnyGeneratorConfig:
        """The configuration of the generator.

        Raises:
            V2VError: the network is not a generator of frames.
        """
        if not isinstance(self.network, get_args(AnyGeneratorConfig)):
            raise V2VError(
                "model-mismatch",
                f"The checkpoint {self.stage} is of --method {self.method}, which does not generate frames.",
                "Name a checkpoint that does, such as spatial-1.",
            )
        return self.network

    @property
    def rate(self) -> Fraction:
        """Frames per second of the training footage."""
        return parse_rate(str(self.frames.get("fps") or DEFAULT_RATE))

    @property
    def conditions(self) -> tuple[tuple[Condition[Any], Origin], ...]:
        """Every condition with its origin."""
        return tuple(zip(self.conditioning.conditions, self.origins, strict=True))

    @property
    def identity(self) -> str:
        """Identifies this model independently of its path: training fingerprint and number of steps."""
        return f"{self.fingerprint}/{self.steps}"

    @property
    def encoder_downsamplings(self) -> int:
        """Downsamplings by two of the frames before E, to the size of the coarsest scale in every stage."""
        return self.downsamplings + self.generator.num_scales - 1

    @property
    def output_size(self) -> tuple[int, int]:
        """Width and height of the generator's output, which rendering upsamples to the size of the frames."""
        return downsampled_size(self.width, self.height, self.downsamplings)
