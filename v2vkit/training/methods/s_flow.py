"""S-Flow GAN (Miron and Coscas 2019): labels and edges to frames that do not depend on each other.

One run, in the paper's order (section 3): on Laplacian edges (`--laplacian-epochs`), then jointly with the edge network
DNED, then on pairs of independent frames whose optical flow is compared with the real one (`--flow-epochs`, eq. 8, 9).
Each phase can be left out; with `--edge-network none` there is no second one, without `--condition edges` neither of
the first two (pix2pixHD's losses and eq. 8).

Choices where the paper is silent: D sees the labels, not the edges; feature matching has the factors of pix2pixHD (for
four hidden layers 1 / num_D of eq. 5); the perceptual loss of VGG-19 weighs its five maps alike (eq. 6).
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from v2vkit import weights
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.config import make_config
from v2vkit.errors import V2VError
from v2vkit.models.dned import DNED, DNEDConfig
from v2vkit.models.dned_weights import dned_from_hed, dned_from_vgg
from v2vkit.models.generator import Output
from v2vkit.models.perceptual import VGGFeatures
from v2vkit.models.presets import EDGE_NETWORKS
from v2vkit.models.sflow_generator import SFlowConfig, SFlowGenerator
from v2vkit.models.sflow_losses import dned_loss, generated_flow_loss, uniform_perceptual
from v2vkit.training.adversarial import image_adversary
from v2vkit.training.config import TrainConfig
from v2vkit.training.generated import GeneratedChunk, join
from v2vkit.training.methods.base import MethodSpec, StepContext
from v2vkit.training.methods.frames import Chunk, FrameMethod
from v2vkit.training.methods.pix2pixhd import SINGLE_FRAMES, check_layers, image_layers
from v2vkit.training.parallel import Parallel
from v2vkit.training.reconstruction import image_losses
from v2vkit.training.schedule import Schedule
from v2vkit.training.start import check_start, inherit
from v2vkit.training.terms import EDGE_NETWORK, EDGES, PAIRS, LossTerm

PAIR = 2
"""Frames of a sequence in the last phase."""


def phase_epochs(config: TrainConfig) -> tuple[int, int]:
    """Epochs before the edge network joins (all of them without one), and epochs at the end with L_flow."""
    of = config.schedule
    third = of.epochs // 3
    flow = third if of.flow_epochs is None else of.flow_epochs
    if config.model.edge_network == "none" or not config.conditions_have("shows_edges"):
        return of.epochs, flow
    return third if of.laplacian_epochs is None else of.laplacian_epochs, flow


def phase_schedule(config: TrainConfig) -> Schedule:
    """Single frames, then pairs."""
    epochs = config.schedule.epochs
    laplacian, flow = phase_epochs(config)
    edges = "Laplacian edges" if config.conditions_have("shows_edges") else "without edges"

    def name(epoch: int) -> str:
        if epoch < epochs - flow:
            return edges if epoch < laplacian else "with the edge network"
        return "L_flow on pairs of frames" + " and the edge network" * (epoch >= laplacian)

    begins = sorted({0, laplacian, epochs - flow})
    return Schedule(
        epochs,
        config.schedule.decay,
        first_frames=PAIR if flow == epochs else 1,
        double_every=epochs - flow,
        max_frames=PAIR if flow else 1,
        names=tuple((epoch, name(epoch)) for epoch in begins),
    )


def _losses(config: TrainConfig) -> tuple[LossTerm, ...]:
    rows = {row.key: row for row in image_losses(config)}
    return (
        *image_adversary(config),
        rows["G_L1"],
        replace(rows["G_Perceptual"], compute=_perceptual),
        LossTerm(
            "E_DNED",
            "edge network",
            "six cross-entropies, eq. 4" + ", balanced" * config.losses.balance_edges,
            "lambda_dned",
            needs=(EDGES, EDGE_NETWORK),
            begins=phase_epochs(config)[0],
            compute=partial(_edge_loss, balanced=config.losses.balance_edges),
        ),
        LossTerm(
            "G_Flow",
            "optical flow",
            "L_flow of independent frames, eq. 8",
            "lambda_flow",
            needs=(PAIRS,),
            num_frames=PAIR,
            compute=_flow,
        ),
    )


def _perceptual(chunk: GeneratedChunk) -> Tensor:
    real, fakes = chunk.perceptual_maps
    assert chunk.perceptual is not None
    of_vgg = isinstance(chunk.perceptual, VGGFeatures)
    distance = uniform_perceptual if of_vgg else chunk.perceptual.distance
    return torch.stack([distance(fake, real) for fake in fakes]).sum()


def _edge_loss(chunk: GeneratedChunk, *, balanced: bool) -> Tensor | None:
    logits = [
        join([output.edge_logits[i] for output in chunk.outputs]) for i in range(len(chunk.outputs[0].edge_logits))
    ]
    if not logits or chunk.edges is None:
        return None
    return dned_loss(logits, chunk.s[:, chunk.edges], balanced=balanced)


def _flow(chunk: GeneratedChunk) -> Tensor | None:
    """Of the first two frames of a chunk; None where there is one alone."""
    if len(chunk.frames) < PAIR:
        return None
    (last, frame), x = chunk.outputs[:PAIR], chunk.sequence.x
    first = chunk.frames[0]
    return generated_flow_loss(last.x_fake, frame.x_fake, x[:, first], x[:, first + 1], gradient_checkpointing=True)


def edge_layers(config: TrainConfig) -> DNEDConfig | None:
    """The layers of the edge network; None where there is none."""
    chosen = config.model.edge_network
    if chosen == "none" or not config.conditions_have("shows_edges"):
        return None
    if chosen == "scratch":
        return DNEDConfig(width=EDGE_NETWORKS[config.model.preset])
    return DNEDConfig(preprocessing="imagenet" if chosen == "vgg16" else "caffe")


def _layers(config: TrainConfig, source: Conditioning) -> SFlowConfig:
    edges = source.slice_of("shows_edges").start if source.has("shows_edges") else None
    values = {"image": image_layers(config, source), "edge_channel": edges, "dned": edge_layers(config)}
    return make_config(SFlowConfig, values, f"s-flow `{config.model.preset}`")


def _trained_edge_network(config: TrainConfig) -> DNED | None:
    """The edge network with weights that somebody else trained; None = from scratch.

    Raises:
        V2VError: the weights are not here.
    """
    chosen = config.model.edge_network
    if chosen == "vgg16":
        return dned_from_vgg(weights.require("vgg16"))
    return dned_from_hed(weights.require("hed"), source="edges") if chosen == "hed" else None


class SFlowMethod(FrameMethod):
    """Generator with the edge network, one optimiser for both, against image discriminators."""

    generator: SFlowGenerator

    def generate(self, chunk: Chunk, at: StepContext) -> list[Output]:
        """All frames of the chunk in one batch: none depends on another, but by the statistics of batch norms."""
        self.generator.join(at.epoch >= phase_epochs(self.config)[0])
        if self.config.model.norm == "batch":
            return super().generate(chunk, at)
        s = chunk.sequence.s
        (whole,) = self.generator(join([s[:, t] for t in chunk.frames]))
        parts = [each.chunk(len(chunk.frames)) for each in (whole.x_fake, *whole.edge_logits)]
        frames = [
            Output(x_fake, h=x_fake, flow=None, mask=None, warped=None, edge_logits=tuple(logits))
            for x_fake, *logits in zip(*parts, strict=True)
        ]
        chunk.state.x_fake += [frame.x_fake.detach() for frame in frames]
        return frames


def _build(config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel) -> SFlowMethod:
    method = SFlowMethod(
        config,
        source,
        device,
        generator=_layers(config, source),
        terms=S_FLOW.losses(config),
        schedule=phase_schedule(config),
        parallel=parallel,
        edges=source.slice_of("shows_edges") if source.has("shows_edges") else None,
    )
    if method.generator.dned is not None and device.type != "meta":
        trained = _trained_edge_network(config)
        if trained is not None:
            method.generator.dned.load_state_dict(trained.state_dict())
    return method


def _check(config: TrainConfig) -> None:
    check_layers(image_layers)(config)
    epochs = config.schedule.epochs
    laplacian, flow = phase_epochs(config)
    if flow > epochs or (edge_layers(config) is not None and laplacian >= epochs):
        raise V2VError(
            "setting-invalid",
            f"Of {epochs} epochs, {laplacian} on Laplacian edges and {flow} with L_flow leave none for the rest.",
            "Give fewer --laplacian-epochs or --flow-epochs, or --edge-network none.",
        )
    if edge_layers(config) is not None:
        _trained_edge_network(config)


def _describe(config: TrainConfig, source: Conditioning) -> dict[str, Any]:
    return {"network": _layers(config, source)}


S_FLOW: MethodSpec = MethodSpec(
    name="s-flow",
    losses=_losses,
    unused=(*SINGLE_FRAMES, "feature_dims", "picture_skip"),
    own=("edge_network", "laplacian_epochs", "flow_epochs", "balance_edges"),
    context=lambda config: 0,
    schedule=phase_schedule,
    strides=lambda config: (),
    coarser=lambda config: None,
    check=_check,
    build=_build,
    describe=_describe,
    check_start=lambda config, source, size, folder: check_start(folder, _layers(config, source), source, size),
    inherit=inherit,
)
