"""Multi-scale PatchGAN: scores patches of one frame (D_I) or of K frames and their flows (D_V) at several sizes."""

import torch
from pydantic import model_validator
from torch import Tensor, nn

from v2vkit.config import StageConfig, setting
from v2vkit.models.blocks import Norm, ScoreConv, downsample, init_weights, make_norm

FLOW_DIVISOR = 20.0
"""Flow in pixels is divided by this as input of D_V, to the range of images (specification 1.7)."""


class DiscriminatorConfig(StageConfig):
    """Everything that decides the discriminator's layers; stored in checkpoints."""

    in_channels: int = setting(..., "channels of the image and its source map together", ge=1, le=4096)
    num_scales: int = setting(2, "number of scales; each PatchGAN sees half the size of the next", ge=1, le=6)
    finer_scales: int = setting(0, "number of these scales that finer training stages added", ge=0, le=5)
    width: int = setting(64, "channels after the first convolution at the full size", ge=1, le=512)
    num_layers: int = setting(3, "stride-2 convolutions; 3 give patches of 70 pixels", ge=1, le=6)
    norm: Norm = setting("instance", "normalisation: instance, batch or running")

    @model_validator(mode="after")
    def _fits(self) -> "DiscriminatorConfig":
        if self.finer_scales >= self.num_scales:
            raise ValueError(f"{self.finer_scales} of {self.num_scales} scales cannot have been added")
        return self


class PatchDiscriminator(nn.Module):
    """One PatchGAN: 4x4 convolutions, the last two with stride 1; returns the output of every layer."""

    def __init__(self, in_channels: int, width: int, num_layers: int, norm: Norm):
        super().__init__()
        widths = [min(width << step, max(width, 512)) for step in range(num_layers + 1)]
        layers = [nn.Sequential(nn.Conv2d(in_channels, width, 4, stride=2, padding=2), nn.LeakyReLU(0.2, inplace=True))]
        for step in range(1, num_layers + 1):
            conv = nn.Conv2d(widths[step - 1], widths[step], 4, stride=2 if step < num_layers else 1, padding=2)
            layers.append(nn.Sequential(conv, make_norm(norm, widths[step]), nn.LeakyReLU(0.2, inplace=True)))
        layers.append(nn.Sequential(ScoreConv(widths[-1], 1, 4, padding=2)))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        return outputs


class Discriminator(nn.Module):
    """`num_scales` PatchGANs, each on an image of half the size of the next (vid2vid specification 1.7).

    The coarsest is stored first, so that a discriminator with one more scale can start from the weights of the smaller
    one.
    """

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(
            PatchDiscriminator(config.in_channels, width, config.num_layers, config.norm)
            for width in scale_widths(config)
        )
        init_weights(self)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """[B, in_channels, H, W] -> per scale (coarsest first) the hidden maps and, last, the scores [B, 1, h, w]."""
        outputs = []
        for scale in reversed(self.scales):
            outputs.append(scale(x))
            if len(outputs) < len(self.scales):
                x = downsample(x)
        return outputs[::-1]


def scale_widths(config: DiscriminatorConfig) -> list[int]:
    """Width of each scale, coarsest first: doubled from the full size downwards, up to 64.

    Scales added by finer stages are as wide as the finest one before them, so that the widths of scales with trained
    weights never change. (At 64 channels, as published, all scales are equally wide.)
    """
    first = config.num_scales - config.finer_scales
    widths = [min(max(64, config.width), config.width << (first - 1 - index)) for index in range(first)]
    return widths + [config.width] * config.finer_scales


def image_input(source: Tensor, image: Tensor) -> Tensor:
    """Input of D_I: source map [B, C, H, W] of the frame and the frame [B, 3, H, W] -> [B, C + 3, H, W]."""
    return torch.cat([source, image], 1)


def video_input(frames: Tensor, flows: Tensor) -> Tensor:
    """Input of D_V: K frames and the K - 1 reference flows between them, the real ones for generated frames too.

    Args:
        frames: [B, K, 3, H, W] in [-1, 1], oldest first.
        flows: [B, K - 1, 2, H, W] in pixels; flow i points from frame i + 1 into frame i.

    Returns:
        [B, 3 K + 2 (K - 1), H, W]: 13 channels for K = 3.
    """
    return torch.cat([frames.flatten(1, 2), flows.flatten(1, 2) / FLOW_DIVISOR], 1)


def video_channels(num_frames: int) -> int:
    """Channels of `video_input` for K = `num_frames`."""
    return 3 * num_frames + 2 * (num_frames - 1)
