"""Networks that turn frames or clips into one vector each, with weights of the store or a package."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from v2vkit.arrays import Image
from v2vkit.engine.devices import pick_device
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.metrics.tensors import clean_resize
from v2vkit.weights import file_digest

Vectors = NDArray[np.float32]
Colour = tuple[float, float, float]

_RGB_MEAN, _RGB_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # torchvision's, of Kinetics


@dataclass(frozen=True)
class Backbone:
    """A feature network.

    Attributes:
        about: backbone, layer, weights and input size, for the report.
        size: length of the vectors.
        embed: RGB uint8 [H, W, 3] frames -> float32 [n, size]: a vector per frame, or one for the clip that they are.
    """

    about: dict[str, Any]
    size: int
    embed: Callable[[Sequence[Image]], Vectors]


def weights_note(setup: Setup, *names: str) -> str:
    """Weights in the report: names and the first digits of their SHA-256."""
    return ", ".join(f"{name} {file_digest(setup.weights[name])[:12]}" for name in names)


def lite0(setup: Setup) -> Backbone:
    """EfficientNet-lite0 of a package, pooled; frames at 224x224."""
    from v2vkit.models.lite0 import FEATURES, Lite0

    def build() -> Backbone:
        about = {"backbone": "EfficientNet-lite0 (ImageNet)", "layer": f"mean of the last map, {FEATURES}"}
        network = Lite0(setup.weights["lite0"])
        return _backbone(network, setup, "lite0", about, FEATURES, side=224, mean=(127.5,) * 3, std=(127.5,) * 3)

    return setup.once("lite0", build)


def inception(setup: Setup) -> Backbone:
    """Inception-v3 of the original FID code, pool3; frames at 299x299."""
    from v2vkit.models.inception import FEATURES, FIDInception

    def build() -> Backbone:
        about = {"backbone": "Inception-v3 (2015-12-05)", "layer": f"pool3, {FEATURES}"}
        network = FIDInception(setup.weights["inception-fid"])
        return _backbone(network, setup, "inception-fid", about, FEATURES, side=299, mean=(128,) * 3, std=(128,) * 3)

    return setup.once("inception", build)


def i3d(setup: Setup, *, logits: bool) -> Backbone:
    """I3D on RGB: its 1024 numbers before the classifier, or its 400 logits; clips at 224x224."""
    from v2vkit.models.i3d import CLASSES, FEATURES, I3D

    size = CLASSES if logits else FEATURES
    layer = f"logits, {size}" if logits else f"mean of the map before the classifier, {size}"
    about = {"backbone": "I3D RGB (Kinetics-400)", "layer": layer}
    network = I3D(setup.weights["i3d"], logits=logits)
    return _backbone(network, setup, "i3d", about, size, side=224, mean=(127.5,) * 3, std=(127.5,) * 3, clips=True)


def resnext(setup: Setup) -> Backbone:
    """3-D ResNeXt-101: its 2048 numbers before the classifier; clips at 112x112."""
    from v2vkit.models.resnext3d import FEATURES, MEAN, ResNeXt3D

    about = {"backbone": "3-D ResNeXt-101 (Kinetics)", "layer": f"mean of the last map, {FEATURES}"}
    network = ResNeXt3D(setup.weights["resnext101-3d"])
    return _backbone(network, setup, "resnext101-3d", about, FEATURES, side=112, mean=MEAN, std=(1, 1, 1), clips=True)


def r3d18(setup: Setup) -> Backbone:
    """torchvision's 3-D ResNet-18: its 512 numbers before the classifier; clips at 112x112."""
    from torchvision.models.video import r3d_18

    from v2vkit.models.state_dict import load_exactly, read_state

    path, hint = setup.weights["r3d18"], "Fetch it again: v2v weights fetch r3d18"
    network = r3d_18(weights=None)
    load_exactly(network, read_state(path, hint=hint), what=f"{path} is not torchvision's r3d_18", hint=hint)
    network.fc = nn.Identity()
    about = {"backbone": "3-D ResNet-18 (Kinetics-400, torchvision)", "layer": "mean of the last map, 512"}
    mean, std = (tuple(255 * value for value in values) for values in (_RGB_MEAN, _RGB_STD))
    return _backbone(network, setup, "r3d18", about, 512, side=112, mean=mean, std=std, clips=True)


def _backbone(
    network: nn.Module,
    setup: Setup,
    weights: str,
    about: dict[str, Any],
    size: int,
    *,
    side: int,
    mean: Sequence[float],
    std: Sequence[float],
    clips: bool = False,
) -> Backbone:
    """The network on the device, in evaluation mode; in training mode norms would take the batch's statistics.

    Args:
        side: frames are resized to side x side.
        mean, std: of the colours 0 to 255, as the weights want them.
        clips: the network takes [1, 3, T, H, W] and gives one vector, not [B, 3, H, W] and B vectors.
    """
    device = pick_device(setup.device)
    network = network.to(device).eval()
    last: tuple[Sequence[Image], Vectors] | None = None

    def embed(images: Sequence[Image]) -> Vectors:
        nonlocal last  # two metrics of one network look at the same frames
        if last is not None and list(map(id, last[0])) == list(map(id, images)):
            return last[1]
        x = clean_resize(images, (side, side)).to(device)
        x = (x - x.new_tensor(mean)[:, None, None]) / x.new_tensor(std)[:, None, None]
        with torch.inference_mode():
            vectors: Vectors = network(x.transpose(0, 1)[None] if clips else x).float().cpu().numpy()
        last = images, vectors
        return vectors

    note = {"input": f"{side}x{side}, clean-fid resize", "weights": weights_note(setup, weights)}
    return Backbone({**about, **note}, size, embed)
