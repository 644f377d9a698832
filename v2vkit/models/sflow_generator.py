"""The generator of the S-Flow GAN paper (section 3): label map and edge map -> frame, without past frames.

The paper does not list its layers. It builds on pix2pixHD and compares with it, so G is pix2pixHD's global network
(optionally with local enhancers); the edge map is one channel of the source map. No instance map is needed (section
2.2.2).

Training order of the paper: on Laplacian edges, without DNED; then with DNED, jointly; then with `generated_flow_loss`.
A generator trained without DNED can continue with it: the edge map is the same channel.
"""

import copy
from collections.abc import Sequence
from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from v2vkit.config import setting
from v2vkit.models.blocks import Norm, is_varied, stop_gradient_unless
from v2vkit.models.checkpointing import CheckpointedModule
from v2vkit.models.dned import DNED, DNEDConfig, check_weights, superpose
from v2vkit.models.generator import Output
from v2vkit.models.image_generator import FrameConfig, ImageGenerator, ImageGeneratorConfig


class SFlowConfig(FrameConfig):
    """Everything that decides the generator's layers; stored in checkpoints."""

    kind: Literal["s-flow"] = "s-flow"
    image: ImageGeneratorConfig = setting(..., "layers of G")
    edge_channel: int | None = setting(None, "channel of the source map that is the edge map; none = no edges", ge=0)
    dned: DNEDConfig | None = setting(None, "layers of the edge network; none = G sees the edge map unchanged")

    @property
    def norm(self) -> Norm:
        """Normalisation of G."""
        return self.image.norm

    @property
    def source_channels(self) -> int:
        """Channels of the generator's input."""
        return self.image.in_channels

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.image.takes_flow:
            raise ValueError("G takes no flow: its frames are independent of each other")
        if self.edge_channel is not None and self.edge_channel >= self.image.in_channels:
            raise ValueError(f"there is no channel {self.edge_channel} of {self.image.in_channels}")
        if self.dned is not None and (self.edge_channel is None or self.dned.source != "edges"):
            raise ValueError("the edge network sees the edge map, which is a channel of the source map")
        return self


class SFlowGenerator(CheckpointedModule):
    """G, with the edge network before it if there is one.

    The buffer `joined` is true once G has been trained with the edge network; until then G sees the edge map unchanged.
    It is part of the weights, so that a model stopped in the first phase is rendered as it was trained. `has_joined` is
    its value, kept outside the tensors: a GPU would have to be waited for, and a compiled graph cannot branch on it.
    """

    joined: Tensor

    def __init__(self, config: SFlowConfig):
        super().__init__()
        self.config = config
        self.network = ImageGenerator(config.image)
        self.dned = None if config.dned is None else DNED(config.dned)
        self.edge_weights: tuple[float, ...] | None = None
        self.has_joined = config.dned is not None
        self.register_buffer("joined", torch.tensor(self.has_joined))
        self.register_load_state_dict_post_hook(_note_joined)

    def join(self, value: bool) -> None:
        """From now on G sees the output of the edge network; false: the edge map unchanged."""
        self.has_joined = value
        self.joined.fill_(value)

    def variant(self, edge_weights: Sequence[float]) -> "SFlowGenerator":
        """The same network with other ensemble weights a_i: another variant of every scene. The weights are shared.

        Raises:
            V2VError: as `check_weights`.
        """
        other = copy.copy(self)
        other.edge_weights = check_weights(edge_weights)
        return other

    def forward(
        self, source: Tensor, history: list[Tensor] | None = None, *, first_frame: bool = False, train_from: int = 0
    ) -> list[Output]:
        """Frames of a batch, independently of each other: consecutive frames of a video may be one batch.

        Args:
            source: [B, C, H, W] source map in [0, 1]: one-hot labels, other conditions, and Laplacian edges (0 and 1),
                in training of the real frame, in use of the simulator's.
            history, first_frame, train_from: not used, because there is no past and only one scale.

        Returns:
            One frame, with d_0 .. d_5 as its `edge_logits` if the edge network was used.
        """
        logits: list[Tensor] = []
        channel = self.config.edge_channel
        seen = source
        if self.dned is not None and channel is not None and self.has_joined:
            logits = self.dned(source[:, channel : channel + 1])
            edges = superpose(logits, self.edge_weights).to(source.dtype)
            seen = torch.cat([source[:, :channel], edges, source[:, channel + 1 :]], 1)
        x_fake = stop_gradient_unless(is_varied(source), self.run(self.network, seen))
        return [Output(x_fake=x_fake, h=x_fake, flow=None, mask=None, warped=None, edge_logits=tuple(logits))]


def _note_joined(generator: nn.Module, _: object) -> None:
    assert isinstance(generator, SFlowGenerator)
    if not generator.joined.is_meta:
        generator.has_joined = bool(generator.joined)
