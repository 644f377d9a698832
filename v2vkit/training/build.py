"""Networks and optimisers from the settings."""

import copy
from typing import Any

import torch
from torch._functorch import config as functorch

from v2vkit.conditions.conditioning import Conditioning
from v2vkit.engine.precision import make_scaler
from v2vkit.models.any_generator import AnyGeneratorConfig, build_generator
from v2vkit.models.discriminator import Discriminator
from v2vkit.models.encoder import EncoderConfig, FeatureEncoder
from v2vkit.models.perceptual import VGGFeatures
from v2vkit.models.presets import (
    DISCRIMINATORS,
    encoder_config,
    generator_config,
    image_discriminator_config,
    image_generator_config,
    video_discriminator_config,
)
from v2vkit.training.config import TrainConfig
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.trainer import Networks, Trainer


def build_generator_config(config: TrainConfig, source: Conditioning) -> AnyGeneratorConfig:
    """The generator's layers: the preset, with the sizes that were given instead of it."""
    names = ("width", "num_down", "num_blocks", "num_blocks_fine", "upsample", "norm")
    sizes = {name: getattr(config, name) for name in names}
    channels = source.num_channels + config.feature_dims
    if config.images:
        sizes["num_blocks_enhancer"] = sizes.pop("num_blocks_fine")
        return image_generator_config(
            config.preset,
            source_channels=channels,
            num_enhancers=config.num_enhancers,
            covst=config.covst,
            **{name: value for name, value in sizes.items() if value is not None},
        )
    skip = config.picture_skip and source.has("shows_frame")
    return generator_config(
        config.preset,
        source_channels=channels,
        picture=source.slice_of("shows_frame").start if skip else None,
        foreground=config.foreground,
        composition=config.composition,
        flow=config.flow,
        num_scales=config.scale,
        zero_history=config.norm == "batch",  # the published weights know it no other way
        **{name: value for name, value in sizes.items() if value is not None},
    )


def build_encoder_config(config: TrainConfig) -> EncoderConfig | None:
    """The feature encoder's layers; None where there is none."""
    return encoder_config(config.preset, dims=config.feature_dims) if config.feature_dims else None


def build_trainer(
    config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel = ALONE
) -> Trainer:
    """Freshly initialised networks (a pure function of the seed) and their optimisers.

    Args:
        parallel: the processes that share out the optimisers' moments where `config.shard` asks for it.
    """
    torch.manual_seed(config.seed)
    channels = source.num_channels
    # A finer picture gets a discriminator with one more scale, whose coarser ones judge what they judged before.
    sizes = config.discriminator_scales or DISCRIMINATORS[config.preset]["num_scales"]
    judged: dict[str, Any] = {"num_scales": sizes + config.scale - 1, "finer_scales": config.scale - 1}
    if config.norm is not None:
        judged["norm"] = config.norm
    if config.discriminator_width is not None:
        judged["width"] = config.discriminator_width
    generator = build_generator(build_generator_config(config, source)).to(device)
    image = Discriminator(image_discriminator_config(config.preset, source_channels=channels, **judged)).to(device)
    video = [
        Discriminator(video_discriminator_config(config.preset, num_frames=config.video_frames, **judged)).to(device)
        for _ in range(config.video_discriminators)
    ]
    face = None
    if config.lambda_face:
        number = max(1, judged["num_scales"] - 2)
        region = judged | {"num_scales": number, "finer_scales": min(number - 1, judged["finer_scales"])}
        face = Discriminator(image_discriminator_config(config.preset, source_channels=channels, **region)).to(device)
    layers = build_encoder_config(config)
    encoder = None if layers is None else FeatureEncoder(layers).to(device)
    vgg = VGGFeatures(config.vgg_weights).to(device) if config.vgg_weights else None
    generator.checkpointing = config.checkpointing
    networks = Networks(generator, image, video, face, vgg, encoder)
    for module in networks.named().values():
        if device.type == "cuda" if config.channels_last is None else config.channels_last:
            module.to(memory_format=torch.channels_last)
        if config.compile and device.type != "meta":
            # D's graph is used for two gradients, so the compiled one may not give its buffers away in the first.
            functorch.donated_buffer = False
            module.compile()  # in place: names of weights stay
    optimizers = {
        name: parallel.adam(
            networks.parameters(name),
            shard=config.shard,
            lr=config.learning_rate,
            betas=(0.5, 0.999),
            fused=device.type in ("cpu", "cuda"),
        )
        for name in networks.named()
        if name != "encoder"
    }
    average = {name: copy.deepcopy(value.detach()) for name, value in networks.model_state().items()}
    return Trainer(networks, optimizers, make_scaler(config.precision, device), average)
