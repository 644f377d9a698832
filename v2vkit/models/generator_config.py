"""The settings of the video generator's layers, which checkpoints store."""

from typing import Literal

from pydantic import model_validator

from v2vkit.config import StageConfig, Upsample, setting
from v2vkit.models.blocks import (
    Norm,
)

Composition = Literal["paper", "published"]
HISTORY = 2
"""L of the paper: number of past frames that the generator sees."""


class GeneratorConfig(StageConfig):
    """Everything that decides the generator's layers; stored in checkpoints."""

    kind: Literal["video"] = "video"
    source_channels: int = setting(..., "channels of one frame's source map", ge=1, le=1024)
    num_scales: int = setting(1, "spatial scales; each finer one doubles the size and halves the width", ge=1, le=6)
    width: int = setting(128, "channels after the first convolution of the coarsest scale", ge=1, le=512)
    num_down: int = setting(3, "stride-2 convolutions in the coarsest scale", ge=1, le=6)
    num_blocks: int = setting(9, "residual blocks of the coarsest scale", ge=0, le=64)
    num_blocks_fine: int = setting(3, "residual blocks of each finer scale", ge=0, le=64)
    history: int = setting(HISTORY, "number L of past frames that the generator sees", ge=1, le=16)
    foreground: tuple[int, ...] = setting((), "source channels of the foreground; empty = no foreground branch")
    composition: Composition = setting(
        "paper", "where the foreground is composed: `paper` (into h, eq. 9) or `published` (over the result)"
    )
    flow: bool = setting(True, "warp the last frame; if off, every pixel is hallucinated")
    norm: Norm = setting("instance", "normalisation: instance, batch or running")
    upsample: Upsample = setting("transposed", "how the branches upsample: transposed, or resize and convolve")
    flow_multiplier: float = setting(
        20.0, "pixels per unit of the coarsest flow head; doubles with each scale", gt=0, le=1000
    )
    zero_history: bool = setting(
        True, "at a first frame, encode a history of zeros (as published); if off, source maps only"
    )

    picture: int | None = setting(
        None,
        "first of three source channels that are a picture of the frame, to which h is added; none = no picture",
        ge=0,
    )

    @property
    def foreground_width(self) -> int:
        """Width of the foreground branch of the coarsest scale."""
        return self.width // 2 if self.num_down > 2 else self.width

    @property
    def takes_flow(self) -> bool:
        """Whether flow and confidence are appended to the source map: never, this generator predicts its own flow."""
        return False

    @property
    def multiple(self) -> int:
        """The sides of the finest scale are padded inside to a multiple of this."""
        return 1 << (self.num_down + self.num_scales - 1)

    @model_validator(mode="after")
    def _fits(self) -> "GeneratorConfig":
        narrowest = self.foreground_width if self.foreground else self.width
        if narrowest % (1 << (self.num_scales - 1)) or narrowest < 1:
            raise ValueError(f"width {self.width} is not divisible by 2 for each of {self.num_scales} scales")
        if any(not 0 <= channel < self.source_channels for channel in self.foreground):
            raise ValueError(
                f"foreground channels {self.foreground} are not among the {self.source_channels} source channels"
            )
        if self.picture is not None and self.picture + 3 > self.source_channels:
            raise ValueError(f"there is no picture at channel {self.picture} of {self.source_channels}")
        return self
