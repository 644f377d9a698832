"""vid2vid (Wang et al. 2018): frames from source maps and past frames, trained coarse to fine, short to long."""

from typing import Any

import torch

from v2vkit.conditions.conditioning import Conditioning
from v2vkit.config import SPATIAL_STAGES
from v2vkit.errors import V2VError
from v2vkit.models.generator import HISTORY, GeneratorConfig
from v2vkit.models.presets import generator_config
from v2vkit.training.adversarial import face_adversary, image_adversary, video_adversaries
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.base import MethodSpec
from v2vkit.training.methods.frames import (
    FrameMethod,
    build_encoder_config,
    generator_channels,
    sizes_of,
    video_schedule,
)
from v2vkit.training.parallel import Parallel
from v2vkit.training.reconstruction import flow_losses, image_losses
from v2vkit.training.start import check_start, inherit
from v2vkit.training.terms import LossTerm, read_strides


def _losses(config: TrainConfig) -> tuple[LossTerm, ...]:
    adversaries = (*image_adversary(config), *video_adversaries(config), *face_adversary(config))
    return (*adversaries, *image_losses(config), *flow_losses(config))


def _generator(config: TrainConfig, source: Conditioning) -> GeneratorConfig:
    """The generator's configuration: the preset with the settings that override it."""
    skip = config.model.picture_skip and source.has("shows_frame")
    labels = source.slice_of("foreground").start if source.has("foreground") else 0
    return generator_config(
        config.model.preset,
        source_channels=generator_channels(config, source),
        picture=source.slice_of("shows_frame").start if skip else None,
        foreground=tuple(labels + label for label in config.model.foreground_ids),
        composition=config.model.composition,
        flow=config.model.flow,
        num_scales=config.scale,
        zero_history=config.model.norm == "batch",  # as the published weights, which have batch norm
        **sizes_of(config),
    )


def build_vid2vid(config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel) -> FrameMethod:
    """The networks of the settings' spatial stage, with random weights."""
    return FrameMethod(
        config,
        source,
        device,
        generator=_generator(config, source),
        terms=VID2VID.losses(config),
        schedule=video_schedule(config),
        parallel=parallel,
    )


def _check(config: TrainConfig) -> None:
    if config.downsamplings < 0:
        raise V2VError(
            "setting-conflict",
            f"{config.stage} has {config.scale} scales, but --num-scales is {config.num_scales}.",
            f"Give --num-scales {config.scale} or more, or leave it out.",
        )
    if config.schedule.fix_epochs and config.scale == 1:
        raise V2VError(
            "setting-unused", "--fix-epochs is for finer stages: spatial-1 has only one scale.", "Leave it out."
        )


def _describe(config: TrainConfig, source: Conditioning) -> dict[str, Any]:
    return {
        "network": _generator(config, source),
        "encoder": build_encoder_config(config),
        "first_frame": config.data.first_frame,
    }


VID2VID: MethodSpec = MethodSpec(
    name="vid2vid",
    losses=_losses,
    unused=("num_enhancers", "covst_share"),
    own=("shard",),
    context=lambda config: HISTORY,
    schedule=video_schedule,
    strides=lambda config: read_strides(VID2VID.losses(config), config),
    coarser=lambda config: None if config.scale == 1 else SPATIAL_STAGES[config.scale - 2],
    check=_check,
    build=build_vid2vid,
    describe=_describe,
    check_start=lambda config, source, size, folder: check_start(
        folder, _generator(config, source), source, size, build_encoder_config(config)
    ),
    inherit=inherit,
)
