"""The sequential generator F: from source maps and its own past frames to the next frame, coarse to fine.

Shapes: B batch, C source channels of one frame, L past frames, H x W the finest size. Scale s of S has the size
ceil(H / 2^(S-1-s)) x ceil(W / 2^(S-1-s)); lists over scales have the coarsest first. Images are in [-1, 1], flow is in
pixels of its own scale.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from v2vkit.models.blocks import (
    Head,
    downs,
    init_weights,
    is_varied,
    pad_to_multiple,
    pyramid,
    res_blocks,
    stem,
    stop_gradient_unless,
    ups,
)
from v2vkit.models.checkpointing import CheckpointedModule
from v2vkit.models.generator_config import HISTORY, GeneratorConfig
from v2vkit.models.warp import warp

_BRIGHTEST = 0.98
"""Largest value of a picture in [-1, 1]; beyond it atanh is too steep."""
_FIRST_DIFFERENCE, _FIRST_MASK = 0.1, 3.0


@dataclass(frozen=True)
class Output:
    """Result of one scale for one time step, of size h x w.

    At a first frame and without a flow branch, flow, mask and warped are None: everything is hallucinated.
    """

    x_fake: Tensor
    """[B, 3, h, w] the frame."""
    h: Tensor
    """[B, 3, h, w] the hallucinated image, including the foreground."""
    flow: Tensor | None
    """[B, 2, h, w] backward flow from this frame into the last one."""
    mask: Tensor | None
    """[B, 1, h, w] in [0, 1], 1 = hallucinate."""
    warped: Tensor | None
    """[B, 3, h, w] the last frame warped by `flow`."""
    memory: Tensor | None = None
    """State for the next step in place of the frame; None = the frame."""
    edge_logits: tuple[Tensor, ...] = ()
    """d_0 .. d_5 of an edge network before the generator, each [B, 1, h, w] before the sigmoid."""


class Features(NamedTuple):
    """Feature maps of one scale before its heads; the next finer scale adds them to its own."""

    image: Tensor
    flow: Tensor | None
    foreground: Tensor | None


def blend(warped: Tensor, h: Tensor, mask: Tensor) -> Tensor:
    """(1 - m) w(x) + m h: warped where the mask m is 0, hallucinated where it is 1 (vid2vid paper, eq. 4)."""
    return (1 - mask) * warped + mask * h


def add_foreground(background: Tensor, h_foreground: Tensor, foreground: Tensor) -> Tensor:
    """(1 - m_B) h_F + m_B h_B with m_B = 1 - `foreground` [B, 1, h, w] (vid2vid paper, eq. 9)."""
    return foreground * h_foreground + (1 - foreground) * background


class Scale(nn.Module):
    """The networks H, W, M (and H_F) of one scale; 0 is the coarsest, finer ones are shallow."""

    def __init__(self, config: GeneratorConfig, scale: int):
        super().__init__()
        coarsest = scale == 0
        norm, width = config.norm, config.width >> scale
        num_down = config.num_down if coarsest else 1
        deepest = width << num_down
        encoder_blocks = config.num_blocks - config.num_blocks // 2 if coarsest else 0
        branch_blocks = config.num_blocks // 2 if coarsest else config.num_blocks_fine
        sources = config.source_channels * (config.history + 1)

        def encoder(channels: int) -> nn.Sequential:
            blocks = res_blocks(deepest, encoder_blocks, norm)
            return nn.Sequential(*stem(channels, width, norm), *downs(width, num_down, norm), *blocks)

        def branch() -> nn.Sequential:
            return nn.Sequential(
                *res_blocks(deepest, branch_blocks, norm), *ups(width, num_down, norm, config.upsample)
            )

        self.flow_multiplier = config.flow_multiplier * (1 << scale)
        self.composition = config.composition
        self.source_encoder = encoder(sources)
        self.history_encoder = encoder(3 * config.history)
        self.image_branch = branch()
        self.image_head = Head(width, 3, 7)
        self.has_flow, self.has_foreground = config.flow, bool(config.foreground)
        if self.has_flow:
            self.flow_branch = branch()
            self.flow_head = Head(width, 2, 7)
            self.mask_head = Head(width, 1, 7)
        if self.has_foreground:
            fg_width = config.foreground_width >> scale
            fg_blocks = config.num_blocks if coarsest else config.num_blocks_fine
            self.foreground_encoder = nn.Sequential(*stem(sources, fg_width, norm), *downs(fg_width, num_down, norm))
            self.foreground_branch = nn.Sequential(
                *res_blocks(fg_width << num_down, fg_blocks, norm), *ups(fg_width, num_down, norm, config.upsample)
            )
            self.foreground_head = Head(fg_width, 3, 7)

    def features(
        self, source: Tensor, history: Tensor | None, below: Features | None, varied: Tensor | None, *, flow: bool
    ) -> Features:
        """The feature maps before the heads, from padded inputs; `flow=False` skips the flow branch.

        Args:
            varied: [B, 1, 1, 1], whether the source maps are not constant (`is_varied`).
        """
        encoded = stop_gradient_unless(varied, self.source_encoder(source))
        encoded = _plus(encoded, None if history is None else self.history_encoder(history))
        image = self.image_branch(_plus(encoded, below and below.image))
        if history is None:
            image = stop_gradient_unless(varied, image)
        flow_map = self.flow_branch(_plus(encoded, below and below.flow)) if flow and self.has_flow else None
        foreground = None
        if self.has_foreground:
            foreground = self.foreground_branch(_plus(self.foreground_encoder(source), below and below.foreground))
            foreground = stop_gradient_unless(varied, foreground)
        return Features(image, flow_map, foreground)

    def compose(
        self,
        features: Features,
        last: Tensor,
        foreground: Tensor | None,
        picture: Tensor | None = None,
        given_flow: Tensor | None = None,
    ) -> Output:
        """The frame from the maps: heads, warp, eq. 4 and eq. 9. `last` [B, 3, h, w] is the frame to warp.

        `given_flow` [B, 2, h, w] replaces the predicted flow.

        With a `picture` [B, 3, h, w] in (-1, 1), h = tanh(head + atanh(picture)): the head learns the difference. This
        is not in the paper, where sources have no texture; without this skip connection the network learns to copy.
        """
        height, width = last.shape[-2:]

        def head(layer: nn.Module, x: Tensor) -> Tensor:
            mapped: Tensor = layer(x)
            return mapped[..., :height, :width]

        logits = _plus(head(self.image_head, features.image), None if picture is None else torch.atanh(picture))
        h = torch.tanh(logits)
        h_foreground = (
            None if features.foreground is None else torch.tanh(head(self.foreground_head, features.foreground))
        )
        h_background = h
        if h_foreground is not None and foreground is not None:
            h = add_foreground(h_background, h_foreground, foreground)
        if features.flow is None:
            return Output(x_fake=h, h=h, flow=None, mask=None, warped=None)
        flow = given_flow
        if flow is None:
            flow = head(self.flow_head, features.flow) * self.flow_multiplier
        mask = torch.sigmoid(head(self.mask_head, features.flow))
        warped = warp(last, flow)
        if h_foreground is not None and foreground is not None and self.composition == "published":
            x_fake = add_foreground(blend(warped, h_background, mask), h_foreground, foreground)
        else:
            x_fake = blend(warped, h, mask)
        return Output(x_fake=x_fake, h=h, flow=flow, mask=mask, warped=warped)


class VideoGenerator(CheckpointedModule):
    """F of the vid2vid paper for one time step; the caller updates the history between steps (`advance`)."""

    def __init__(self, config: GeneratorConfig):
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(Scale(config, scale) for scale in range(config.num_scales))
        init_weights(self)
        if config.picture is not None:
            self._init_near_picture()

    def _init_near_picture(self) -> None:
        """Initialise small differences and little of the warped frame: training starts near the picture."""
        with torch.no_grad():
            for scale in self.scales:
                assert isinstance(scale, Scale)
                for parameter in scale.image_head.parameters():
                    parameter.mul_(_FIRST_DIFFERENCE)
                if scale.has_flow:
                    nn.init.constant_(scale.mask_head.get_parameter("bias"), _FIRST_MASK)

    def forward(
        self,
        source: Tensor,
        history: list[Tensor] | None = None,
        *,
        first_frame: bool = False,
        train_from: int = 0,
        given_flow: list[Tensor] | None = None,
    ) -> list[Output]:
        """One frame at every scale.

        Args:
            source: [B, (L+1) * C, H, W] source maps of frames t-L .. t, oldest first.
            history: per scale [B, 3 * L, h, w], frames t-L .. t-1 generated by this scale, oldest first; may be
                omitted at a first frame.
            first_frame: there is no past: every pixel is hallucinated (m = 1), from the source maps only, or with
                `zero_history` from a history of zeros too. (Zeros are constant; the norms of their encoder divide by
                the root of epsilon, layer after layer: gradients of 1e5 in float32, infinite in bf16.)
            train_from: scales coarser than this run without gradients.
            given_flow: per scale [B, 2, h, w], backward flow in place of the predicted one (section 4: "ground truth
                flows instead of estimated flows").

        Returns:
            One `Output` per scale, coarsest first; the last one is the result.
        """
        config = self.config
        assert source.shape[1] == config.source_channels * (config.history + 1), "source channels"
        sizes = [level.shape[-2:] for level in pyramid(source[:1, :1], config.num_scales)]
        # Each size is padded separately, so that a scale sees the same as when it was the finest one.
        sources = [self._padded(level, scale) for scale, level in enumerate(pyramid(source, config.num_scales))]
        foregrounds, varied, pictures = self._foregrounds(source), is_varied(source), self._pictures(source)
        outputs: list[Output] = []
        below: Features | None = None
        for index, scale in enumerate(self.scales):
            assert isinstance(scale, Scale)
            if first_frame or history is None:
                assert first_frame, "all frames but the first need a history"
                past = source.new_zeros(source.shape[0], 3 * config.history, *sizes[index])
            else:
                past = history[index]
            assert past.shape[-2:] == sizes[index], "each scale's history has that scale's size"
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= train_from):
                padded = None if first_frame and not config.zero_history else self._padded(past, index)
                below = self.run(scale.features, sources[index], padded, below, varied, flow=not first_frame)
                given = None if given_flow is None else given_flow[index]
                outputs.append(scale.compose(below, past[:, -3:], foregrounds[index], pictures[index], given))
        return outputs

    def _padded(self, x: Tensor, scale: int) -> Tensor:
        return pad_to_multiple(x, self.config.multiple >> (self.config.num_scales - 1 - scale))

    def _pictures(self, source: Tensor) -> list[Tensor | None]:
        """Per scale [B, 3, h, w]: the picture of the current frame, clamped for atanh."""
        config = self.config
        if config.picture is None:
            return [None] * config.num_scales
        first = source.shape[1] - config.source_channels + config.picture
        levels = pyramid(source[:, first : first + 3], config.num_scales)
        return [(2 * level - 1).clamp(-_BRIGHTEST, _BRIGHTEST) for level in levels]

    def _foregrounds(self, source: Tensor) -> list[Tensor | None]:
        """Per scale [B, 1, h, w]: share of foreground in each pixel of the current frame (soft at coarse scales)."""
        config = self.config
        if not config.foreground:
            return [None] * config.num_scales
        current = source[:, -config.source_channels :]
        # Indexing by a list would copy it to the GPU and synchronise.
        share = torch.stack([current[:, label] for label in config.foreground], 1).sum(1, keepdim=True)
        return [level.clamp(0, 1) for level in pyramid(share, config.num_scales)]


def advance(history: list[Tensor] | None, outputs: list[Output], *, length: int = HISTORY) -> list[Tensor]:
    """The history for the next time step: drops the oldest frame and appends each scale's own newest frame.

    It is detached, so that gradients stay within a step (the published default).

    Args:
        history: per scale [B, 3 * L, h, w], or None before the first frame (missing frames are zero).
        outputs: of the generator for this step.
        length: L, used if `history` is None.
    """
    memories = [output.memory for output in outputs if output.memory is not None]
    if memories:
        return [memory.detach() for memory in memories]
    frames = [output.x_fake.detach() for output in outputs]
    if history is None:
        history = [frame.new_zeros(frame.shape[0], 3 * length, *frame.shape[2:]) for frame in frames]
    # With L = 0 nothing of the new frame is kept.
    return [torch.cat([past[:, 3:], frame[:, : past.shape[1]]], 1) for past, frame in zip(history, frames, strict=True)]


def history_from_images(images: Tensor, num_scales: int) -> list[Tensor]:
    """The history from given frames: [B, L, 3, H, W] in [-1, 1], oldest first -> per scale [B, 3 * L, h, w]."""
    return pyramid(images.flatten(1, 2), num_scales)


def _plus(x: Tensor, other: Tensor | None) -> Tensor:
    return x if other is None else x + other
