"""What the discriminators say of one chunk of a training window: the games of images, sequences and faces.

Every forward pass of a discriminator serves both sides. The fakes enter as leaves: G's gradients are taken with respect
to them, D's with respect to its weights, from the same graph. B batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from v2vkit.config import Precision
from v2vkit.engine.precision import autocast
from v2vkit.models.discriminator import image_input, video_input
from v2vkit.models.generator import Output
from v2vkit.models.losses import Judged, feature_matching, hinge_discriminator, hinge_generator, lsgan
from v2vkit.models.temporal import temporal_windows
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.face_region import cut_faces, find_faces
from v2vkit.training.objectives import Losses, join
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.trainer import Networks
from v2vkit.training.window import WindowState


@dataclass(frozen=True)
class Leaves:
    """The generator's outputs cut from its graph, one [B, 3, H, W] per frame; they collect its gradients."""

    x_fake: list[Tensor]
    h: list[Tensor]
    """The hallucinated images; none of an image generator, whose hallucination is the frame itself."""

    @classmethod
    def of(cls, outputs: list[Output], *, images: bool) -> "Leaves":
        """Of the outputs of an image generator (`images`) or a video generator."""
        h = [] if images else [o.h.detach().requires_grad_() for o in outputs]
        return cls([o.x_fake.detach().requires_grad_() for o in outputs], h)


@dataclass
class Games:
    """Both sides of every game that was played on a chunk.

    Attributes:
        generator: the generator's losses, over `Leaves`.
        discriminators: the loss of each network that played, by its name in `Networks.named`.
        terms: the discriminators' terms, unweighted.
    """

    generator: Losses = field(default_factory=Losses)
    discriminators: dict[str, Tensor] = field(default_factory=dict)
    terms: dict[str, Tensor] = field(default_factory=dict)

    def play(
        self,
        config: TrainConfig,
        network: str,
        name: str,
        real: Judged,
        fakes: list[Judged],
        weight: float,
        *,
        share: float = 1.0,
    ) -> None:
        """Add the game that `network` plays under `name`, weighted for the generator.

        Each fake input plays against the real one: D's loss is half the sum over the fakes of real + fake terms (1.9).

        Args:
            share: what all terms are multiplied by, where the processes have judged different numbers of inputs.
        """
        hinge = config.gan == "hinge"
        gan = torch.stack([hinge_generator(fake) if hinge else lsgan(fake, real=True) for fake in fakes]).sum()
        matching = torch.stack([feature_matching(fake, real) for fake in fakes]).sum()
        gan, matching = gan * share, matching * share
        self.generator.add(f"G_{name}", gan, weight)
        self.generator.add(f"G_{name}_Feat", matching, weight * config.lambda_feature)
        judge = hinge_discriminator if hinge else lsgan
        d_real = judge(real, real=True) * len(fakes) * share
        d_fake = torch.stack([judge(fake, real=False) for fake in fakes]).sum() * share
        self.discriminators[network] = (d_real + d_fake) / 2
        self.terms |= {f"D_{name}_real": d_real.detach(), f"D_{name}_fake": d_fake.detach()}


def play_games(
    config: TrainConfig,
    networks: Networks,
    sequence: VideoBatch,
    state: WindowState,
    frames: list[int],
    leaves: Leaves,
    *,
    warmed: tuple[float, ...],
    parallel: Parallel = ALONE,
) -> Games:
    """All games on a chunk that has been generated.

    Args:
        state: after the chunk.
        frames: numbers of the chunk's frames in the window.
        warmed: per temporal scale, the share of its weight that its loss has grown to (`warm_up_factors`).
    """
    games = Games()
    s, x = (join([of[:, t] for t in frames]) for of in (sequence.s, sequence.x))
    _play_images(config, networks, s, x, leaves, games)
    _play_videos(config, networks, sequence, state, leaves, games, warmed)
    _play_faces(config, networks, s, x, leaves, games, parallel)
    return games


def _play_images(config: TrainConfig, networks: Networks, s: Tensor, x: Tensor, leaves: Leaves, games: Games) -> None:
    fakes = [image_input(s, join(images)) for images in (leaves.x_fake, leaves.h) if images]
    together = config.norm != "batch"
    judged = judge_inputs(networks.image, image_input(s, x), fakes, config.precision, together=together)
    games.play(config, "image", "GAN", *judged, weight=1.0)


def _play_videos(
    config: TrainConfig,
    networks: Networks,
    sequence: VideoBatch,
    state: WindowState,
    leaves: Leaves,
    games: Games,
    warmed: tuple[float, ...],
) -> None:
    windows = temporal_windows(
        len(state.x_fake),
        len(leaves.x_fake),
        num_frames=config.video_frames,
        num_scales=len(networks.video),
        sparse=config.sparse,
    )
    for scale, network in enumerate(networks.video):
        if windows[scale]:
            real, fake = video_inputs(sequence, state, windows[scale], config.strides[scale], leaves.x_fake)
            judged = judge_inputs(network, real, [fake], config.precision)
            weight = config.lambda_temporal * warmed[scale]
            games.play(config, f"video{scale}", f"T{scale}", *judged, weight=weight)


def _play_faces(
    config: TrainConfig, networks: Networks, s: Tensor, x: Tensor, leaves: Leaves, games: Games, parallel: Parallel
) -> None:
    if networks.face is None:
        return
    corners = find_faces(s)
    seen = sum(corner is not None for corner in corners)
    mean = float(parallel.mean(torch.tensor(float(seen), device=parallel.device)))
    if not mean:
        return
    # Losses and gradients are averaged over the processes: each weighs as much as it has faces, so that the result is
    # the mean over all faces. One without any takes part with a window that weighs nothing.
    corners = corners if seen else [(0, 0)] * len(corners)
    real, fake = (cut_faces(image_input(s, images), corners) for images in (x, join(leaves.x_fake)))
    judged = judge_inputs(networks.face, real, [fake], config.precision)
    games.play(config, "face", "Face", *judged, weight=config.lambda_face, share=seen / mean)


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


def video_inputs(
    sequence: VideoBatch, state: WindowState, windows: list[tuple[int, ...]], stride: int, x_leaf: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """What D_V judges for some windows (numbers count generated frames): real and fake, the same real flows in both."""
    old = len(state.x_fake) - len(x_leaf)
    real, fake = [], []
    for window in windows:
        times = [state.context + i for i in window]
        flows = torch.stack([sequence.flow[stride][:, t] for t in times[1:]], 1)
        real.append(video_input(torch.stack([sequence.x[:, t] for t in times], 1), flows))
        frames = torch.stack([x_leaf[i - old] if i >= old else state.x_fake[i] for i in window], 1)
        fake.append(video_input(frames, flows))
    return join(real), join(fake)
