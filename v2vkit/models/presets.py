"""Network sizes by name: `tiny` for a few CPU cores, `small` for one modest GPU, `paper` as published."""

from typing import Any

from v2vkit.config import Preset, make_config
from v2vkit.models.discriminator import DiscriminatorConfig, video_channels
from v2vkit.models.encoder import EncoderConfig
from v2vkit.models.generator import GeneratorConfig
from v2vkit.models.image_generator import ImageGeneratorConfig
from v2vkit.models.unet import UNetConfig

GENERATORS: dict[Preset, dict[str, int]] = {
    "tiny": {"width": 32, "num_down": 3, "num_blocks": 4, "num_blocks_fine": 2},
    "small": {"width": 64, "num_down": 3, "num_blocks": 6, "num_blocks_fine": 3},
    "paper": {"width": 128, "num_down": 3, "num_blocks": 9, "num_blocks_fine": 3},
}
IMAGE_GENERATORS: dict[Preset, dict[str, int]] = {
    "tiny": {"width": 32, "num_down": 3, "num_blocks": 4, "num_blocks_enhancer": 2},
    "small": {"width": 64, "num_down": 3, "num_blocks": 6, "num_blocks_enhancer": 3},
    "paper": {"width": 64, "num_down": 4, "num_blocks": 9, "num_blocks_enhancer": 3},
}
UNETS: dict[Preset, dict[str, int]] = {
    "tiny": {"width": 32, "num_down": 5},
    "small": {"width": 64, "num_down": 7},
    "paper": {"width": 64, "num_down": 8},
}
EDGE_NETWORKS: dict[Preset, int] = {"tiny": 8, "small": 32, "paper": 64}
"""Width of DNED, where it is trained from scratch."""
DISCRIMINATORS: dict[Preset, dict[str, int]] = {
    "tiny": {"width": 32, "num_layers": 3, "num_scales": 2},
    "small": {"width": 64, "num_layers": 3, "num_scales": 2},
    "paper": {"width": 64, "num_layers": 3, "num_scales": 2},
}
PREDNETS: dict[Preset, tuple[int, ...]] = {
    "tiny": (3, 8, 16, 32),
    "small": (3, 24, 48, 96),
    "paper": (3, 48, 96, 192),
}
"""Channels of PredNet's layers; as published for KITTI."""
MCNETS: dict[Preset, int] = {"tiny": 8, "small": 32, "paper": 64}
"""Width of MCNet."""
ENCODERS: dict[Preset, dict[str, int]] = {
    "tiny": {"width": 8, "num_down": 4},
    "small": {"width": 16, "num_down": 4},
    "paper": {"width": 16, "num_down": 4},
}


def generator_config(preset: Preset, *, source_channels: int, **changes: Any) -> GeneratorConfig:
    """The generator of that size; `changes` are other fields of `GeneratorConfig` (num_scales, foreground, flow ...).

    Raises:
        V2VError: a value out of range or fields that do not fit together. So do the functions below.
    """
    values = {**GENERATORS[preset], "source_channels": source_channels, **changes}
    return make_config(GeneratorConfig, values, f"generator `{preset}`")


def image_generator_config(
    preset: Preset, *, source_channels: int, num_enhancers: int = 0, width: int | None = None, **changes: Any
) -> ImageGeneratorConfig:
    """The image generator of that size.

    Args:
        width: of the global network; None = the preset's. Each enhancer halves it.
        changes: other fields of `ImageGeneratorConfig`.
    """
    values = {**IMAGE_GENERATORS[preset], "in_channels": source_channels, "num_enhancers": num_enhancers, **changes}
    values["width"] = (width or IMAGE_GENERATORS[preset]["width"]) >> num_enhancers
    return make_config(ImageGeneratorConfig, values, f"image generator `{preset}`")


def unet_config(preset: Preset, *, source_channels: int, **changes: Any) -> UNetConfig:
    """pix2pix's U-Net of that size; `changes` are other fields of `UNetConfig`."""
    return make_config(UNetConfig, {**UNETS[preset], "in_channels": source_channels, **changes}, f"U-Net `{preset}`")


def encoder_config(preset: Preset, *, dims: int) -> EncoderConfig:
    """The feature encoder E of that size, for vectors of `dims` numbers."""
    return make_config(EncoderConfig, {**ENCODERS[preset], "out_channels": dims}, f"encoder `{preset}`")


def image_discriminator_config(preset: Preset, *, source_channels: int, **changes: Any) -> DiscriminatorConfig:
    """D_I of that size, for one frame and its source map. `changes` are other fields of `DiscriminatorConfig`."""
    values = {**DISCRIMINATORS[preset], "in_channels": source_channels + 3, **changes}
    return make_config(DiscriminatorConfig, values, f"image discriminator `{preset}`")


def video_discriminator_config(preset: Preset, *, num_frames: int = 3, **changes: Any) -> DiscriminatorConfig:
    """One D_V of that size, for K = `num_frames` frames and their flows. `changes` as above."""
    values = {**DISCRIMINATORS[preset], "in_channels": video_channels(num_frames), **changes}
    return make_config(DiscriminatorConfig, values, f"video discriminator `{preset}`")
