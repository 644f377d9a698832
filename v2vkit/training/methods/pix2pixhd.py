"""pix2pixHD (Wang et al. 2018) on single frames: the first-frame model, and a baseline without temporal modelling."""

from collections.abc import Callable
from typing import Any

import torch

from v2vkit.conditions.conditioning import Conditioning, conditioning_of
from v2vkit.models.image_generator import ImageGeneratorConfig
from v2vkit.models.presets import image_generator_config
from v2vkit.training.adversarial import image_adversary
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.base import MethodSpec
from v2vkit.training.methods.frames import (
    FrameMethod,
    build_encoder_config,
    generator_channels,
    single_frame_schedule,
    sizes_of,
)
from v2vkit.training.parallel import Parallel
from v2vkit.training.reconstruction import image_losses
from v2vkit.training.start import check_start, inherit
from v2vkit.training.terms import LossTerm

VIDEO_ONLY = (
    "stage",
    "num_scales",
    "fix_epochs",
    "foreground",
    "composition",
    "flow",
    "first_frame",
    "drop_history",
    "history_noise",
    "temporal_scales",
    "video_frames",
    "sparse",
    "loss_ramp",
)
"""Settings of video models that image generators do not use."""
SINGLE_FRAMES = (*VIDEO_ONLY, "first_frames", "double_every", "max_frames", "chunk", "max_frame_stride", "covst_share")
"""Settings that methods which train on single frames do not use."""


def image_method_losses(config: TrainConfig) -> tuple[LossTerm, ...]:
    """The losses of single images."""
    return (*image_adversary(config), *image_losses(config))


def image_layers(config: TrainConfig, source: Conditioning, *, covst: float = 0.0) -> ImageGeneratorConfig:
    """The generator's configuration: the preset with the settings that override it."""
    sizes = sizes_of(config)
    if "num_blocks_fine" in sizes:
        sizes["num_blocks_enhancer"] = sizes.pop("num_blocks_fine")
    return image_generator_config(
        config.model.preset,
        source_channels=generator_channels(config, source),
        num_enhancers=config.model.num_enhancers,
        covst=covst,
        **sizes,
    )


def check_layers(layers: Callable[[TrainConfig, Conditioning], Any]) -> Callable[[TrainConfig], None]:
    """A check of the settings that builds the configuration of the layers, which refuses invalid sizes.

    It knows no workspace; of which domain the conditions are does not matter.
    """

    def check(config: TrainConfig) -> None:
        layers(config, conditioning_of("face"))

    return check


def describe_images(config: TrainConfig, source: Conditioning, *, covst: float = 0.0) -> dict[str, Any]:
    """Fields of `ModelInfo` for image models; a video of single images needs no past frames."""
    generator = image_layers(config, source, covst=covst)
    return {"network": generator, "encoder": build_encoder_config(config), "first_frame": "self"}


def _build(config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel) -> FrameMethod:
    return FrameMethod(
        config,
        source,
        device,
        generator=image_layers(config, source),
        terms=PIX2PIXHD.losses(config),
        schedule=single_frame_schedule(config),
        parallel=parallel,
    )


PIX2PIXHD: MethodSpec = MethodSpec(
    name="pix2pixhd",
    losses=image_method_losses,
    unused=SINGLE_FRAMES,
    context=lambda config: 0,
    schedule=single_frame_schedule,
    strides=lambda config: (),
    coarser=lambda config: None,
    check=check_layers(image_layers),
    build=_build,
    describe=describe_images,
    check_start=lambda config, source, size, folder: check_start(
        folder, image_layers(config, source), source, size, build_encoder_config(config)
    ),
    inherit=inherit,
)
