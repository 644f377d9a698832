"""The U-Net generator of pix2pix (Isola et al. 2017, sections 3.2 and 6.1.1), a baseline of the S-Flow GAN paper.

Its discriminator is our PatchGAN with one scale: `DiscriminatorConfig(in_channels=source_channels + 3, num_scales=1,
num_layers=3, width=64)`, on what `image_input` gives, with a receptive field of 70 pixels. Its convolutions are
padded by 2 (as in pix2pixHD) where pix2pix pads by 1, so there are a few more scores at the border. Losses: `bce` and
100 times `pixel_l1`.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from v2vkit.config import Upsample, setting
from v2vkit.models.blocks import (
    Norm,
    ReflectConv,
    init_weights,
    is_varied,
    make_norm,
    pad_to_multiple,
    stop_gradient_unless,
)
from v2vkit.models.checkpointing import CheckpointedModule
from v2vkit.models.generator import Output
from v2vkit.models.image_generator import FrameConfig

MAX_FACTOR = 8
"""The widest layers have 8 times the channels of the first (512 for a width of 64)."""
NUM_DROPOUT = 3
"""Decoder layers with dropout, the innermost first: pix2pix's only source of noise."""


class UNetConfig(FrameConfig):
    """Everything that decides the layers of the U-Net; stored in checkpoints."""

    kind: Literal["unet"] = "unet"
    in_channels: int = setting(..., "channels of the source map", ge=1, le=1024)
    width: int = setting(64, "channels after the first convolution", ge=1, le=512)
    num_down: int = setting(8, "stride-2 convolutions; 8 bring 256 pixels down to one", ge=2, le=10)
    norm: Norm = setting("instance", "normalisation: instance, batch or running")
    upsample: Upsample = setting("transposed", "how the decoder upsamples: transposed, or resize and convolve")
    dropout: float = setting(0.5, "share of features dropped in training by the widest decoder layers", ge=0, lt=1)

    @property
    def multiple(self) -> int:
        """Both sides are padded inside to a multiple of this."""
        return 1 << self.num_down

    @property
    def source_channels(self) -> int:
        """Channels of the generator's input."""
        return self.in_channels


class UNetHead(nn.Sequential):
    """The last layers, in the precision of their weights also under autocast, like `blocks.Head`."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:  # shapes only; autocast does not exist there
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(next(self.parameters()).dtype))


class UNet(nn.Module):
    """Source map -> image; each decoder layer also sees the encoder's features of its size.

    Layers as in the paper: 4x4 convolutions of stride 2, leaky ReLU 0.2 down and ReLU up, no norm in the first layer.
    Departures:
    - No norm in the innermost layer: statistics of a single pixel would make it a constant.
    - Norms take each image's own statistics by default; batch norm does the same with a batch of one, as published.
    - Dropout is off in evaluation, because new noise in every frame would flicker. Only layers of the full width have
      it, so a shallow U-Net has less dropout, or none.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        widths = [config.width * min(1 << step, MAX_FACTOR) for step in range(config.num_down)]
        innermost = config.num_down - 1
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for step, channels in enumerate(widths):
            layers: list[nn.Module] = [nn.LeakyReLU(0.2)] if step else []
            layers.append(nn.Conv2d(widths[step - 1] if step else config.in_channels, channels, 4, stride=2, padding=1))
            if 0 < step < innermost:
                layers.append(make_norm(config.norm, channels))
            self.encoder.append(nn.Sequential(*layers))
        for step in range(innermost, 0, -1):
            channels = widths[step - 1]
            layers = _up(widths[step] * (1 if step == innermost else 2), channels, config.upsample)
            layers.append(make_norm(config.norm, channels))
            if innermost - step < NUM_DROPOUT and channels == config.width * MAX_FACTOR:
                layers.append(nn.Dropout(config.dropout))
            self.decoder.append(nn.Sequential(*layers))
        self.head = UNetHead(*_up(widths[0] * 2, 3, config.upsample))
        init_weights(self)

    def forward(self, source: Tensor) -> Tensor:
        """[B, in_channels, H, W] -> [B, 3, H, W] in [-1, 1]; any size, padded inside."""
        x = pad_to_multiple(source, self.config.multiple)
        skips = []
        for layer in self.encoder:
            x = layer(x)
            skips.append(x)
        skips.pop()
        for layer in self.decoder:
            x = torch.cat([layer(x), skips.pop()], 1)
        return torch.tanh(self.head(x))[..., : source.shape[2], : source.shape[3]]


class UNetGenerator(CheckpointedModule):
    """The U-Net with the interface of the video generator: each frame from its own source map only."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config = config
        self.network = UNet(config)

    def forward(
        self, source: Tensor, history: list[Tensor] | None = None, *, first_frame: bool = False, train_from: int = 0
    ) -> list[Output]:
        """One frame, as `FrameGenerator.forward`."""
        x_fake = stop_gradient_unless(is_varied(source), self.run(self.network, source))
        return [Output(x_fake=x_fake, h=x_fake, flow=None, mask=None, warped=None)]


def _up(in_channels: int, out_channels: int, upsample: Upsample) -> list[nn.Module]:
    """ReLU, then upsampling by 2: [B, in, H, W] -> [B, out, 2 H, 2 W]."""
    if upsample == "transposed":
        return [nn.ReLU(), nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1)]
    return [nn.ReLU(), nn.Upsample(scale_factor=2, mode="nearest"), ReflectConv(in_channels, out_channels, 3)]
