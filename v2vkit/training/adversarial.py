"""Adversarial and feature-matching losses of the image, video and face discriminators.

One forward pass of a discriminator gives the gradients of both networks: fakes are detached from the generator's
graph, and from the same graph of D come the gradients with respect to the fakes (for G) and to D's weights. B batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from v2vkit.config import Precision
from v2vkit.engine.precision import autocast
from v2vkit.models.discriminator import Discriminator, image_input, video_input
from v2vkit.models.losses import (
    DiscriminatorOutput,
    bce,
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    lsgan,
)
from v2vkit.models.temporal import temporal_windows
from v2vkit.training.config import TrainConfig
from v2vkit.training.face_region import cut_faces, find_faces
from v2vkit.training.generated import GeneratedChunk, join
from v2vkit.training.reconstruction import Losses
from v2vkit.training.terms import BODIES, VIDEO_DISCRIMINATORS, LossTerm

_GAN: dict[str, tuple[Callable[[DiscriminatorOutput], Tensor], Callable[..., Tensor]]] = {
    "lsgan": (partial(lsgan, real=True), lsgan),
    "hinge": (hinge_generator, hinge_discriminator),
    "bce": (partial(bce, real=True), bce),
}
"""Adversarial loss -> the generator's and the discriminator's."""


@dataclass(frozen=True)
class DiscriminatorInputs:
    """The input of a discriminator from one chunk.

    Attributes:
        real: [n, C, H, W].
        fakes: each [n, C, H, W]; all of them against the same real input.
        share: factor of all its losses, for processes with different numbers of inputs.
    """

    real: Tensor
    fakes: list[Tensor]
    share: float = 1.0


@dataclass
class AdversarialLosses:
    """The adversarial losses of a chunk, for generator and discriminators.

    Attributes:
        generator: the generator's losses on the detached fakes.
        discriminators: name -> loss of every discriminator that had an input.
        terms: the discriminators' terms, unweighted.
    """

    generator: Losses = field(default_factory=Losses)
    discriminators: dict[str, Tensor] = field(default_factory=dict)
    terms: dict[str, Tensor] = field(default_factory=dict)

    def add(
        self,
        config: TrainConfig,
        term: LossTerm,
        real: DiscriminatorOutput,
        fakes: list[DiscriminatorOutput],
        weight: float,
        *,
        share: float = 1.0,
    ) -> None:
        """Add the losses of one discriminator, weighted for the generator.

        D's loss is half the sum over the fakes of its real and fake terms (specification 1.9).
        """
        assert term.network is not None
        key = term.key
        of_generator, loss = _GAN[config.adversaries.gan]
        gan = torch.stack([of_generator(fake) for fake in fakes]).sum()
        matching = torch.stack([feature_matching(fake, real) for fake in fakes]).sum()
        gan, matching = gan * share, matching * share
        self.generator.add(f"G_{key}", gan, weight)
        self.generator.add(f"G_{key}_Feat", matching, weight * config.losses.lambda_feature)
        d_real = loss(real, real=True) * len(fakes) * share
        d_fake = torch.stack([loss(fake, real=False) for fake in fakes]).sum() * share
        self.discriminators[term.network] = (d_real + d_fake) / 2
        self.terms |= {f"D_{key}_real": d_real.detach(), f"D_{key}_fake": d_fake.detach()}


def image_adversary(config: TrainConfig) -> tuple[LossTerm, ...]:
    """Rows of the image discriminator and of feature matching, which every discriminator computes with its loss."""
    gan = config.adversaries.gan
    return (
        LossTerm("GAN", "GAN", gan, network="image", compute=image_inputs),
        LossTerm("Feat", "feature matching", "of every discriminator, eq. 4 of pix2pixHD", "lambda_feature"),
    )


def video_adversaries(config: TrainConfig) -> tuple[LossTerm, ...]:
    """Rows of the video discriminators: number s sees K frames that are K^s apart."""
    of, rows = config.adversaries, []
    for scale in range(max(1, of.temporal_scales)):
        stride = of.video_frames**scale
        rows.append(
            LossTerm(
                f"T{scale}",
                f"video discriminator {scale}",
                f"{of.gan}, {of.video_frames} frames {stride} apart",
                "lambda_temporal",
                needs=(VIDEO_DISCRIMINATORS,),
                network=f"video{scale}",
                strides=(stride,),
                num_frames=(of.video_frames - 1) * stride + 1,
                compute=partial(video_inputs, scale=scale, num_frames=of.video_frames, sparse=of.sparse),
            )
        )
    return tuple(rows)


def face_adversary(config: TrainConfig) -> tuple[LossTerm, ...]:
    """Row of the face discriminator."""
    gan = config.adversaries.gan
    face = LossTerm(
        "Face", "face discriminator", gan, "lambda_face", needs=(BODIES,), network="face", compute=face_inputs
    )
    return (face,)


def image_inputs(chunk: GeneratedChunk) -> DiscriminatorInputs:
    """Frames with their source maps: generated frames and, for video generators, hallucinated images."""
    fakes = [images for images in (chunk.detached.x_fake, chunk.detached.h) if images]
    s = chunk.s_without_edges
    return DiscriminatorInputs(image_input(s, chunk.x), [image_input(s, join(images)) for images in fakes])


def video_inputs(chunk: GeneratedChunk, *, scale: int, num_frames: int, sparse: bool) -> DiscriminatorInputs | None:
    """K = `num_frames` frames that are K^`scale` apart, with the real flow for both real and generated frames.

    None until the sequence is long enough. Generated frames before the chunk carry no gradient.
    """
    state, sequence, x_new = chunk.state, chunk.sequence, chunk.detached.x_fake
    windows = temporal_windows(
        len(state.x_fake), len(x_new), num_frames=num_frames, num_scales=scale + 1, sparse=sparse
    )[scale]
    if not windows:
        return None
    old = len(state.x_fake) - len(x_new)
    real, fake = [], []
    for window in windows:
        times = [state.context + i for i in window]
        flows = torch.stack([sequence.flow[num_frames**scale][:, t] for t in times[1:]], 1)
        real.append(video_input(torch.stack([sequence.x[:, t] for t in times], 1), flows))
        frames = torch.stack([x_new[i - old] if i >= old else state.x_fake[i] for i in window], 1)
        fake.append(video_input(frames, flows))
    return DiscriminatorInputs(join(real), [join(fake)])


def face_inputs(chunk: GeneratedChunk) -> DiscriminatorInputs | None:
    """Face crops with their source maps; None if no process has a face.

    Losses and gradients are averaged over the processes, so each is weighted with its number of faces; the result is
    the mean over all faces. A process without faces contributes a crop of weight 0.
    """
    parallel = chunk.parallel
    corners = find_faces(chunk.s[:, chunk.bodies], densepose=chunk.densepose)
    seen = sum(corner is not None for corner in corners)
    mean = float(parallel.mean(torch.tensor(float(seen), device=parallel.device)))
    if not mean:
        return None
    corners = corners if seen else [(0, 0)] * len(corners)
    real, fake = (cut_faces(image_input(chunk.s, images), corners) for images in (chunk.x, join(chunk.detached.x_fake)))
    return DiscriminatorInputs(real, [fake], share=seen / mean)


def adversarial_losses(
    config: TrainConfig,
    terms: dict[LossTerm, float],
    discriminators: dict[str, Discriminator],
    chunk: Any,
) -> AdversarialLosses:
    """The losses of all discriminators on a chunk.

    Args:
        chunk: what the rows' functions take.
        terms: row of a discriminator -> its weight.
        discriminators: by the names that the rows use.
    """
    losses = AdversarialLosses()
    for term, weight in terms.items():
        assert term.network is not None
        assert term.compute is not None
        inputs: DiscriminatorInputs | None = term.compute(chunk)
        if inputs is not None:
            together = config.model.norm != "batch" or len(inputs.fakes) == 1
            outputs = discriminate(
                discriminators[term.network],
                inputs.real,
                inputs.fakes,
                config.hardware.precision,
                together=together,
            )
            losses.add(config, term, *outputs, weight, share=inputs.share)
    return losses


def discriminate(
    discriminator: Callable[[Tensor], DiscriminatorOutput],
    real: Tensor,
    fakes: list[Tensor],
    precision: Precision,
    *,
    together: bool = True,
) -> tuple[DiscriminatorOutput, list[DiscriminatorOutput]]:
    """D's outputs on the real input and on each fake input, all [n, C, H, W]; float32.

    Args:
        together: all fakes in one forward pass; not for networks that normalise over the batch.
    """

    def run(x: Tensor) -> DiscriminatorOutput:
        return [[maps.float() for maps in scale] for scale in discriminator(x)]

    with autocast(precision, real.device):
        if not together:
            return run(real), [run(fake) for fake in fakes]
        of_fakes, of_real = run(torch.cat(fakes, 0)), run(real)
    parts = [[[maps.chunk(len(fakes), 0)[i] for maps in scale] for scale in of_fakes] for i in range(len(fakes))]
    return of_real, parts
