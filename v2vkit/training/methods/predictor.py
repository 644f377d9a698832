"""Prediction of future label maps (vid2vid paper, section 4): observed maps to the next one, recursively.

One step predicts a chunk of maps, each from detached history. Source of the losses: cross-entropy with the real label,
an adversarial loss of the next map given the real maps before it, and eq. 8 for the flow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.flow import flow_color
from v2vkit.conditions.label_ids import colorize
from v2vkit.config import make_config
from v2vkit.engine.precision import autocast
from v2vkit.errors import V2VError
from v2vkit.models.discriminator import Discriminator, DiscriminatorConfig
from v2vkit.models.label_maps import cross_entropy, labels_from_channels
from v2vkit.models.losses import flow_loss, mask_loss, warp_loss
from v2vkit.models.predictor import (
    LabelHistory,
    LabelPredictor,
    PredictedMap,
    PredictorConfig,
    advance_history,
    observed_history,
)
from v2vkit.models.presets import DISCRIMINATORS, GENERATORS
from v2vkit.training.adversarial import DiscriminatorInputs
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.generated import join
from v2vkit.training.methods.base import MethodSpec, StepContext
from v2vkit.training.methods.frames import sizes_of, video_schedule
from v2vkit.training.methods.gan import GANMethod
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.start import check_same_network, inherit_same
from v2vkit.training.terms import PREDICTED_FLOW, LossTerm, losses_on, read_strides
from v2vkit.training.window import chunks

NOT_FOR_PREDICTION = (
    *("stage", "num_scales", "fix_epochs", "foreground", "composition", "first_frame"),
    *("drop_history", "history_noise"),
    *("temporal_scales", "video_frames", "sparse", "num_enhancers", "covst_share", "feature_dims", "picture_skip"),
    *("num_blocks_fine", "perceptual", "perceptual_weights", "gradient_checkpointing"),
    *("label_jitter", "drop_thin", "drop_classes", "loss_ramp"),
)
"""Settings of generators of frames from maps that methods of prediction do not use.

Noise in label maps would change the maps that are predicted, too."""


@dataclass
class MapChunk:
    """Consecutive maps of a batch, by their numbers in the window; `step` fills `outputs`.

    Attributes:
        sequence: the batch.
        frames: numbers of the maps to predict.
        observe: number L of observed maps.
        state: one item, the history after the maps before the chunk; shared by the chunks of a batch.
        outputs: the predictions with their graphs, one per map.
    """

    sequence: VideoBatch
    frames: list[int]
    observe: int
    state: list[LabelHistory]
    outputs: list[PredictedMap] = field(default_factory=list)

    @cached_property
    def fakes(self) -> list[Tensor]:
        """The predicted probabilities detached, which the discriminator sees; leaves that collect gradients."""
        return [output.probabilities.detach().requires_grad_() for output in self.outputs]

    @cached_property
    def real(self) -> Tensor:
        """The real maps [n B, C, H, W]."""
        return join([self.sequence.s[:, t] for t in self.frames])

    @cached_property
    def probabilities(self) -> Tensor:
        """The predicted probabilities [n B, K, H, W]."""
        return join([output.probabilities for output in self.outputs])

    def flows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Predicted flow, reference flow and its confidence, each [n B, ...]."""
        flow = join([output.flow for output in self.outputs if output.flow is not None])
        reference, confidence = self.sequence.flow[1], self.sequence.confidence[1]
        return flow, join([reference[:, t] for t in self.frames]), join([confidence[:, t] for t in self.frames])


def _losses(config: TrainConfig) -> tuple[LossTerm, ...]:
    flow = (PREDICTED_FLOW,)
    return (
        LossTerm("GAN", "GAN", f"{config.adversaries.gan}, given the real maps before", network="image", compute=_maps),
        LossTerm("Feat", "feature matching", "of the discriminator, eq. 4 of pix2pixHD", "lambda_feature"),
        LossTerm("P_Labels", "cross-entropy", "-mean log p(real label)", "lambda_labels", compute=_labels),
        LossTerm(
            "F_Flow", "predicted flow", "eq. 8, first term", "lambda_flow", needs=flow, strides=(1,), compute=_flow
        ),
        LossTerm(
            "F_Warp", "warped real map", "eq. 8, second term", "lambda_flow", needs=flow, strides=(1,), compute=_warp
        ),
        LossTerm("W", "mask", "mean |c m|, as published", "lambda_mask", needs=flow, strides=(1,), compute=_mask),
    )


def _maps(chunk: MapChunk) -> DiscriminatorInputs:
    """The L real maps before each map, and the map: real or predicted.

    The past is real for both, so that the discriminator cannot tell them apart by it.
    """
    past = join([chunk.sequence.s[:, t - chunk.observe : t].flatten(1, 2) for t in chunk.frames])
    num_labels = chunk.fakes[0].shape[1]
    real = torch.cat([past, chunk.real[:, :num_labels]], 1)
    return DiscriminatorInputs(real, [torch.cat([past, join(chunk.fakes)], 1)])


def _labels(chunk: MapChunk) -> Tensor:
    return cross_entropy(chunk.probabilities, chunk.real)


def _flow(chunk: MapChunk) -> Tensor:
    return flow_loss(*chunk.flows())


def _warp(chunk: MapChunk) -> Tensor:
    flow, _, confidence = chunk.flows()
    num_labels = chunk.probabilities.shape[1]
    last = join([chunk.sequence.s[:, t - 1, :num_labels] for t in chunk.frames])
    return warp_loss(flow, last, chunk.real[:, :num_labels], confidence)


