"""LPIPS (Zhang et al. 2018), version 0.1: learned perceptual distance on AlexNet or VGG-16."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from v2vkit.models.state_dict import load_exactly, read_state

Net = Literal["alex", "vgg"]

MIN_SIDE = {"alex": 35, "vgg": 16}
"""Fewest pixels of a side that leave one in the last map."""
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
"""Positions of the five ReLUs in torchvision's `features`."""
_CHANNELS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
_NAMES = {"alex": ("alexnet", "AlexNet"), "vgg": ("vgg16", "VGG-16")}


class LPIPS(nn.Module):
    """The distance of two images; 0 for equal ones.

    Args:
        net: the backbone.
        backbone: state dict of torchvision's `alexnet` or `vgg16`.
        heads: the published linear layers of that backbone (`lin0.model.1.weight`, ...).

    Raises:
        V2VError: a file is missing, unreadable or of another network.
    """

    def __init__(self, net: Net, *, backbone: str | Path, heads: str | Path):
        from torchvision import models  # costs seconds

        super().__init__()
        name, called = _NAMES[net]
        self._taps = _TAPS[net]
        features = getattr(models, name)(weights=None).features[: self._taps[-1] + 1]
        hint = f"Fetch the weights again: v2v weights fetch {name}"
        used = {f"features.{key}" for key in features.state_dict()}
        state = {key: value for key, value in read_state(backbone, hint=hint).items() if key in used}
        state = {key.removeprefix("features."): value for key, value in state.items()}
        load_exactly(features, state, what=f"{backbone} is not torchvision's {called}", hint=hint)
        for layer in features:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # the maps are compared after the next layers have run
        self.features = features
        self.heads = nn.ModuleList(nn.Conv2d(channels, 1, 1, bias=False) for channels in _CHANNELS[net])
        hint = f"Install them again, or: v2v weights add lpips-{net} FILE"
        state = read_state(heads, hint=hint)
        state = {key.replace("lin", "").replace(".model.1", ""): value for key, value in state.items()}
        load_exactly(self.heads, state, what=f"{heads} has not the linear layers of LPIPS on {called}", hint=hint)
        self.requires_grad_(False)
        self.eval()

    def _maps(self, x: Tensor) -> list[Tensor]:
        x = (x - x.new_tensor(_SHIFT)[:, None, None]) / x.new_tensor(_SCALE)[:, None, None]
        maps = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] twice -> [B]: the sum over maps of the weighted squared differences (eq. 1)."""
        total = torch.zeros(len(x), device=x.device)
        for a, b, head in zip(self._maps(x), self._maps(y), self.heads, strict=True):
            total = total + head((a - b).square()).mean((1, 2, 3))
        return total
