"""COVST (Chen et al. 2017), a baseline of the vid2vid paper: pix2pixHD with features warped with given flow."""

from typing import Any

import torch

from v2vkit.conditions.conditioning import Conditioning
from v2vkit.models.image_generator import ImageGeneratorConfig
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.base import MethodSpec
from v2vkit.training.methods.frames import FrameMethod, build_encoder_config, video_schedule
from v2vkit.training.methods.pix2pixhd import (
    VIDEO_ONLY,
    check_layers,
    describe_images,
    image_layers,
    image_method_losses,
)
from v2vkit.training.parallel import Parallel
from v2vkit.training.start import check_start, inherit


def _layers(config: TrainConfig, source: Conditioning) -> ImageGeneratorConfig:
    return image_layers(config, source, covst=config.model.covst_share)


def _build(config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel) -> FrameMethod:
    return FrameMethod(
        config,
        source,
        device,
        generator=_layers(config, source),
        terms=COVST.losses(config),
        schedule=video_schedule(config),
        parallel=parallel,
    )


def _describe(config: TrainConfig, source: Conditioning) -> dict[str, Any]:
    return describe_images(config, source, covst=config.model.covst_share)


COVST: MethodSpec = MethodSpec(
    name="covst",
    losses=image_method_losses,
    unused=VIDEO_ONLY,
    context=lambda config: 0,
    schedule=video_schedule,
    strides=lambda config: (1,),  # the generator warps its features with it
    coarser=lambda config: None,
    check=check_layers(_layers),
    build=_build,
    describe=_describe,
    check_start=lambda config, source, size, folder: check_start(
        folder, _layers(config, source), source, size, build_encoder_config(config)
    ),
    inherit=inherit,
)
