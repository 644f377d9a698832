"""Reconstruction and flow losses, which need no discriminator. The formulas are in `models.losses`.

Each row's function takes a `GeneratedChunk` and gives the mean over it, or None if the chunk has no such loss: a frame
without past frames has no flow.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from v2vkit.models.losses import (
    flow_loss,
    generated_warp_loss,
    mask_loss,
    pixel_l1,
    style,
    warp_loss,
)
from v2vkit.models.perceptual_table import NETWORKS, perceptual_class
from v2vkit.training.config import TrainConfig
from v2vkit.training.generated import GeneratedChunk, join
from v2vkit.training.perceptual import source_text
from v2vkit.training.terms import FROM_NOTHING, PERCEPTUAL, PREDICTED_FLOW, LossTerm


@dataclass
class Losses:
    """Terms by name, unweighted, and their weighted sum."""

    terms: dict[str, Tensor] = field(default_factory=dict)
    total: Tensor | None = None

    def add(self, name: str, value: Tensor, weight: float = 1.0) -> None:
        self.terms[name] = value.detach()
        self.total = value * weight if self.total is None else self.total + value * weight


def reconstruction_losses(weights: dict[LossTerm, float], chunk: Any) -> Losses:
    """The losses of a chunk that need no discriminator.

    Args:
        weights: row -> its weight; rows with a discriminator are skipped.
        chunk: what the rows' functions take.
    """
    losses = Losses()
    for term, weight in weights.items():
        if term.network is None and term.compute is not None:
            value = term.compute(chunk)
            if value is not None:
                losses.add(term.key, value, weight)
    return losses


def image_losses(config: TrainConfig) -> tuple[LossTerm, ...]:
    """Rows of the losses of single images."""
    network = NETWORKS.get(config.losses.perceptual)
    side = 1 if network is None else perceptual_class(config.losses.perceptual).min_side
    return (
        LossTerm("G_L1", "pixel L1", "mean |x_fake - x|", "lambda_l1", compute=_pixel_l1),
        LossTerm(
            "G_Perceptual",
            "perceptual",
            "" if network is None else source_text(config),
            "lambda_perceptual",
            needs=(PERCEPTUAL,),
            min_side=side,
            compute=_perceptual,
        ),
        LossTerm(
            "G_Style",
            "style",
            "Gram matrices of the perceptual loss's maps",
            "lambda_style",
            needs=(PERCEPTUAL,),
            min_side=side,
            compute=_style,
        ),
    )


def flow_losses(config: TrainConfig) -> tuple[LossTerm, ...]:
    """Rows of the losses of the predicted flow and of what is warped with it or with the real flow."""
    flow = (PREDICTED_FLOW,)
    # Flow grows with the size of the frame, so its loss is scaled to that of the coarsest scale (as published).
    share = 1 / 2 ** (config.scale - 1)
    rows = (
        LossTerm("F_Flow", "predicted flow", "eq. 8, first term", "lambda_flow", share, flow, compute=_flow),
        LossTerm("F_Warp", "warped real frame", "eq. 8, second term", "lambda_flow", needs=flow, compute=_warp),
        LossTerm(
            "G_Warp",
            "temporal consistency",
            "generated frames under the real flow, as published",
            "lambda_warp",
            compute=_generated_warp,
        ),
        LossTerm("W", "mask", "mean |c m|, as published", "lambda_mask", needs=(*flow, FROM_NOTHING), compute=_mask),
    )
    return tuple(replace(row, strides=(1,)) for row in rows)  # the real flow, or its confidence


def _pixel_l1(chunk: GeneratedChunk) -> Tensor:
    return torch.stack([pixel_l1(fake, chunk.x) for fake in chunk.fakes]).sum()


def _perceptual(chunk: GeneratedChunk) -> Tensor:
    assert chunk.perceptual is not None
    real, fakes = chunk.perceptual_maps
    return torch.stack([chunk.perceptual.distance(fake, real) for fake in fakes]).sum()


def _style(chunk: GeneratedChunk) -> Tensor:
    real, fakes = chunk.perceptual_maps
    return torch.stack([style(fake, real) for fake in fakes]).sum()


def _flow(chunk: GeneratedChunk) -> Tensor | None:
    if not chunk.with_predicted_flow:
        return None
    return flow_loss(join([flow for _, _, flow, _ in chunk.with_predicted_flow]), *chunk.reference_flow)


def _warp(chunk: GeneratedChunk) -> Tensor | None:
    if not chunk.with_predicted_flow:
        return None
    x_last, x = (join([chunk.sequence.x[:, t - back] for t, *_ in chunk.with_predicted_flow]) for back in (1, 0))
    return warp_loss(join([flow for _, _, flow, _ in chunk.with_predicted_flow]), x_last, x, chunk.reference_flow[1])


def _generated_warp(chunk: GeneratedChunk) -> Tensor | None:
    if not chunk.with_past:
        return None
    x_fake = join([output.x_fake for _, output in chunk.with_past])
    x_fake_last = join([chunk.seen_by_generator(t - 1) for t, _ in chunk.with_past])
    return generated_warp_loss(x_fake, x_fake_last, *chunk.reference_flow)


def _mask(chunk: GeneratedChunk) -> Tensor | None:
    if not chunk.with_predicted_flow:
        return None
    return mask_loss(join([mask for *_, mask in chunk.with_predicted_flow]), chunk.reference_flow[1])
