"""The image generator of pix2pixHD: a global network, and local enhancers that each double the image size.

It generates first frames; applied to every frame it is the pix2pixHD baseline (`FrameGenerator`).
"""

from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn

from v2vkit.config import StageConfig, Upsample, setting
from v2vkit.models.blocks import (
    Head,
    Norm,
    downs,
    init_weights,
    is_varied,
    pad_to_multiple,
    pyramid,
    res_blocks,
    stem,
    stop_gradient_unless,
    ups,
)
from v2vkit.models.checkpointing import CheckpointedModule
from v2vkit.models.generator import Output


class FrameConfig(StageConfig):
    """Properties that rendering and training need of a generator without past frames, as in `GeneratorConfig`."""

    @property
    def history(self) -> int:
        """Number of past frames that the generator sees: none."""
        return 0

    @property
    def num_scales(self) -> int:
        """Number of sizes at which each frame is generated: one."""
        return 1

    @property
    def takes_flow(self) -> bool:
        """Whether flow and confidence are appended to the source map."""
        return False


class ImageGeneratorConfig(FrameConfig):
    """Everything that decides the image generator's layers; stored in checkpoints."""

    kind: Literal["image"] = "image"
    in_channels: int = setting(..., "channels of the source map and of everything concatenated to it", ge=1, le=1024)
    width: int = setting(64, "channels after the first convolution of the finest scale", ge=1, le=512)
    num_down: int = setting(4, "stride-2 convolutions in the global network", ge=1, le=6)
    num_blocks: int = setting(9, "residual blocks of the global network", ge=0, le=64)
    num_enhancers: int = setting(0, "local enhancers; each doubles the size and halves the width", ge=0, le=5)
    num_blocks_enhancer: int = setting(3, "residual blocks of each enhancer", ge=0, le=64)
    norm: Norm = setting("instance", "normalisation: instance, batch or running")
    upsample: Upsample = setting("transposed", "how the networks upsample: transposed, or resize and convolve")
    covst: float = setting(
        0.0, "share of the last frame's features, warped by the given flow where it is confident (COVST)", ge=0, le=1
    )

    @property
    def global_width(self) -> int:
        """Channels after the first convolution of the global network."""
        return self.width << self.num_enhancers

    @property
    def multiple(self) -> int:
        """Both sides are padded inside to a multiple of this."""
        return 1 << (self.num_down + self.num_enhancers)

    @property
    def takes_flow(self) -> bool:
        return self.covst > 0

    @property
    def source_channels(self) -> int:
        """Channels of the generator's input."""
        return self.in_channels + (3 if self.takes_flow else 0)

    @model_validator(mode="after")
    def _fits(self) -> "ImageGeneratorConfig":
        if self.global_width > 512:
            raise ValueError(f"width {self.width} with {self.num_enhancers} enhancers gives a global width above 512")
        return self


class Enhancer(nn.Module):
    """G2 of pix2pixHD: own encoding plus the last maps of the smaller network, then blocks at half the size."""

    def __init__(self, config: ImageGeneratorConfig, width: int):
        super().__init__()
        norm = config.norm
        self.encoder = nn.Sequential(*stem(config.in_channels, width, norm), *downs(width, 1, norm))
        self.branch = nn.Sequential(
            *res_blocks(width * 2, config.num_blocks_enhancer, norm), *ups(width, 1, norm, config.upsample)
        )

    def forward(self, source: Tensor, below: Tensor) -> Tensor:
        return self.branch(self.encoder(source) + below)


class ImageGenerator(nn.Module):
    """G of pix2pixHD, section 3.2: source map -> image."""

    def __init__(self, config: ImageGeneratorConfig):
        super().__init__()
        self.config = config
        width, norm = config.global_width, config.norm
        down = [
            *stem(config.in_channels, width, norm),
            *downs(width, config.num_down, norm),
            *res_blocks(width << config.num_down, config.num_blocks, norm),
        ]
        self._depth = len(down)
        self.coarse = nn.Sequential(*down, *ups(width, config.num_down, norm, config.upsample))
        self.enhancers = nn.ModuleList(Enhancer(config, width >> (i + 1)) for i in range(config.num_enhancers))
        self.head = Head(config.width, 3, 7)
        init_weights(self)

    def forward(self, source: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, 3, H, W] in [-1, 1]; any size, padded inside."""
        sources = self.levels(source)
        return self.decode(self.encode(sources), sources)[..., : source.shape[2], : source.shape[3]]

    def levels(self, source: Tensor) -> list[Tensor]:
        """The padded source map at the size of the global network and of each enhancer."""
        return pyramid(pad_to_multiple(source, self.config.multiple), self.config.num_enhancers + 1)

    def encode(self, sources: list[Tensor]) -> Tensor:
        """The features after the residual blocks: [B, global_width * 2^num_down, H / m, W / m] with m = `multiple`."""
        x = sources[0]
        for layer in list(self.coarse)[: self._depth]:
            x = layer(x)
        return x

    def decode(self, features: Tensor, sources: list[Tensor]) -> Tensor:
        """The padded image from the deepest features: [B, 3, H, W] in [-1, 1]."""
        x = features
        for layer in list(self.coarse)[self._depth :]:
            x = layer(x)
        for enhancer, level in zip(self.enhancers, sources[1:], strict=True):
            x = enhancer(level, x)
        return torch.tanh(self.head(x))


class FrameGenerator(CheckpointedModule):
    """The image generator with the interface of the video generator: each frame from its own source map only."""

    def __init__(self, config: ImageGeneratorConfig):
        super().__init__()
        self.config = config
        self.network = ImageGenerator(config)

    def forward(
        self, source: Tensor, history: list[Tensor] | None = None, *, first_frame: bool = False, train_from: int = 0
    ) -> list[Output]:
        """One frame in the form of `VideoGenerator`; it has the hallucinated image only.

        Args:
            source: [B, source_channels, H, W] source map.
            history, first_frame, train_from: not used, because there is no past and only one scale.
        """
        x_fake = stop_gradient_unless(is_varied(source), self.run(self.network, source))
        return [Output(x_fake=x_fake, h=x_fake, flow=None, mask=None, warped=None)]
