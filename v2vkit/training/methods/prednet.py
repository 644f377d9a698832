"""PredNet (Lotter et al. 2017), a baseline of future video prediction, without an adversary.

On observed frames the loss is the error of the lowest layer (L_0, the paper's best for prediction); on predicted ones,
which the network then observes, the mean absolute error (the paper's extrapolation, section 3.2).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from v2vkit.conditions.conditioning import Conditioning
from v2vkit.config import make_config
from v2vkit.errors import V2VError
from v2vkit.models.prednet import PredNet, PredNetConfig, detach_prednet
from v2vkit.models.presets import PREDNETS
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.base import MethodSpec
from v2vkit.training.methods.frame_prediction import NOT_FOR_FRAMES, FrameChunk, FramePredictionMethod
from v2vkit.training.methods.frames import video_schedule
from v2vkit.training.parallel import Parallel
from v2vkit.training.start import check_same_network, inherit_same
from v2vkit.training.terms import LossTerm


def _losses(config: TrainConfig) -> tuple[LossTerm, ...]:
    return (
        LossTerm("P_Observed", "observed frames", "error of the lowest layer, L_0", "lambda_frames", compute=_observed),
        LossTerm("P_Frames", "predicted frames", "mean |x_fake - x|", "lambda_frames", compute=_predicted),
    )


def _observed(chunk: FrameChunk) -> Tensor | None:
    errors = chunk.state[0].errors_mean
    return torch.stack(errors).mean() if errors else None


def _predicted(chunk: FrameChunk) -> Tensor:
    return F.l1_loss(chunk.predicted, chunk.real)


def prednet_layers(config: TrainConfig) -> PredNetConfig:
    """The preset's layers; `--width` is the number of channels of the second one, doubled in each that follows."""
    channels = PREDNETS[config.model.preset]
    if config.model.width is not None:
        channels = (3, *(config.model.width << level for level in range(len(channels) - 1)))
    values = {"channels": channels, "observe": config.model.observe}
    return make_config(PredNetConfig, values, f"PredNet `{config.model.preset}`")


def _build(
    config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel
) -> FramePredictionMethod:
    return FramePredictionMethod(
        config,
        device,
        build=partial(PredNet, prednet_layers(config)),
        detach=detach_prednet,
        terms=_losses(config),
        parallel=parallel,
    )


def _describe(config: TrainConfig, source: Conditioning) -> dict[str, Any]:
    return {"network": prednet_layers(config)}


def _check(config: TrainConfig) -> None:
    prednet_layers(config)  # refuses invalid sizes
    if not config.losses.lambda_frames:
        raise V2VError("setting-invalid", "--lambda-frames 0 leaves PredNet without any loss.", "Give more than 0.")


PREDNET: MethodSpec = MethodSpec(
    name="prednet",
    losses=_losses,
    unused=(*NOT_FOR_FRAMES, "norm", "gan", "discriminator_scales", "discriminator_width"),
    own=("observe",),
    context=lambda config: config.model.observe,
    schedule=video_schedule,
    strides=lambda config: (),
    coarser=lambda config: None,
    check=_check,
    build=_build,
    describe=_describe,
    check_start=lambda config, source, size, folder: check_same_network(folder, prednet_layers(config), source),
    inherit=inherit_same,
    resolve=lambda config, work: config,
    regions=lambda config: False,
)
