"""A convolutional LSTM cell (Shi et al. 2015, without the connections from the cell to the gates)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Memory:
    """Hidden state and cell, each [B, C, H, W]."""

    hidden: Tensor
    cell: Tensor

    def detach(self) -> "Memory":
        """The same without gradients."""
        return Memory(self.hidden.detach(), self.cell.detach())


def empty_memory(like: Tensor, channels: int, size: tuple[int, int]) -> Memory:
    """Zeros [B, channels, height, width] in the type and on the device of `like` [B, ...]."""
    zeros = like.new_zeros(like.shape[0], channels, *size)
    return Memory(zeros, zeros)


class ConvLSTM(nn.Module):
    """One 3x3 convolution of input and hidden state for all four gates."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.gates = nn.Conv2d(in_channels + channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor, memory: Memory) -> Memory:
        """[B, in_channels, H, W] and the memory -> the memory after it."""
        into, forget, out, candidate = self.gates(torch.cat([x, memory.hidden], 1)).chunk(4, 1)
        cell = torch.sigmoid(forget) * memory.cell + torch.sigmoid(into) * torch.tanh(candidate)
        return Memory(torch.sigmoid(out) * torch.tanh(cell), cell)
