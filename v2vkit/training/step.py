"""One optimiser step: a chunk of generated frames, every loss on it, and the update of all networks.

Every forward pass of a discriminator serves both sides: the fakes enter as leaves, the discriminator's gradient is
taken with respect to its weights and the generator's with respect to the fakes, from the same graph. So real frames
pass through D once, and the generator's update never computes weight gradients of D.

Shapes: B batch; a window has L context frames and then the generated ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from v2vkit.config import Precision
from v2vkit.errors import V2VError
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.covst import with_flow
from v2vkit.models.discriminator import Discriminator, image_input, video_input
from v2vkit.models.generator import Output, advance, history_from_images
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
from v2vkit.models.temporal import temporal_windows
from v2vkit.training.config import TrainConfig
from v2vkit.training.dataset import Sequence
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.precision import autocast

if TYPE_CHECKING:
    from v2vkit.models.perceptual import VGGFeatures


@dataclass(frozen=True)
class Networks:
    """Everything that is trained, and VGG where a weights file was given."""

    generator: AnyGenerator
    image: Discriminator
    video: list[Discriminator]
    vgg: "VGGFeatures | None" = None

    def named(self) -> dict[str, torch.nn.Module]:
        """The trained networks by the name that checkpoints use."""
        modules: dict[str, torch.nn.Module] = {"generator": self.generator, "image": self.image}
        return modules | {f"video{scale}": network for scale, network in enumerate(self.video)}


@dataclass
class WindowState:
    """What one chunk of a window hands to the next; nothing in it carries a gradient.

    Attributes:
        context: L, real frames at the head of the window.
        history: the generator's past frames per scale; None before a first frame from nothing.
        from_nothing: the window began without real frames.
        x_fake: finest frames generated so far, each [B, 3, H, W]; number i is frame `context + i` of the window.
    """

    context: int
    history: list[Tensor] | None
    from_nothing: bool
    x_fake: list[Tensor] = field(default_factory=list)


def begin_window(sequence: Sequence, generator: AnyGenerator, *, from_nothing: bool) -> WindowState:
    """The state before the first generated frame: nothing at all, or the L real frames."""
    config = generator.config
    real = config.history and not from_nothing
    history = history_from_images(sequence.x[:, : config.history], config.num_scales) if real else None
    return WindowState(config.history, history, from_nothing)


def source_stack(sequence: Sequence, frame: int, history: int, *, first: int) -> Tensor:
    """s_{t-L} … s_t on the channels, [B, (L+1) C, H, W]; there is no past before `first`: it repeats."""
    return torch.cat([sequence.s[:, max(first, t)] for t in range(frame - history, frame + 1)], 1)


def generate_chunk(
    generator: AnyGenerator, sequence: Sequence, state: WindowState, frames: list[int], *, train_from: int = 0
) -> list[Output]:
    """Generate `frames` of the window one after another, each frame's history detached (the published default).

    Args:
        train_from: the first spatial scale that gets gradients.

    Returns:
        The finest scale's output for each frame, with its graph; `state` has moved on.
    """
    first = state.context if state.from_nothing else 0
    outputs = []
    for frame in frames:
        source = source_stack(sequence, frame, state.context, first=first)
        if generator.config.takes_flow:
            source = with_flow(source, sequence.flow[1][:, frame], sequence.confidence[1][:, frame])
        scales = generator(source, state.history, first_frame=state.history is None, train_from=train_from)
        state.history = advance(state.history, scales, length=state.context)
        outputs.append(scales[-1])
    state.x_fake += [output.x_fake.detach() for output in outputs]
    return outputs


@dataclass
class Losses:
    """Terms by name, unweighted, and their weighted sum."""

    terms: dict[str, Tensor] = field(default_factory=dict)
    total: Tensor | None = None

    def add(self, name: str, value: Tensor, weight: float = 1.0) -> None:
        self.terms[name] = value.detach()
        self.total = value * weight if self.total is None else self.total + value * weight


def _join(tensors: list[Tensor]) -> Tensor:
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
    x = _join([sequence.x[:, t] for t in frames])
    fakes = [_join([o.x_fake for o in outputs])]
    if not config.images:  # whose hallucination is the frame itself
        fakes.append(_join([o.h for o in outputs]))
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
        flow, mask = _join([f for _, _, f, _ in flows]), _join([m for *_, m in flows])
        flow_real = _join([sequence.flow[1][:, t] for t in times])
        confidence = _join([sequence.confidence[1][:, t] for t in times])
        x_last = _join([sequence.x[:, t - 1] for t in times])
        x_fake_last = _join([_generated(sequence, state, t - 1) for t in times])
        x, x_fake = _join([sequence.x[:, t] for t in times]), _join([o.x_fake for _, o, *_ in flows])
        # Flow grows with the size of the picture, so its loss is brought back to the coarsest scale's (published).
        losses.add("F_Flow", flow_loss(flow, flow_real, confidence), config.lambda_flow / 2 ** (config.scale - 1))
        losses.add("F_Warp", warp_loss(flow, x_last, x, confidence), config.lambda_flow)
        losses.add("G_Warp", generated_warp_loss(x_fake, x_fake_last, flow_real, confidence), config.lambda_flow)
        if config.first_frame == "self" and config.lambda_mask:
            losses.add("W", mask_loss(mask, confidence), config.lambda_mask)
    return losses


def _generated(sequence: Sequence, state: WindowState, frame: int) -> Tensor:
    """Frame `frame` of the window as the generator's past saw it: real in the context, then generated."""
    return sequence.x[:, frame] if frame < state.context else state.x_fake[frame - state.context]


