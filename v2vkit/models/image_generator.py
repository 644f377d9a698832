"""The image generator of pix2pixHD: a global network, and local enhancers that each double its size.

It makes first frames, and run frame by frame it is the pix2pixHD baseline.
"""

import torch
from pydantic import model_validator
from torch import Tensor, nn

from v2vkit.config import StageConfig, setting
from v2vkit.models.blocks import Norm, ReflectConv, downs, init_weights, pad_to_multiple, pyramid, res_blocks, stem, ups


class ImageGeneratorConfig(StageConfig):
    """Everything that decides the image generator's layers; stored in checkpoints."""

    in_channels: int = setting(..., "channels of the source map, and of what is concatenated to it", ge=1, le=1024)
    width: int = setting(64, "channels after the first convolution of the finest scale", ge=1, le=512)
    num_down: int = setting(4, "halvings inside the global network", ge=1, le=6)
    num_blocks: int = setting(9, "residual blocks of the global network", ge=0, le=64)
    num_enhancers: int = setting(0, "local enhancers; each doubles the size and halves the width", ge=0, le=5)
    num_blocks_enhancer: int = setting(3, "residual blocks of each enhancer", ge=0, le=64)
    norm: Norm = setting("instance", "normalisation: instance, batch or running")

    @property
    def global_width(self) -> int:
        """Channels after the first convolution of the global network."""
        return self.width << self.num_enhancers

    @model_validator(mode="after")
    def _fits(self) -> "ImageGeneratorConfig":
        if self.global_width > 512:
            raise ValueError(f"width {self.width} with {self.num_enhancers} enhancers gives a global width above 512")
        return self


class Enhancer(nn.Module):
    """G2 of pix2pixHD: its own encoding plus the last maps of the smaller network, then blocks at half the size."""

    def __init__(self, config: ImageGeneratorConfig, width: int):
        super().__init__()
        norm = config.norm
        self.encoder = nn.Sequential(*stem(config.in_channels, width, norm), *downs(width, 1, norm))
        self.branch = nn.Sequential(*res_blocks(width * 2, config.num_blocks_enhancer, norm), *ups(width, 1, norm))

    def forward(self, source: Tensor, below: Tensor) -> Tensor:
        return self.branch(self.encoder(source) + below)


class ImageGenerator(nn.Module):
    """G of pix2pixHD, section 3.2: source map -> image, one network for all sizes at once."""

    def __init__(self, config: ImageGeneratorConfig):
        super().__init__()
        self.config = config
        width, norm = config.global_width, config.norm
        self.coarse = nn.Sequential(
            *stem(config.in_channels, width, norm),
            *downs(width, config.num_down, norm),
            *res_blocks(width << config.num_down, config.num_blocks, norm),
            *ups(width, config.num_down, norm),
        )
        self.enhancers = nn.ModuleList(Enhancer(config, width >> (i + 1)) for i in range(config.num_enhancers))
        self.head = ReflectConv(config.width, 3, 7)
        init_weights(self)

    def forward(self, source: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, 3, H, W] in [-1, 1]; any size, padded inside."""
        height, width = source.shape[-2:]
        multiple = 1 << (self.config.num_down + self.config.num_enhancers)
        sources = pyramid(pad_to_multiple(source, multiple), self.config.num_enhancers + 1)
        x = self.coarse(sources[0])
        for enhancer, level in zip(self.enhancers, sources[1:], strict=True):
            x = enhancer(level, x)
        return torch.tanh(self.head(x))[..., :height, :width]
