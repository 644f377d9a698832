"""The losses of one chunk of a training window that need no discriminator, weighted and summed.

The formulas are in `models.losses`, the discriminators' games in `judging`. B batch.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from v2vkit.models.generator import Output
from v2vkit.models.losses import (
    flow_loss,
    generated_warp_loss,
    mask_loss,
    perceptual,
    pixel_l1,
    style,
    warp_loss,
)
from v2vkit.models.perceptual import VGGFeatures
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.window import WindowState


@dataclass
class Losses:
    """Terms by name, unweighted, and their weighted sum."""

    terms: dict[str, Tensor] = field(default_factory=dict)
    total: Tensor | None = None

    def add(self, name: str, value: Tensor, weight: float = 1.0) -> None:
        self.terms[name] = value.detach()
        self.total = value * weight if self.total is None else self.total + value * weight


def join(tensors: list[Tensor]) -> Tensor:
    """Frames [B, ...] -> one batch [n B, ...]."""
    return torch.cat(tensors, 0)


def direct_losses(
    config: TrainConfig,
    sequence: VideoBatch,
    state: WindowState,
    frames: list[int],
    outputs: list[Output],
    vgg: VGGFeatures | None,
) -> Losses:
    """The losses that need no discriminator: VGG, pixels, flow and warping (eq. 8), mask; means over the chunk."""
    losses = Losses()
    x = join([sequence.x[:, t] for t in frames])
    fakes = [join([o.x_fake for o in outputs])]
    if not config.images:  # whose hallucination is the frame itself
        fakes.append(join([o.h for o in outputs]))
    if config.lambda_l1:
        losses.add("G_L1", torch.stack([pixel_l1(fake, x) for fake in fakes]).sum(), config.lambda_l1)
    if vgg is not None and (config.lambda_vgg or config.lambda_style):
        with torch.no_grad():
            real = vgg(x)
        features = [vgg(fake) for fake in fakes]
        if config.lambda_vgg:
            losses.add("G_VGG", torch.stack([perceptual(of, real) for of in features]).sum(), config.lambda_vgg)
        if config.lambda_style:
            losses.add("G_Style", torch.stack([style(of, real) for of in features]).sum(), config.lambda_style)
    warped = [(t, o, o.flow, o.mask) for t, o in zip(frames, outputs, strict=True)]
    flows = [(t, o, flow, mask) for t, o, flow, mask in warped if flow is not None and mask is not None]
    if flows and (config.lambda_flow or config.lambda_warp):
        times = [t for t, *_ in flows]
        flow_real = join([sequence.flow[1][:, t] for t in times])
        confidence = join([sequence.confidence[1][:, t] for t in times])
        if config.lambda_flow:
            flow, x_last = join([f for _, _, f, _ in flows]), join([sequence.x[:, t - 1] for t in times])
            x = join([sequence.x[:, t] for t in times])
            # Flow grows with the size of the picture, so its loss is brought back to the coarsest scale's (published).
            losses.add("F_Flow", flow_loss(flow, flow_real, confidence), config.lambda_flow / 2 ** (config.scale - 1))
            losses.add("F_Warp", warp_loss(flow, x_last, x, confidence), config.lambda_flow)
        if config.lambda_warp:
            x_fake = join([o.x_fake for _, o, *_ in flows])
            x_fake_last = join([_generated(sequence, state, t - 1) for t in times])
            losses.add("G_Warp", generated_warp_loss(x_fake, x_fake_last, flow_real, confidence), config.lambda_warp)
    if flows and config.lambda_mask and config.first_frame == "self":
        mask, trust = join([m for *_, m in flows]), join([sequence.confidence[1][:, t] for t, *_ in flows])
        losses.add("W", mask_loss(mask, trust), config.lambda_mask)
    return losses


def _generated(sequence: VideoBatch, state: WindowState, frame: int) -> Tensor:
    """Frame `frame` of the window as the generator's past saw it: real in the context, then generated."""
    return sequence.x[:, frame] if frame < state.context else state.x_fake[frame - state.context]
