"""The table of the networks of the perceptual loss. It loads none of them, so that `--help` stays fast."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from v2vkit.models.perceptual import PerceptualNetwork


@dataclass(frozen=True)
class PerceptualRow:
    """A network of the perceptual loss.

    Attributes:
        place: `module:Class`, a subclass of `PerceptualNetwork`.
        title: its name in the plan.
        maps: the feature maps that are compared.
    """

    place: str
    title: str
    maps: str


NETWORKS = {
    "lite0": PerceptualRow(
        "v2vkit.models.perceptual:Lite0Features", "EfficientNet-lite0", "five maps, strides 2 to 32, relative L1"
    ),
    "vgg19": PerceptualRow("v2vkit.models.perceptual:VGGFeatures", "VGG-19", "relu1_1 to relu5_1, as in the paper"),
    "hed": PerceptualRow(
        "v2vkit.models.perceptual:HEDFeatures", "VGG-16 of HED", "the last map of each of five stages, relative L1"
    ),
}
"""Name, also of its weights in the registry (`v2v weights list`) -> network."""


def perceptual_class(name: str) -> "type[PerceptualNetwork]":
    """The class of the network of that name."""
    module, _, attribute = NETWORKS[name].place.partition(":")
    found: type[PerceptualNetwork] = getattr(importlib.import_module(module), attribute)
    return found
