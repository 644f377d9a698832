"""Prediction of future label maps: the next map as class probabilities, from the observed maps, applied recursively.

Source: vid2vid paper, section 4, "Future video prediction": a generator of future semantic masks; eq. 4 is applied to
class probabilities instead of colours. The paper gives no layers: these are the trunk and the heads of its generator.

Shapes: B batch, K labels, C channels of one map (K, and one of edges), L observed maps, H x W pixels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from v2vkit.config import Upsample, setting
from v2vkit.models.blocks import Head, Norm, downs, init_weights, pad_to_multiple, res_blocks, stem, ups
from v2vkit.models.label_maps import edges_of, labels_from_channels, next_regions, regions_of
from v2vkit.models.prediction import PredictionConfig
from v2vkit.models.warp import warp

_FIRST_FLOW, _FIRST_MASK = 0.01, -2.0


class PredictorConfig(PredictionConfig):
    """Everything that decides the predictor's layers; stored in checkpoints."""

    kind: Literal["predictor"] = "predictor"
    num_labels: int = setting(..., "label classes", ge=1, le=255)
    edges: bool = setting(True, "a channel of edges between labels and instances beside each one-hot map")
    width: int = setting(64, "channels after the first convolution", ge=1, le=512)
    num_down: int = setting(3, "stride-2 convolutions", ge=1, le=6)
    num_blocks: int = setting(6, "residual blocks; half of them in each branch", ge=0, le=64)
    flow: bool = setting(True, "warp the last map; if off, every pixel is hallucinated")
    flow_multiplier: float = setting(20.0, "pixels per unit of the flow head", gt=0, le=1000)
    norm: Norm = setting("instance", "normalisation: instance, batch or running")
    upsample: Upsample = setting("transposed", "how the branches upsample: transposed, or resize and convolve")

    @property
    def map_channels(self) -> int:
        """C: channels of one map."""
        return self.num_labels + int(self.edges)

    @property
    def multiple(self) -> int:
        """Both sides are padded inside to a multiple of this."""
        return 1 << self.num_down


@dataclass(frozen=True)
class PredictedMap:
    """The prediction for one time step. Without flow, flow, mask and warped are None."""

    probabilities: Tensor
    """[B, K, H, W] class probabilities; they sum to 1."""
    hallucinated: Tensor
    """[B, K, H, W] the class probabilities of the hallucination branch."""
    flow: Tensor | None = None
    """[B, 2, H, W] backward flow from the predicted map into the last one, in pixels."""
    mask: Tensor | None = None
    """[B, 1, H, W] in [0, 1], 1 = hallucinate."""
    warped: Tensor | None = None
    """[B, K, H, W] the last map's probabilities warped by `flow`; where that is unlabelled they sum to less than 1."""

    @property
    def labels(self) -> Tensor:
        """The most probable label, int64 [B, 1, H, W]."""
        return self.probabilities.argmax(1, keepdim=True)


class LabelPredictor(nn.Module):
    """Observed maps -> the next map: p = (1 - m) w(p_last) + m h, eq. 4 on class probabilities.

    Where the warped map is unlabelled, its missing share is hallucinated too, so that probabilities sum to 1. Training
    starts near "copy the last map": the first flow is small, and the first mask favours warping.
    """

    def __init__(self, config: PredictorConfig):
        super().__init__()
        self.config = config
        width, norm, deepest = config.width, config.norm, config.width << config.num_down
        branch_blocks = config.num_blocks // 2

        def branch() -> nn.Sequential:
            blocks = res_blocks(deepest, branch_blocks, norm)
            return nn.Sequential(*blocks, *ups(width, config.num_down, norm, config.upsample))

        self.encoder = nn.Sequential(
            *stem(config.map_channels * config.observe, width, norm),
            *downs(width, config.num_down, norm),
            *res_blocks(deepest, config.num_blocks - branch_blocks, norm),
        )
        self.class_branch = branch()
        self.class_head = Head(width, config.num_labels, 7)
        if config.flow:
            self.flow_branch = branch()
            self.flow_head = Head(width, 2, 7)
            self.mask_head = Head(width, 1, 7)
        init_weights(self)
        if config.flow:
            with torch.no_grad():
                for parameter in self.flow_head.parameters():
                    parameter.mul_(_FIRST_FLOW)
                nn.init.constant_(self.mask_head.get_parameter("bias"), _FIRST_MASK)

    def forward(self, history: Tensor) -> PredictedMap:
        """The next map.

        Args:
            history: [B, L * C, H, W] in [0, 1], the last L maps, oldest first.
        """
        config = self.config
        height, width = history.shape[-2:]
        encoded = self.encoder(pad_to_multiple(history, config.multiple))

        def head(layer: nn.Module, x: Tensor) -> Tensor:
            mapped: Tensor = layer(x)
            return mapped[..., :height, :width].float()

        h = torch.softmax(head(self.class_head, self.class_branch(encoded)), 1)
        if not config.flow:
            return PredictedMap(h, h)
        features = self.flow_branch(encoded)
        flow = head(self.flow_head, features) * config.flow_multiplier
        mask = torch.sigmoid(head(self.mask_head, features))
        last = history[:, -config.map_channels :][:, : config.num_labels].float()
        warped = warp(last, flow)
        kept = (1 - mask) * warped
        # A sum of 1 in place of m: the same where the last map is labelled.
        return PredictedMap(kept + (1 - kept.sum(1, keepdim=True)) * h, h, flow, mask, warped)


@dataclass(frozen=True)
class LabelHistory:
    """The state of a prediction between two steps; nothing in it carries a gradient.

    Attributes:
        maps: [B, L * C, H, W], the last L maps, oldest first: one-hot where observed, probabilities where predicted.
        regions: of the last map, int64 [B, 1, H, W].
    """

    maps: Tensor
    regions: Tensor


def observed_history(maps: Tensor, regions: Tensor | None, config: PredictorConfig) -> LabelHistory:
    """The state after the observed maps.

    Args:
        maps: [B, L, C, H, W] in [0, 1], oldest first.
        regions: of the last map, [B, 1, H, W]; None = there are no instances.
    """
    found = regions_of(labels_from_channels(maps[:, -1], config.num_labels)) if regions is None else regions.long()
    return LabelHistory(maps.flatten(1, 2), found)


def advance_history(history: LabelHistory, predicted: PredictedMap, config: PredictorConfig) -> LabelHistory:
    """The state after a predicted map, whose edges are those of its most probable labels and moved instances."""
    with torch.no_grad():
        labels = predicted.labels
        regions = next_regions(history.regions, labels, predicted.flow)
        parts = [predicted.probabilities.detach(), *([edges_of(regions)] if config.edges else [])]
        maps = torch.cat([history.maps[:, config.map_channels :], *parts], 1)
    return LabelHistory(maps, regions)
