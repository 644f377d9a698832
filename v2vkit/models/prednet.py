"""PredNet (Lotter et al. 2017), a baseline of future video prediction: layers that pass on errors of their predictions.

Source: Deep Predictive Coding Networks for Video Prediction and Unsupervised Learning, section 2, eqs. 1 to 4 and
algorithm 1. The KITTI model has layers of 3, 48, 96 and 192 channels: 6,915,948 parameters.

Shapes: B batch, H x W pixels; layer l has size H / 2^l x W / 2^l. Frames are in [-1, 1]; inside they are in [0, 1].
"""

import itertools
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.config import setting
from v2vkit.models.blocks import pad_to_multiple
from v2vkit.models.conv_lstm import ConvLSTM, Memory, empty_memory
from v2vkit.models.prediction import PredictionConfig


class PredNetConfig(PredictionConfig):
    """Everything that decides the layers of PredNet; stored in checkpoints."""

    kind: Literal["prednet"] = "prednet"
    channels: tuple[int, ...] = setting((3, 48, 96, 192), "channels of each layer; the first one is the frame")

    @model_validator(mode="after")
    def _fits(self) -> "PredNetConfig":
        if not 2 <= len(self.channels) <= 8 or self.channels[0] != 3 or not all(0 < c <= 1024 for c in self.channels):
            raise ValueError(f"channels {self.channels} are not 3 and then one to seven numbers from 1 to 1024")
        return self

    @property
    def multiple(self) -> int:
        """Both sides are padded inside to a multiple of this."""
        return 1 << (len(self.channels) - 1)


@dataclass(frozen=True)
class PredNetState:
    """The state between two frames; lists over layers, the lowest first.

    Attributes:
        memories: of the representations R_l.
        errors: E_l of the last frame, [B, 2 C_l, h, w].
        size: height and width of the frames before padding.
        errors_mean: mean error of the lowest layer on every frame so far but the first, each a scalar (L_0).
    """

    memories: tuple[Memory, ...]
    errors: tuple[Tensor, ...]
    size: tuple[int, int]
    errors_mean: tuple[Tensor, ...] = ()


class PredNet(nn.Module):
    """All convolutions are 3x3; R_l are convolutional LSTMs; A_l is max-pooled."""

    def __init__(self, config: PredNetConfig):
        super().__init__()
        self.config = config
        channels = config.channels
        above = (*channels[1:], 0)
        self.representations = nn.ModuleList(
            ConvLSTM(2 * own + upper, own) for own, upper in zip(channels, above, strict=True)
        )
        self.predictions = nn.ModuleList(nn.Conv2d(own, own, 3, padding=1) for own in channels)
        self.targets = nn.ModuleList(
            nn.Conv2d(2 * below, own, 3, padding=1) for below, own in itertools.pairwise(channels)
        )

    def observe(self, frames: Tensor) -> PredNetState:
        """The state after the observed frames [B, L, 3, H, W], oldest first."""
        size = (int(frames.shape[-2]), int(frames.shape[-1]))
        first = pad_to_multiple(frames[:, 0], self.config.multiple)
        levels = [(first.shape[-2] >> level, first.shape[-1] >> level) for level in range(len(self.config.channels))]
        pairs = list(zip(self.config.channels, levels, strict=True))
        state = PredNetState(
            tuple(empty_memory(first, own, level) for own, level in pairs),
            tuple(first.new_zeros(first.shape[0], 2 * own, *level) for own, level in pairs),
            size,
        )
        for number in range(frames.shape[1]):
            _, state = self._step(state, frames[:, number])
            if not number:  # the first prediction is made of nothing: weight 0 in eq. 5
                state = replace(state, errors_mean=())
        return state

    def predict(self, state: PredNetState) -> tuple[Tensor, PredNetState]:
        """The next frame [B, 3, H, W], and the state after it, as if it had been observed."""
        return self._step(state, None)

    def _step(self, state: PredNetState, frame: Tensor | None) -> tuple[Tensor, PredNetState]:
        """One time step: representations from the top down, then errors from the bottom up (algorithm 1)."""
        memories = list(state.memories)
        above: list[Tensor] = []
        for level in reversed(range(len(memories))):
            cell = self.representations[level]
            memories[level] = cell(torch.cat([state.errors[level], *above], 1), memories[level])
            above = [F.interpolate(memories[level].hidden, scale_factor=2.0, mode="nearest")]
        height, width = state.size
        errors: list[Tensor] = []
        predicted = target = torch.empty(0)
        for level, memory in enumerate(memories):
            found = F.relu(self.predictions[level](memory.hidden))
            if level == 0:
                predicted = found = found.clamp(max=1.0)  # SatLU
                shown = predicted[..., :height, :width] if frame is None else (frame + 1) / 2
                target = pad_to_multiple(shown, self.config.multiple)
            else:
                target = F.max_pool2d(F.relu(self.targets[level - 1](errors[-1])), 2)
            errors.append(torch.cat([F.relu(target - found), F.relu(found - target)], 1))
        means = state.errors_mean if frame is None else (*state.errors_mean, errors[0].mean())
        after = PredNetState(tuple(memories), tuple(errors), state.size, means)
        return predicted[..., :height, :width] * 2 - 1, after


def detach_prednet(state: PredNetState) -> PredNetState:
    """The state without gradients."""
    return PredNetState(
        tuple(memory.detach() for memory in state.memories),
        tuple(error.detach() for error in state.errors),
        state.size,
    )
