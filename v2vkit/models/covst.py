"""COVST, a baseline of the vid2vid paper: the image generator with features warped from frame to frame.

Source: Chen et al. 2017, Coherent Online Video Style Transfer; as in the comparison of the vid2vid paper, the network
is pix2pixHD and the flow is given, not predicted.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from v2vkit.models.blocks import is_varied, pad_to_multiple, stop_gradient_unless
from v2vkit.models.generator import Output
from v2vkit.models.image_generator import FrameGenerator
from v2vkit.models.warp import warp


def with_flow(s: Tensor, flow: Tensor, confidence: Tensor) -> Tensor:
    """Input of `CovstGenerator` [B, C + 3, H, W]: source map, flow [B, 2, H, W] and confidence [B, 1, H, W]."""
    return torch.cat([s, flow, confidence], 1)


def shrink_flow(flow: Tensor, confidence: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Flow and confidence downsampled by `factor`, in pixels of the coarse grid; sides are multiples of `factor`.

    The flow of a cell is the mean weighted by confidence.
    """
    small = F.avg_pool2d(confidence, factor)
    total = F.avg_pool2d(flow * confidence, factor)
    return total / small.clamp(min=1e-6) / factor, small


class CovstGenerator(FrameGenerator):
    """F^o_t = (1 - a c) F_t + a c w(F^o_{t-1}): features of the last frame warped by flow of confidence c.

    F are the deepest features of the global network. Those of the last frame are the blended ones, so that a texture
    persists while the flow is confident (Chen et al. 2017); they are passed on as `Output.memory`. The share a,
    `config.covst`, replaces their learned mask: with a = 1 features are resampled in every frame where the flow is
    confident, and blur on long videos.
    """

    def forward(
        self, source: Tensor, history: list[Tensor] | None = None, *, first_frame: bool = False, train_from: int = 0
    ) -> list[Output]:
        """One frame.

        Args:
            source: [B, C + 3, H, W] from `with_flow`: the backward flow points from this frame into the last one.
            history: [features of the last frame] from `advance`; None at a first frame.
            first_frame: there is no last frame.
            train_from: not used, because there is one scale.
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
        x_fake = stop_gradient_unless(is_varied(s), x_fake)
        return [Output(x_fake=x_fake, h=x_fake, flow=None, mask=None, warped=None, memory=features)]
