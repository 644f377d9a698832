"""Networks that label every pixel of a frame: DeepLabV3, as the vid2vid paper used it, and a small one for a CPU.

- `lite0-fpn`: EfficientNet-lite0, whose ImageNet weights a package carries, under a feature pyramid (Lin et al. 2017,
  torchvision's) and a semantic head as in Kirillov et al. 2019: each level is convolved, upsampled to stride 4 and
  added; the encoder's map of stride 2 then joins, as in DeepLabV3+ (Chen et al. 2018), for poles and signs. The
  encoder's norms keep their statistics and the head's are group norms, so a batch may be one frame.
- `deeplabv3-*`: torchvision's (Chen et al. 2017). Its norms are batch norms, which need two frames and more in a batch.

Shapes: frames [B, 3, H, W] in [-1, 1] -> logits [B, classes, H, W].
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import segmentation
from torchvision.ops import FeaturePyramidNetwork

from v2vkit.config import StageConfig, setting
from v2vkit.errors import V2VError
from v2vkit.models.lite0 import CHANNELS, Lite0
from v2vkit.models.state_dict import read_state

SegmenterNetwork = Literal["lite0-fpn", "deeplabv3-resnet50", "deeplabv3-resnet101", "deeplabv3-mobilenet"]
_DEEPLAB = {
    "deeplabv3-resnet50": "deeplabv3_resnet50",
    "deeplabv3-resnet101": "deeplabv3_resnet101",
    "deeplabv3-mobilenet": "deeplabv3_mobilenet_v3_large",
}
_WIDTH, _FINE = 128, 64
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]
_HINT = "Give a state dict of torchvision's DeepLabV3 with that backbone (`v2v weights list`), or none."


class SegmenterConfig(StageConfig):
    """Everything that decides the layers of a segmenter; stored in checkpoints."""

    kind: Literal["segmenter"] = "segmenter"
    network: SegmenterNetwork = setting("lite0-fpn", "which network")
    num_classes: int = setting(..., "classes that it tells apart", ge=1, le=255)


def _convolution(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
        nn.GroupNorm(32, channels_out),
        nn.ReLU(),
    )


class Lite0Pyramid(nn.Module):
    """EfficientNet-lite0, a feature pyramid and a head that adds its levels.

    Args:
        weights: of the encoder; None = random.
    """

    def __init__(self, num_classes: int, weights: str | Path | None = None):
        super().__init__()
        self.encoder = Lite0(weights)
        self.encoder.requires_grad_(True)
        for unused in (self.encoder.conv_head, self.encoder.bn1):
            unused.requires_grad_(False)
        self.pyramid = FeaturePyramidNetwork(list(CHANNELS[1:]), _WIDTH)
        self.levels = nn.ModuleList(_convolution(_WIDTH, _WIDTH, 3) for _ in CHANNELS[1:])
        self.coarse, self.fine = _convolution(_WIDTH, _FINE, 1), _convolution(CHANNELS[0], _FINE, 1)
        self.joined = _convolution(2 * _FINE, _FINE, 3)
        self.classifier = nn.Conv2d(_FINE, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine, *maps = self.encoder.maps(x)
        levels = self.pyramid({str(i): of for i, of in enumerate(maps)}).values()
        size = maps[0].shape[2:]
        parts = [
            F.interpolate(convolve(level), size, mode="bilinear", align_corners=False)
            for convolve, level in zip(self.levels, levels, strict=True)
        ]
        coarse = F.interpolate(
            self.coarse(torch.stack(parts).sum(0)), fine.shape[2:], mode="bilinear", align_corners=False
        )
        logits = self.classifier(self.joined(torch.cat([coarse, self.fine(fine)], 1)))
        return F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)


class DeepLab(nn.Module):
    """torchvision's DeepLabV3 on frames in [-1, 1].

    Args:
        weights: a state dict of the same network, with any number of classes: the last layer is made anew unless it
            fits; None = random.

    Raises:
        V2VError: the weights are damaged or of another network.
    """

    def __init__(self, network: str, num_classes: int, weights: str | Path | None = None):
        super().__init__()
        make = getattr(segmentation, _DEEPLAB[network])
        self.network = make(weights=None, weights_backbone=None, num_classes=num_classes, aux_loss=False)
        if weights is not None:
            self._load(Path(weights), network)

    def _load(self, path: Path, network: str) -> None:
        state = {key: value for key, value in read_state(path, hint=_HINT).items() if not key.startswith("aux_")}
        wanted = self.network.state_dict()
        last = ("classifier.4.weight", "classifier.4.bias")
        fits = all(key in state and state[key].shape == wanted[key].shape for key in last)
        kept = {key: value for key, value in state.items() if fits or key not in last}
        missing = wanted.keys() - kept.keys() - set(() if fits else last)
        other = [key for key, value in kept.items() if key not in wanted or value.shape != wanted[key].shape]
        if missing or other:
            raise V2VError("weights-mismatch", f"{path} is not {network}: {sorted({*missing, *other})[0]}.", _HINT)
        self.network.load_state_dict({**wanted, **kept})

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (x.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        logits: Tensor = self.network(((x + 1) / 2 - mean) / std)["out"]
        return logits


def build_segmenter(config: SegmenterConfig, weights: str | Path | None = None) -> nn.Module:
    """The network, with random weights where none are given.

    Args:
        weights: ImageNet weights of the encoder (lite0-fpn), or of the whole network (DeepLabV3).

    Raises:
        V2VError: the weights are damaged or of another network.
    """
    if config.network == "lite0-fpn":
        return Lite0Pyramid(config.num_classes, weights)
    return DeepLab(config.network, config.num_classes, weights)
