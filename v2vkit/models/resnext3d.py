"""3-D ResNeXt-101 (Hara et al. 2018; Xie et al. 2017): features of a clip for VFID.

Names of tensors are those of the published Kinetics weights (`resnext-101-kinetics.pth`).
"""

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.models.state_dict import load_exactly, read_wrapped_state

FEATURES = 2048
"""Length of the feature vector."""
MEAN = (114.7748, 107.7354, 99.4750)
"""Colour 0 to 255 that the weights want subtracted; they are not divided by anything."""
_BLOCKS = (3, 4, 23, 3)
_WIDTHS = (128, 256, 512, 1024)
_GROUPS = 32
_HINT = "Give the published resnext-101-kinetics.pth: v2v weights add resnext101-3d FILE"


class _Bottleneck(nn.Module):
    """1x1x1, grouped 3x3x3, 1x1x1 and the shortcut."""

    def __init__(self, channels_in: int, width: int, stride: int):
        super().__init__()
        channels_out = 2 * width
        self.conv1, self.bn1 = nn.Conv3d(channels_in, width, 1, bias=False), nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, padding=1, groups=_GROUPS, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3, self.bn3 = nn.Conv3d(width, channels_out, 1, bias=False), nn.BatchNorm3d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            shortcut = nn.Conv3d(channels_in, channels_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNeXt3D(nn.Module):
    """The map before the classifier, averaged over time and space.

    Args:
        weights: the state dict or checkpoint; None = random (tests only).

    Raises:
        V2VError: the file is missing, unreadable or of another network.
    """

    def __init__(self, weights: str | Path | None):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        channels = 64
        for number, (count, width) in enumerate(zip(_BLOCKS, _WIDTHS, strict=True), start=1):
            blocks = list[nn.Module]()
            for index in range(count):
                blocks.append(_Bottleneck(channels, width, 2 if index == 0 and number > 1 else 1))
                channels = 2 * width
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        if weights is not None:
            state, _ = read_wrapped_state(weights, hint=_HINT)
            state = {key: value for key, value in state.items() if not key.startswith("fc.")}
            load_exactly(self, state, what=f"{weights} is not the 3-D ResNeXt-101 of Kinetics", hint=_HINT)
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, T, 112, 112], colours 0 to 255 minus `MEAN` -> [B, 2048]."""
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        for number in range(1, len(_BLOCKS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean((2, 3, 4))
