"""The plain formulation of a training step and of a frame: one pass per term, as the specification describes it.

What v2vkit computes in other ways (shared passes, layers of its own) is compared with this, in the benchmark and in the
tests. With `stock` nothing here uses those ways: torch's own layers one after another (`use_stock_layers`), frame after
frame, a discriminator pass per loss term, warping by `grid_sample`, Adam parameter by parameter, as the published code
does. Without, the layers, the warp and Adam are v2vkit's, so that the formulations alone are compared. One spatial
scale, LSGAN. Shapes as in `v2vkit.training.methods.frames`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.checkpoint.train_state import TrainState
from v2vkit.models.blocks import InstanceNorm, NarrowConv, ReflectConv
from v2vkit.models.discriminator import Discriminator, image_input, video_input
from v2vkit.models.generator import Output, Scale, VideoGenerator, add_foreground, advance, blend
from v2vkit.models.losses import feature_matching, lsgan
from v2vkit.models.temporal import temporal_windows
from v2vkit.models.warp import warp
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.generated import GeneratedChunk
from v2vkit.training.methods.frames import FrameMethod
from v2vkit.training.reconstruction import Losses, reconstruction_losses
from v2vkit.training.window import WindowState


@dataclass(frozen=True)
class Training:
    """A method, and the state of its training; `stock`: made of torch's own parts (`use_stock_parts`)."""

    method: FrameMethod
    state: TrainState
    stock: bool = False


def use_stock_layers(network: nn.Module) -> None:
    """Replace v2vkit's layers inside `network` by torch's own with the same parameters (the very same tensors).

    Norms become batch norms, as published: the same function for one image, but not for several. Torch's instance norm
    takes longer (1.05 times the processor time of a step), which would flatter our ratios.
    """
    for name, child in list(network.named_children()):
        layer: nn.Module
        if isinstance(child, InstanceNorm):
            layer = nn.BatchNorm2d(child.num_features, child.eps, track_running_stats=False)
            layer.weight, layer.bias = child.weight, child.bias
        elif isinstance(child, ReflectConv):
            conv = nn.Conv2d(child.in_channels, child.out_channels, child.kernel_size[0])
            conv.weight, conv.bias = child.weight, child.bias
            layer = nn.Sequential(nn.ReflectionPad2d(child.border), conv)
        elif isinstance(child, NarrowConv):
            layer = nn.Conv2d(
                child.in_channels, child.out_channels, child.kernel_size[0], child.stride[0], int(child.padding[0])
            )
            layer.weight, layer.bias = child.weight, child.bias
        else:
            use_stock_layers(child)
            continue
        setattr(network, name, layer)


def use_stock_parts(training: Training) -> Training:
    """The same training with torch's own layers, warp and unfused Adam."""
    for module in training.state.modules.values():
        use_stock_layers(module)
    for optimizer in training.state.optimizers.values():
        for group in optimizer.param_groups:
            group["fused"] = group["foreach"] = False
    return Training(training.method, training.state, stock=True)


def plain_warp(image: Tensor, flow: Tensor) -> Tensor:
    """`v2vkit.models.warp.warp` as the published code computes it: `grid_sample` in normalised coordinates."""
    height, width = image.shape[-2:]
    x = torch.linspace(-1, 1, width, device=image.device).expand(height, width)
    y = torch.linspace(-1, 1, height, device=image.device)[:, None].expand(height, width)
    moved = torch.stack([flow[:, 0] / ((width - 1) / 2), flow[:, 1] / ((height - 1) / 2)], -1)
    grid = torch.stack([x, y], -1)[None] + moved
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


