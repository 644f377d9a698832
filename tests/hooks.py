"""Calls a test's function whenever a network of some class computes, wherever that network was made."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def before_forward(kind: type[nn.Module], call: Callable[[], object]) -> Iterator[None]:
    """Call a function before every forward pass of networks of this class, inside the block."""

    def hook(network: nn.Module, inputs: Any) -> None:
        if isinstance(network, kind):
            call()

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
