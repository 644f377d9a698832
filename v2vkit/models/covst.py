"""COVST, a baseline of the vid2vid paper: the image generator with features that are carried from frame to frame.

Source: Chen et al. 2017, Coherent Online Video Style Transfer, with pix2pixHD as the network and given flow instead of
predicted flow, as the vid2vid paper compares itself with it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from v2vkit.models.blocks import is_varied, learn_where, pad_to_multiple
from v2vkit.models.generator import Output
from v2vkit.models.image_generator import FrameGenerator
from v2vkit.models.warp import warp


def with_flow(s: Tensor, flow: Tensor, confidence: Tensor) -> Tensor:
    """What `CovstGenerator` makes a frame from: [B, C, H, W] source map, [B, 2, H, W], [B, 1, H, W] on the channels."""
    return torch.cat([s, flow, confidence], 1)


def shrink_flow(flow: Tensor, confidence: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Flow in pixels of a grid that is `factor` times coarser, and its confidence; sides are multiples of `factor`.

    The flow of a cell is the mean over it weighted by confidence, so that what is not to be trusted does not count.
    """
    small = F.avg_pool2d(confidence, factor)
    total = F.avg_pool2d(flow * confidence, factor)
    return total / small.clamp(min=1e-6) / factor, small


class CovstGenerator(FrameGenerator):
    """F^o_t = (1 - a c) F_t + a c w(F^o_{t-1}): features of the last frame, moved by the flow, where it is confident.

    F are the deepest features of the global network. The last frame's are its blended ones, so that a texture stays for
    as long as the flow can follow it (Chen et al. 2017). They travel as `Output.memory`. The share a, `config.covst`,
    stands for their learned mask: with a = 1 every frame resamples the features again wherever the flow is certain, and
    on long videos they blur away.
    """

    def forward(
        self, source: Tensor, history: list[Tensor] | None = None, *, first_frame: bool = False, train_from: int = 0
    ) -> list[Output]:
        """One frame.

        Args:
            source: [B, C + 3, H, W] from `with_flow`: the backward flow points from this frame into the last one.
            history: [features of the last frame], what `advance` gives; None at a first frame.
            first_frame: there is no last frame.
            train_from: not used; there is one scale.
        """
        config = self.config
        s, flow, confidence = pad_to_multiple(source, config.multiple).split([config.in_channels, 2, 1], 1)
        sources = self.network.levels(s)
        features = self.run(self.network.encode, sources)
        if history is not None and not first_frame:
            small, c = shrink_flow(flow, confidence, config.multiple)
            share = config.covst * c
            features = (1 - share) * features + share * warp(history[0], small)
        x_fake = self.run(self.network.decode, features, sources)[..., : source.shape[2], : source.shape[3]]
        x_fake = learn_where(is_varied(s), x_fake)
        return [Output(x_fake=x_fake, h=x_fake, flow=None, mask=None, warped=None, memory=features)]
