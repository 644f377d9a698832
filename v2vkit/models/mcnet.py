"""MCNet (Villegas et al. 2017), a baseline of future video prediction: motion and content are encoded apart.

Source: Decomposing Motion and Content for Natural Video Sequence Prediction, section 3 and its appendix: the motion
encoder sees differences of frames (convolutions 5x5, 5x5, 7x7, then a convolutional LSTM), the content encoder the last
frame (VGG-16 up to its third pooling), residuals of both join the decoder at three scales.

Shapes: B batch, H x W pixels, w the width. Frames are in [-1, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.config import setting
from v2vkit.models.blocks import pad_to_multiple
from v2vkit.models.conv_lstm import ConvLSTM, Memory, empty_memory
from v2vkit.models.prediction import PredictionConfig

_MULTIPLE = 8


class MCNetConfig(PredictionConfig):
    """Everything that decides the layers of MCNet; stored in checkpoints."""

    kind: Literal["mcnet"] = "mcnet"
    observe: int = setting(4, "number of observed frames before the first prediction; two or more", ge=2, le=64)
    width: int = setting(64, "channels of the first layers; 64 in the paper", ge=1, le=512)


@dataclass(frozen=True)
class MCNetState:
    """The state between two frames.

    Attributes:
        memory: of the motion encoder.
        motion: its feature maps at three scales, the finest first, for the residuals.
        last: the last frame [B, 3, H, W].
    """

    memory: Memory
    motion: tuple[Tensor, ...]
    last: Tensor


class MCNet(nn.Module):
    """The network of the paper; any size, padded inside."""

    def __init__(self, config: MCNetConfig):
        super().__init__()
        self.config = config
        w = config.width
        widths = (w, 2 * w, 4 * w)
        sides = (5, 5, 7)
        self.motion = nn.ModuleList(
            _convs(inside, [outside], side) for inside, outside, side in zip((3, *widths), widths, sides, strict=False)
        )
        self.lstm = ConvLSTM(4 * w, 4 * w)
        self.content = nn.ModuleList([_convs(3, [w] * 2), _convs(w, [2 * w] * 2), _convs(2 * w, [4 * w] * 3)])
        self.combine = _convs(8 * w, [4 * w, 2 * w, 4 * w])
        self.residuals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * own, own, 3, padding=1), nn.ReLU(), nn.Conv2d(own, own, 3, padding=1))
            for own in widths
        )
        self.decoder = nn.ModuleList([_convs(4 * w, [4 * w, 4 * w, 2 * w]), _convs(2 * w, [2 * w, w]), _convs(w, [w])])
        self.head = nn.Conv2d(w, 3, 3, padding=1)

    def observe(self, frames: Tensor) -> MCNetState:
        """The state after the observed frames [B, L, 3, H, W], oldest first, L >= 2."""
        first = pad_to_multiple(frames[:, 0], _MULTIPLE)
        size = (first.shape[-2] // _MULTIPLE, first.shape[-1] // _MULTIPLE)
        state = MCNetState(empty_memory(first, 4 * self.config.width, size), (), frames[:, 0])
        for number in range(1, frames.shape[1]):
            state = self._after(state, frames[:, number])
        return state

    def predict(self, state: MCNetState) -> tuple[Tensor, MCNetState]:
        """The next frame [B, 3, H, W], and the state after it, as if it had been observed."""
        height, width = state.last.shape[-2:]
        x, content = pad_to_multiple(state.last, _MULTIPLE), []
        for block in self.content:
            content.append(block(x))
            x = F.max_pool2d(content[-1], 2)
        x = self.combine(torch.cat([state.memory.hidden, x], 1))
        joined = [
            residual(torch.cat([of_motion, of_content], 1))
            for residual, of_motion, of_content in zip(self.residuals, state.motion, content, strict=True)
        ]
        for block, residual in zip(self.decoder, reversed(joined), strict=True):
            x = block(_unpool(x) + residual)
        frame = torch.tanh(self.head(x))[..., :height, :width]
        return frame, self._after(state, frame)

    def _after(self, state: MCNetState, frame: Tensor) -> MCNetState:
        """The state after one more frame: the motion encoder sees its difference to the last one."""
        x, maps = pad_to_multiple(frame - state.last, _MULTIPLE), []
        for block in self.motion:
            maps.append(block(x))
            x = F.max_pool2d(maps[-1], 2)
        return MCNetState(self.lstm(x, state.memory), tuple(maps), frame)


def detach_mcnet(state: MCNetState) -> MCNetState:
    """The state without gradients."""
    return MCNetState(state.memory.detach(), tuple(x.detach() for x in state.motion), state.last.detach())


def gradient_difference(frame: Tensor, real: Tensor) -> Tensor:
    """Mean | |gradient of real| - |gradient of frame| | along both axes: L_gdl (Mathieu et al. 2016, eq. 6)."""

    def gradients(x: Tensor) -> Sequence[Tensor]:
        return (x[..., 1:, :] - x[..., :-1, :]).abs(), (x[..., 1:] - x[..., :-1]).abs()

    parts = [F.l1_loss(a, b) for a, b in zip(gradients(frame), gradients(real), strict=True)]
    return torch.stack(parts).sum()


def _convs(in_channels: int, widths: Sequence[int], side: int = 3) -> nn.Sequential:
    """Convolutions of stride 1, each with ReLU."""
    layers: list[nn.Module] = []
    for inside, outside in zip((in_channels, *widths), widths, strict=False):
        layers += [nn.Conv2d(inside, outside, side, padding=side // 2), nn.ReLU()]
    return nn.Sequential(*layers)


def _unpool(x: Tensor) -> Tensor:
    """Fixed unpooling: each value in the upper left of a 2x2 cell of zeros, [B, C, h, w] -> [B, C, 2 h, 2 w]."""
    out = x.new_zeros(x.shape[0], x.shape[1], 2 * x.shape[2], 2 * x.shape[3])
    out[..., ::2, ::2] = x
    return out
