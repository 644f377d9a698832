"""The generator of the S-Flow GAN paper (section 3): label map and edge map -> frame, without past frames.

The paper does not list its layers. It builds on pix2pixHD and compares with it, so G is pix2pixHD's global network
(`FrameGenerator` without enhancers) with one more channel, the edge map. No instance map is needed (section 2.2.2).
Discriminator: `DiscriminatorConfig(in_channels=num_labels + 3, num_scales=1 or 3)` with `image_input(labels, frame)`;
the paper conditions D on s alone, not on the edges.

Training order of the paper: without DNED, on Laplacian edges; then with DNED, jointly; then with `generated_flow_loss`.
A generator trained without DNED can continue with it: the edge map is the same channel.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from v2vkit.models.dned import DNED, DNEDConfig, superpose
from v2vkit.models.image_generator import FrameGenerator, ImageGeneratorConfig


class SFlowOutput(NamedTuple):
    """One frame per image of the batch, and the edges that it was generated from."""

    x_fake: Tensor
    """[B, 3, H, W] in [-1, 1]."""
    edges: Tensor
    """[B, 1, H, W] in [0, 1], the edge input of G."""
    logits: list[Tensor]
    """d_0 .. d_5 for `dned_loss`; empty without DNED."""


class SFlowGenerator(nn.Module):
    """G, with the edge network before it if there is one.

    Args:
        config: of G; `in_channels` counts the labels and the edge map.
        dned: of the edge network; None = G sees the Laplacian edges unchanged.
    """

    def __init__(self, config: ImageGeneratorConfig, dned: DNEDConfig | None = None):
        super().__init__()
        assert not config.takes_flow, "frames are made independently of each other"
        self.config = config
        self.generator = FrameGenerator(config)
        self.dned = None if dned is None else DNED(dned)

    def forward(
        self,
        labels: Tensor,
        edges: Tensor,
        image: Tensor | None = None,
        *,
        edge_weights: Sequence[float] | Tensor | None = None,
    ) -> SFlowOutput:
        """Frames of a batch, independently of each other: consecutive frames of a video may be one batch.

        Args:
            labels: [B, in_channels - 1, H, W] one-hot labels (and other conditions) in [0, 1].
            edges: [B, 1, H, W] Laplacian edges, 0 and 1: of the real frame in training, of the simulator's in use.
            image: [B, 3, H, W] in [-1, 1], the frame of these edges; needed by a DNED with the source `image`.
            edge_weights: a_i of `superpose`; other weights make another variant of the scene.
        """
        logits: list[Tensor] = []
        if self.dned is not None:
            seen = edges if self.dned.config.source == "edges" else image
            assert seen is not None, "this edge network needs the image"
            logits = self.dned(seen)
            edges = superpose(logits, edge_weights)
        (output,) = self.generator(torch.cat([labels, edges.to(labels.dtype)], 1))
        return SFlowOutput(output.x_fake, edges, logits)
