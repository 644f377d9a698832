"""Gradient checkpointing of a network's parts."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


class CheckpointedModule(nn.Module):
    """A network with optional gradient checkpointing in training: recomputes activations instead of storing them."""

    def __init__(self) -> None:
        super().__init__()
        self.checkpointing = False

    def run(self, function: Callable[..., T], *inputs: Any, **options: Any) -> T:
        """`function(*inputs, **options)`, with gradient checkpointing if `checkpointing` is on."""
        if self.checkpointing and torch.is_grad_enabled():
            found: T = checkpoint(function, *inputs, use_reentrant=False, **options)
            return found
        return function(*inputs, **options)
