"""Feature maps of a frozen network for the perceptual and the style loss: VGG-19, EfficientNet-lite0, VGG-16 of HED."""

from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.errors import V2VError
from v2vkit.models.lite0 import MIN_SIDE, Lite0
from v2vkit.models.losses import perceptual, relative_perceptual
from v2vkit.models.perceptual_table import perceptual_class
from v2vkit.models.state_dict import read_state

TAPS = (1, 6, 11, 20, 29)
"""Positions of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 in torchvision's VGG-19."""
MAX_WIDTH = 1024


class PerceptualNetwork(nn.Module):
    """A frozen network, built from the file of its weights, and the distance between its feature maps.

    `forward`: [B, 3, H, W] in [-1, 1] -> list of maps [B, C, h, w], listed by each subclass.

    Attributes:
        min_side: smallest number of pixels of a frame's shorter side.
    """

    min_side: ClassVar[int]

    def distance(self, fake: list[Tensor], real: list[Tensor]) -> Tensor:
        """Scalar distance between the maps of generated and real images; the real ones are detached."""
        return relative_perceptual(fake, real)


def open_perceptual(name: str, weights: str | Path) -> PerceptualNetwork:
    """The network of that name with its weights.

    Args:
        name: in the table of `perceptual_table`.
        weights: its file, in the form of that entry of `v2v weights list`.

    Raises:
        V2VError: the file is missing, unreadable or of another network.
    """
    return perceptual_class(name)(weights)


class VGGFeatures(PerceptualNetwork):
    """Five maps of a frozen VGG-19: relu1_1, relu2_1, relu3_1, relu4_1, relu5_1.

    Args:
        weights: a state dict of torchvision's VGG-19 (`.pth` or `.safetensors`); only its `features.` entries are used.

    Raises:
        V2VError: the file is missing, unreadable or not VGG-19.
    """

    min_side = 16  # it downsamples four times

    def __init__(self, weights: str | Path):
        from torchvision.models.vgg import cfgs, make_layers  # takes seconds, and only this class needs it

        super().__init__()
        self.layers = make_layers(cfgs["E"])[: TAPS[-1] + 1]
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # in place, the next layers would overwrite the returned maps
        _load(self.layers, Path(weights))
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1], sides of 16 or more -> five maps.

        As published, images wider than 1024 are downsampled by 2 first, and not normalised to ImageNet's statistics.
        """
        while x.shape[3] > MAX_WIDTH and x.shape[2] >= 2 * self.min_side:
            x = F.avg_pool2d(x, 2, stride=2, count_include_pad=False)
        maps = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in TAPS:
                maps.append(x)
        return maps

    def distance(self, fake: list[Tensor], real: list[Tensor]) -> Tensor:
        """As published: L1 of the maps weighted 1/32, 1/16, 1/8, 1/4, 1."""
        return perceptual(fake, real)


class Lite0Features(PerceptualNetwork):
    """Five maps of EfficientNet-lite0, trained on ImageNet.

    Args:
        weights: the file of the entry `lite0`.

    Raises:
        V2VError: the file is missing, unreadable or of another network.
    """

    min_side = MIN_SIDE

    def __init__(self, weights: str | Path):
        super().__init__()
        self.network = Lite0(weights)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.network.maps(x)


class HEDFeatures(PerceptualNetwork):
    """The last map of each of the five stages of HED's VGG-16 trunk.

    Args:
        weights: the file of the entry `hed`.

    Raises:
        V2VError: the file is missing, unreadable or of another network, or h5py is not installed.
    """

    min_side = 16  # it downsamples four times

    def __init__(self, weights: str | Path):
        from v2vkit.models.dned_weights import dned_from_hed

        super().__init__()
        self.network = dned_from_hed(weights)
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.network.features(x)


def _load(layers: nn.Sequential, path: Path) -> None:
    hint = "Give the state dict of torchvision's vgg19 (`vgg19-dcbb9e9d.pth`), or --perceptual lite0 or off."
    state = read_state(path, hint=hint)
    found = {}
    for key, wanted in layers.state_dict().items():
        tensor = state.get(f"features.{key}")
        if tensor is None or tensor.shape != wanted.shape:
            raise V2VError(
                "weights-mismatch", f"{path} is not VGG-19: `features.{key}` is missing or has another shape.", hint
            )
        found[key] = tensor
    layers.load_state_dict(found)