@contextmanager
def _warping(function: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """The losses warp by this function."""
    with patch("v2vkit.models.losses.warp", function):
        yield


def plain_frame(generator: VideoGenerator, source: Tensor, history: Tensor, *, stock: bool = True) -> Output:
    """One frame from the stacked source maps and past frames: the coarse generator G0 (specification 1.2, eq. 4, 9).

    Args:
        stock: warp by `grid_sample`.
    """
    (scale,) = generator.scales
    assert isinstance(scale, Scale)
    encoded = scale.source_encoder(source) + scale.history_encoder(history)
    h = torch.tanh(scale.image_head(scale.image_branch(encoded)))
    if scale.has_foreground:
        config = generator.config
        h_foreground = torch.tanh(scale.foreground_head(scale.foreground_branch(scale.foreground_encoder(source))))
        current = source[:, -config.source_channels :]
        foreground = current[:, list(config.foreground)].sum(1, keepdim=True).clamp(0, 1)
        h = add_foreground(h, h_foreground, foreground)
    flow_maps = scale.flow_branch(encoded)
    flow = scale.flow_head(flow_maps) * scale.flow_multiplier
    mask = torch.sigmoid(scale.mask_head(flow_maps))
    warped = (plain_warp if stock else warp)(history[:, -3:], flow)
    return Output(x_fake=blend(warped, h, mask), h=h, flow=flow, mask=mask, warped=warped)


def _adversarial(
    name: str, network: Discriminator, real: Tensor, fake: Tensor, weight: float, config: TrainConfig, losses: Losses
) -> Tensor:
    """Three passes for one term: real, detached fake for D, and fake for G; returns D's loss (specification 1.9)."""
    of_real, of_detached, of_fake = network(real), network(fake.detach()), network(fake)
    losses.add(f"G_{name}", lsgan(of_fake, real=True), weight)
    losses.add(f"G_{name}_Feat", feature_matching(of_fake, of_real), weight * config.losses.lambda_feature)
    d_real, d_fake = lsgan(of_real, real=True), lsgan(of_detached, real=False)
    losses.terms |= {f"D_{name}_real": d_real.detach(), f"D_{name}_fake": d_fake.detach()}
    return (d_real + d_fake) / 2


def plain_chunk(training: Training, sequence: VideoBatch, state: WindowState, frames: list[int]) -> dict[str, float]:
    """What `take_step` does, in the plain formulation, with the same terms; one update of every network.

    A discriminator gets three passes per fake image, and the generator's backward pass also computes gradients of the
    discriminators' weights, which are then thrown away.
    """
    config, discriminators = training.method.config, training.method.discriminators
    assert state.history is not None, "a window that begins with real frames"
    assert config.adversaries.gan == "lsgan"
    optimizers = training.state.optimizers
    generator, outputs = training.method.generator, []
    assert isinstance(generator, VideoGenerator)
    for frame in frames:
        source = torch.cat([sequence.s[:, t] for t in range(frame - state.context, frame + 1)], 1)
        outputs.append(plain_frame(generator, source, state.history[0], stock=training.stock))
        state.history = advance(state.history, outputs[-1:], length=state.context)
    x_fake = [*state.x_fake, *(output.x_fake for output in outputs)]
    state.x_fake += [output.x_fake.detach() for output in outputs]
    generated = GeneratedChunk(sequence, state, frames, outputs)
    weights = {term: term.factor(config) for term in training.method.losses()}
    with _warping(plain_warp if training.stock else warp):
        direct = reconstruction_losses(weights, generated)

    s, x = (torch.cat([maps[:, t] for t in frames], 0) for maps in (sequence.s, sequence.x))
    of_x, of_h, of_video = parts = Losses(), Losses(), Losses()
    d_losses: dict[str, Tensor] = {}
    real = image_input(s, x)
    for images, part in ((x_fake[-len(frames) :], of_x), ([o.h for o in outputs], of_h)):
        d_loss = _adversarial(
            "GAN", discriminators["image"], real, image_input(s, torch.cat(images, 0)), 1.0, config, part
        )
        d_losses["image"] = d_losses["image"] + d_loss if "image" in d_losses else d_loss
    of = config.adversaries
    windows = temporal_windows(
        len(x_fake), len(frames), num_frames=of.video_frames, num_scales=of.temporal_scales, sparse=of.sparse
    )
    for scale in range(of.temporal_scales):
        pairs = []
        for window in windows[scale]:
            times = [state.context + i for i in window]
            flows = sequence.flow[of.video_frames**scale][:, times[1:]]
            made = torch.stack([x_fake[i] for i in window], 1)
            pairs.append((video_input(sequence.x[:, times], flows), video_input(made, flows)))
        if pairs:
            real, fake = (torch.cat(inputs, 0) for inputs in zip(*pairs, strict=True))
            network, weight = discriminators[f"video{scale}"], config.losses.lambda_temporal
            d_losses[f"video{scale}"] = _adversarial(f"T{scale}", network, real, fake, weight, config, of_video)

    totals = [part.total for part in (direct, *parts) if part.total is not None]
    optimizers["generator"].zero_grad()
    torch.stack(totals).sum().backward()
    optimizers["generator"].step()
    for name, loss in d_losses.items():
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()
    of_image = {name: value + of_h.terms[name] for name, value in of_x.terms.items()}
    return {name: float(value) for name, value in (direct.terms | of_image | of_video.terms).items()}
