"""The losses of one chunk of a training window, weighted and summed; the formulas are in `models.losses`. B batch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from v2vkit.config import Precision
from v2vkit.models.discriminator import video_input
from v2vkit.models.generator import Output
from v2vkit.models.losses import (
    Judged,
    feature_matching,
    flow_loss,
    generated_warp_loss,
    hinge_discriminator,
    hinge_generator,
    lsgan,
    mask_loss,
    perceptual,
    pixel_l1,
    style,
    warp_loss,
)
from v2vkit.training.config import TrainConfig
from v2vkit.training.dataset import Sequence
from v2vkit.training.precision import autocast
from v2vkit.training.window import WindowState

if TYPE_CHECKING:
    from v2vkit.models.perceptual import VGGFeatures


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
    sequence: Sequence,
    state: WindowState,
    frames: list[int],
    outputs: list[Output],
    vgg: "VGGFeatures | None",
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
    if flows and config.lambda_flow:
        times = [t for t, *_ in flows]
        flow = join([f for _, _, f, _ in flows])
        flow_real = join([sequence.flow[1][:, t] for t in times])
        confidence = join([sequence.confidence[1][:, t] for t in times])
        x_last = join([sequence.x[:, t - 1] for t in times])
        x_fake_last = join([_generated(sequence, state, t - 1) for t in times])
        x, x_fake = join([sequence.x[:, t] for t in times]), join([o.x_fake for _, o, *_ in flows])
        # Flow grows with the size of the picture, so its loss is brought back to the coarsest scale's (published).
        losses.add("F_Flow", flow_loss(flow, flow_real, confidence), config.lambda_flow / 2 ** (config.scale - 1))
        losses.add("F_Warp", warp_loss(flow, x_last, x, confidence), config.lambda_flow)
        losses.add("G_Warp", generated_warp_loss(x_fake, x_fake_last, flow_real, confidence), config.lambda_flow)
    if flows and config.lambda_mask and config.first_frame == "self":
        mask, trust = join([m for *_, m in flows]), join([sequence.confidence[1][:, t] for t, *_ in flows])
        losses.add("W", mask_loss(mask, trust), config.lambda_mask)
    return losses


def _generated(sequence: Sequence, state: WindowState, frame: int) -> Tensor:
    """Frame `frame` of the window as the generator's past saw it: real in the context, then generated."""
    return sequence.x[:, frame] if frame < state.context else state.x_fake[frame - state.context]


def judge_inputs(
    discriminator: Callable[[Tensor], Judged],
    real: Tensor,
    fakes: list[Tensor],
    precision: Precision,
    *,
    together: bool = True,
) -> tuple[Judged, list[Judged]]:
    """What D says of the real input [n, C, H, W] and of several fake ones; float32.

    Args:
        together: the fakes in one forward pass; not for networks that normalise over the batch.
    """

    def judge(x: Tensor) -> Judged:
        return [[maps.float() for maps in scale] for scale in discriminator(x)]

    with autocast(precision, real.device):
        if not together:
            return judge(real), [judge(fake) for fake in fakes]
        judged, judged_real = judge(torch.cat(fakes, 0)), judge(real)
    parts = [[[maps.chunk(len(fakes), 0)[i] for maps in scale] for scale in judged] for i in range(len(fakes))]
    return judged_real, parts


def play(
    name: str, real: Judged, fakes: list[Judged], config: TrainConfig, weight: float, generator: Losses
) -> tuple[Tensor, dict[str, Tensor]]:
    """Both sides of one adversarial game: adds the generator's terms to `generator`, returns D's loss and its terms.

    Each fake input plays against the real one: D's loss is half the sum over the fakes of real + fake terms (1.9).
    """
    hinge = config.gan == "hinge"
    gan = torch.stack([hinge_generator(fake) if hinge else lsgan(fake, real=True) for fake in fakes]).sum()
    matching = torch.stack([feature_matching(fake, real) for fake in fakes]).sum()
    generator.add(f"G_{name}", gan, weight)
    generator.add(f"G_{name}_Feat", matching, weight * config.lambda_feature)
    judge = hinge_discriminator if hinge else lsgan
    d_real = judge(real, real=True) * len(fakes)
    d_fake = torch.stack([judge(fake, real=False) for fake in fakes]).sum()
    return (d_real + d_fake) / 2, {f"D_{name}_real": d_real.detach(), f"D_{name}_fake": d_fake.detach()}


def video_inputs(
    sequence: Sequence, state: WindowState, windows: list[tuple[int, ...]], stride: int, x_leaf: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """What D_V judges for some windows (numbers count generated frames): real and fake, the same real flows in both."""
    old = len(state.x_fake) - len(x_leaf)
    real, fake = [], []
    for window in windows:
        times = [state.context + i for i in window]
        flows = torch.stack([sequence.flow[stride][:, t] for t in times[1:]], 1)
        real.append(video_input(sequence.x[:, times], flows))
        frames = torch.stack([x_leaf[i - old] if i >= old else state.x_fake[i] for i in window], 1)
        fake.append(video_input(frames, flows))
    return join(real), join(fake)
