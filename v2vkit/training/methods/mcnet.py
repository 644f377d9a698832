"""MCNet (Villegas et al. 2017), a baseline of future video prediction.

L = L_img + 0.02 L_GAN with L_img = L_2 + L_gdl (section 3.4): here `--lambda-frames` is 50 and L_GAN weighs 1, which is
the same for Adam. The discriminator is our PatchGAN, which takes any size. It sees one predicted frame after the real
ones before it; the discriminator of the paper sees all observed and predicted frames of a sequence at once.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from v2vkit.conditions.conditioning import Conditioning
from v2vkit.config import make_config
from v2vkit.models.mcnet import MCNet, MCNetConfig, detach_mcnet, gradient_difference
from v2vkit.models.presets import MCNETS
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.base import MethodSpec
from v2vkit.training.methods.frame_prediction import (
    NOT_FOR_FRAMES,
    FrameChunk,
    FramePredictionMethod,
    predicted_inputs,
)
from v2vkit.training.methods.frames import video_schedule
from v2vkit.training.parallel import Parallel
from v2vkit.training.start import check_same_network, inherit_same
from v2vkit.training.terms import LossTerm


def _losses(config: TrainConfig) -> tuple[LossTerm, ...]:
    gan = config.adversaries.gan
    return (
        LossTerm("GAN", "GAN", f"{gan}, given the frames before", network="image", compute=predicted_inputs),
        LossTerm("Feat", "feature matching", "of the discriminator; not in the paper", "lambda_feature"),
        LossTerm("P_Frames", "predicted frames", "mean (x_fake - x)^2", "lambda_frames", compute=_squares),
        LossTerm("P_Gradient", "gradient difference", "L_gdl", "lambda_frames", compute=_gradients),
    )


def _squares(chunk: FrameChunk) -> Tensor:
    return F.mse_loss(chunk.predicted, chunk.real)


def _gradients(chunk: FrameChunk) -> Tensor:
    return gradient_difference(chunk.predicted, chunk.real)


def mcnet_layers(config: TrainConfig) -> MCNetConfig:
    """The preset's layers with the settings that override them."""
    width = config.model.width or MCNETS[config.model.preset]
    values = {"width": width, "observe": config.model.observe}
    return make_config(MCNetConfig, values, f"MCNet `{config.model.preset}`")


def _build(
    config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel
) -> FramePredictionMethod:
    return FramePredictionMethod(
        config,
        device,
        build=partial(MCNet, mcnet_layers(config)),
        detach=detach_mcnet,
        terms=_losses(config),
        parallel=parallel,
    )


def _describe(config: TrainConfig, source: Conditioning) -> dict[str, Any]:
    return {"network": mcnet_layers(config)}


def _check(config: TrainConfig) -> None:
    mcnet_layers(config)  # refuses invalid sizes


MCNET: MethodSpec = MethodSpec(
    name="mcnet",
    losses=_losses,
    unused=NOT_FOR_FRAMES,
    own=("observe",),
    context=lambda config: config.model.observe,
    schedule=video_schedule,
    strides=lambda config: (),
    coarser=lambda config: None,
    check=_check,
    build=_build,
    describe=_describe,
    check_start=lambda config, source, size, folder: check_same_network(folder, mcnet_layers(config), source),
    inherit=inherit_same,
    resolve=lambda config, work: config,
    regions=lambda config: False,
)