def _mask(chunk: MapChunk) -> Tensor:
    masks = [output.mask for output in chunk.outputs if output.mask is not None]
    return mask_loss(join(masks), chunk.flows()[2])


def predictor_layers(config: TrainConfig, source: Conditioning) -> PredictorConfig:
    """The predictor's configuration: the preset's trunk with the settings that override it."""
    sizes = {name: GENERATORS[config.model.preset][name] for name in ("width", "num_down", "num_blocks")} | sizes_of(
        config
    )
    labels: Any = source.conditions[0]
    values = {
        **sizes,
        "num_labels": labels.num_labels,
        "edges": labels.edges,
        "observe": config.model.observe,
        "flow": config.model.flow,
    }
    return make_config(PredictorConfig, values, f"predictor `{config.model.preset}`")


def prediction_discriminator(config: TrainConfig, in_channels: int) -> Discriminator:
    """The discriminator of a method of prediction, with the preset's sizes and the settings that override them."""
    of, preset = config.adversaries, DISCRIMINATORS[config.model.preset]
    values: dict[str, Any] = {**preset, "in_channels": in_channels}
    values |= {} if of.discriminator_scales is None else {"num_scales": of.discriminator_scales}
    values |= {} if of.discriminator_width is None else {"width": of.discriminator_width}
    values |= {} if config.model.norm is None else {"norm": config.model.norm}
    return Discriminator(make_config(DiscriminatorConfig, values, f"discriminator `{config.model.preset}`"))


class PredictorMethod(GANMethod):
    """The predictor of label maps and its discriminator."""

    headline: ClassVar[tuple[str, ...]] = ("P_Labels", "G_GAN")
    generator: LabelPredictor

    def __init__(self, config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel = ALONE):
        """Builds the networks with random weights, a pure function of the seed."""
        self.config, self.source, self.parallel = config, source, parallel
        self.terms, self.schedule = losses_on(_losses(config), config), video_schedule(config)
        torch.manual_seed(config.data.seed)
        self.layers = predictor_layers(config, source)
        self.generator = LabelPredictor(self.layers).to(device)
        channels = self.layers.observe * self.layers.map_channels + self.layers.num_labels
        self.discriminators = {"image": prediction_discriminator(config, channels).to(device)}
        self.lay_out(device)

    def chunks(self, batch: VideoBatch, *, skip: int = 0) -> Iterator[MapChunk]:
        """The maps to predict in chunks of `--chunk`; every window begins from observed maps."""
        observe = self.layers.observe
        regions = None if batch.regions is None else batch.regions[:, skip + observe - 1]
        state = [observed_history(batch.s[:, skip : skip + observe], regions, self.layers)]
        for frames in chunks(batch.s.shape[1], observe + skip, self.config.schedule.chunk):
            yield MapChunk(batch, frames, observe, state)

    def step(self, chunk: MapChunk, at: StepContext) -> dict[str, Tensor]:
        """Predict the chunk, compute every loss on it, and store the gradients of all networks."""
        with autocast(self.config.hardware.precision, chunk.sequence.s.device):
            for _ in chunk.frames:
                chunk.outputs.append(self.generator(chunk.state[0].maps))
                chunk.state[0] = advance_history(chunk.state[0], chunk.outputs[-1], self.layers)
        heads = [output.probabilities for output in chunk.outputs]
        return self.take_losses(chunk, at, heads=heads, fakes=chunk.fakes)

    def sample(self, chunk: MapChunk) -> NDArray[np.uint8]:
        """Rows: real, predicted, hallucinated, mask, flow; columns: maps of the batch's first sequence."""
        columns = []
        for t, output in zip(chunk.frames, chunk.outputs, strict=True):
            real = labels_from_channels(chunk.sequence.s[:1, t], self.layers.num_labels)
            shown = (real, output.labels, output.hallucinated.argmax(1, keepdim=True))
            rows = [colorize(labels[0, 0].cpu().numpy()) for labels in shown]
            if output.flow is not None and output.mask is not None:
                mask = (output.mask[0, 0].detach().float().cpu().numpy() * 255).astype(np.uint8)
                flow = output.flow[0].detach().permute(1, 2, 0).float().cpu().numpy()
                rows += [np.repeat(mask[..., None], 3, 2), flow_color(flow)]
            columns.append(np.concatenate(rows, 0))
        return np.concatenate(columns, 1)


def _check(config: TrainConfig) -> None:
    if config.conditions != ("labels",):
        raise V2VError(
            "condition-unsupported",
            f"--method predictor predicts labels and nothing else; given: {'+'.join(config.conditions)}.",
            "Give --domain street.",
        )


def _build(config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel) -> PredictorMethod:
    return PredictorMethod(config, source, device, parallel)


PREDICTOR: MethodSpec = MethodSpec(
    name="predictor",
    losses=_losses,
    unused=NOT_FOR_PREDICTION,
    own=("observe",),
    context=lambda config: config.model.observe,
    schedule=video_schedule,
    strides=lambda config: read_strides(_losses(config), config),
    coarser=lambda config: None,
    check=_check,
    build=_build,
    describe=lambda config, source: {"network": predictor_layers(config, source)},
    check_start=lambda config, source, size, folder: check_same_network(
        folder, predictor_layers(config, source), source
    ),
    inherit=inherit_same,
    resolve=lambda config, work: config,
    regions=lambda config: True,
)