def _judge(
    discriminator: Callable[[Tensor], Judged], real: Tensor, fakes: list[Tensor], precision: Precision
) -> tuple[Judged, list[Judged]]:
    """What D says of the real input [n, C, H, W] and of several fake ones, in two forward passes; float32."""

    def judge(x: Tensor) -> Judged:
        return [[maps.float() for maps in scale] for scale in discriminator(x)]

    with autocast(precision, real.device):
        judged, judged_real = judge(torch.cat(fakes, 0)), judge(real)
    parts = [[[maps.chunk(len(fakes), 0)[i] for maps in scale] for scale in judged] for i in range(len(fakes))]
    return judged_real, parts


def _play(
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


def train_chunk(
    config: TrainConfig,
    networks: Networks,
    optimizers: dict[str, torch.optim.Optimizer],
    sequence: Sequence,
    state: WindowState,
    frames: list[int],
    *,
    train_from: int = 0,
    warmed: tuple[float, ...] = (1.0, 1.0, 1.0),
    parallel: Parallel = ALONE,
) -> tuple[dict[str, float], list[Output]]:
    """Generate the chunk, compute every loss, update every network once.

    Args:
        frames: numbers of the chunk's frames in the window.
        train_from: the first spatial scale that trains; coarser ones stay as they are.
        warmed: per temporal scale, the share of its weight that its loss has grown to (`warm_up_factors`).
        parallel: the other processes of this run.

    Returns:
        The unweighted loss terms, and the generator's outputs (for pictures).

    Raises:
        V2VError: a loss term is not finite; names it, and nothing has been updated.
    """
    with autocast(config.precision, sequence.x.device):
        outputs = generate_chunk(networks.generator, sequence, state, frames, train_from=train_from)
    direct = direct_losses(config, sequence, state, frames, outputs, networks.vgg)
    # From here on the discriminators see leaves, so that G's and D's gradients come from one forward pass.
    x_leaf = [o.x_fake.detach().requires_grad_() for o in outputs]
    h_leaf = [] if config.images else [o.h.detach().requires_grad_() for o in outputs]
    adversarial = Losses()
    d_losses: dict[str, Tensor] = {}
    d_terms: dict[str, Tensor] = {}

    s = _join([sequence.s[:, t] for t in frames])
    x = _join([sequence.x[:, t] for t in frames])
    fakes = [image_input(s, _join(leaves)) for leaves in (x_leaf, h_leaf) if leaves]
    judged_real, judged_fakes = _judge(networks.image, image_input(s, x), fakes, config.precision)
    d_losses["image"], terms = _play("GAN", judged_real, judged_fakes, config, 1.0, adversarial)
    d_terms |= terms

    windows = temporal_windows(
        len(state.x_fake),
        len(frames),
        num_frames=config.video_frames,
        num_scales=len(networks.video),
        sparse=config.sparse,
    )
    for scale, network in enumerate(networks.video):
        if not windows[scale]:
            continue
        real, fake = _video_inputs(sequence, state, windows[scale], config.strides[scale], x_leaf)
        judged_real, judged_fakes = _judge(network, real, [fake], config.precision)
        name = f"T{scale}"
        d_losses[f"video{scale}"], terms = _play(
            name, judged_real, judged_fakes, config, config.lambda_temporal * warmed[scale], adversarial
        )
        d_terms |= terms

    all_terms = direct.terms | adversarial.terms | d_terms
    stacked = parallel.mean(torch.stack(list(all_terms.values())))
    values = dict(zip(all_terms, stacked.tolist(), strict=True))
    _refuse_non_finite(values)

    assert adversarial.total is not None
    gradients = torch.autograd.grad(adversarial.total, [*x_leaf, *h_leaf], retain_graph=True)
    for name, loss in d_losses.items():
        parameters = list(networks.named()[name].parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            # In the layout of the weights: fused Adam relies on it, and does not check it on a CPU.
            same = gradient.stride() == parameter.stride()
            parameter.grad = gradient if same else torch.empty_like(parameter).copy_(gradient)
    optimizers["generator"].zero_grad()
    heads: list[Tensor] = [*(o.x_fake for o in outputs), *(o.h for o in outputs[: len(h_leaf)])]
    if direct.total is None:
        torch.autograd.backward(heads, list(gradients))
    else:
        torch.autograd.backward([direct.total, *heads], [torch.ones_like(direct.total), *gradients])
    for name in ("generator", *d_losses):
        parameters = list(networks.named()[name].parameters())
        parallel.average_gradients(parameters)
        if config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip)
        optimizers[name].step()
    return values, outputs


def _video_inputs(
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
    return _join(real), _join(fake)


def _refuse_non_finite(values: dict[str, float]) -> None:
    wrong = [name for name, value in values.items() if not abs(value) < float("inf")]
    if wrong:
        raise V2VError(
            f"Training stopped: {', '.join(wrong)} is not a finite number.",
            "Resume with the same command from the last snapshot, or train again with a lower --learning-rate.",
        )
