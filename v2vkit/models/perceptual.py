"""VGG-19 feature maps for the perceptual and the style loss, from a weights file that the user gives."""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from v2vkit.errors import V2VError

TAPS = (1, 6, 11, 20, 29)
"""Positions of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 in torchvision's VGG-19."""
MAX_WIDTH = 1024


class VGGFeatures(nn.Module):
    """Five maps of a frozen VGG-19: relu1_1, relu2_1, relu3_1, relu4_1, relu5_1.

    Args:
        weights: a state dict of torchvision's VGG-19 (`.pth` or `.safetensors`); only its `features.` entries are used.
        normalize: bring [-1, 1] images to the ImageNet statistics that VGG was trained with (not so as published).

    Raises:
        V2VError: the file is missing, unreadable or not VGG-19.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: str | Path, *, normalize: bool = False):
        super().__init__()
        self.normalize = normalize
        self.layers = make_layers(cfgs["E"])[: TAPS[-1] + 1]
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # the maps are returned while the next layers run
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        _load(self.layers, Path(weights))
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1] -> five maps; images wider than 1024 are halved first, as published."""
        while x.shape[3] > MAX_WIDTH:
            x = F.avg_pool2d(x, 2, stride=2, count_include_pad=False)
        if self.normalize:
            x = ((x + 1) / 2 - self.mean) / self.std
        maps = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in TAPS:
                maps.append(x)
        return maps


def _load(layers: nn.Sequential, path: Path) -> None:
    hint = "Give the state dict of torchvision's vgg19 (`vgg19-dcbb9e9d.pth`), or switch the VGG loss off."
    if not path.is_file():
        raise V2VError(f"The VGG-19 weights {path} do not exist.", hint)
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise V2VError(f"The VGG-19 weights {path} cannot be read: {error}.", hint) from None
    wanted = layers.state_dict()
    state = {} if not isinstance(state, dict) else state
    found = {key: state[f"features.{key}"] for key in wanted if f"features.{key}" in state}
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise V2VError(f"{path} is not VGG-19: it has no `features.{missing[0]}`.", hint)
    for key, tensor in found.items():
        if not isinstance(tensor, Tensor) or tensor.shape != wanted[key].shape:
            raise V2VError(f"{path} is not VGG-19: `features.{key}` has another shape.", hint)
    layers.load_state_dict(found)
