"""Inception-v3 as the original FID code has it: TensorFlow's network of 2015-12-05, not torchvision's.

It differs from torchvision's in three ways: average pools do not count padding, the last block takes the maximum in
place of the average, and there are 1008 classes. The weights are the store's `inception-fid`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.models.state_dict import load_exactly, read_state

FEATURES = 2048
"""Length of the feature vector."""
_CLASSES = 1008
_AVERAGED = ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7b")
_HINT = "Fetch the weights again: v2v weights fetch inception-fid"


class FIDInception(nn.Module):
    """The pool3 features.

    Args:
        weights: state dict of `inception-fid`; None = random (tests only).

    Raises:
        V2VError: the file is missing, unreadable or of another network.
    """

    def __init__(self, weights: str | Path | None):
        from torchvision.models import inception_v3  # costs seconds

        super().__init__()
        network = inception_v3(weights=None, num_classes=_CLASSES, aux_logits=True, init_weights=False)
        network.AuxLogits = None
        if weights is not None:
            state = read_state(weights, hint=_HINT)
            load_exactly(network, state, what=f"{weights} is not the Inception-v3 of FID", hint=_HINT)
        network.fc = nn.Identity()
        network.dropout = nn.Identity()
        for name in _AVERAGED:
            getattr(network, name).branch_pool.register_forward_pre_hook(_without_padding)
        network.Mixed_7c.register_forward_pre_hook(self._keep)
        network.Mixed_7c.branch_pool.register_forward_pre_hook(self._maximum)
        self._input: Tensor | None = None
        self.network = network
        self.requires_grad_(False)
        self.eval()

    def _keep(self, module: nn.Module, args: tuple[Tensor]) -> None:
        self._input = args[0]

    def _maximum(self, module: nn.Module, args: tuple[Tensor]) -> Tensor:
        """The last block's pool branch sees the maximum in place of the average that was computed."""
        assert self._input is not None
        x, self._input = self._input, None
        return F.max_pool2d(x, 3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, 299, 299], (colours 0 to 255 - 128) / 128 -> [B, 2048]."""
        features: Tensor = self.network(x)
        return features


def _without_padding(module: nn.Module, args: tuple[Tensor]) -> Tensor:
    """A 3x3 average with zero padding, as the average of the pixels that are there."""
    (pooled,) = args
    there = torch.ones_like(pooled[:1, :1])
    return pooled / F.avg_pool2d(there, 3, stride=1, padding=1)
