"""I3D (Carreira and Zisserman 2017): Inception-v1 with its kernels inflated over time, RGB.

Names of tensors are those of the usual PyTorch conversion of the published weights (`rgb_imagenet.pt`). TorchScript
files, which hold programs, are not accepted.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.models.state_dict import load_exactly, read_wrapped_state

FEATURES = 1024
"""Channels of the last map."""
CLASSES = 400
"""Logits: the classes of Kinetics-400."""
_HINT = "Give a state dict with the names of rgb_imagenet.pt: v2v weights add i3d FILE"

# Width of each branch: 1x1 | 1x1, 3x3 | 1x1, 3x3 | pool, 1x1 (table 1 of Szegedy et al. 2015).
_MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
# Kernel and stride of the pooling before a block, as (time, space).
_POOLS = {"Conv3d_2b_1x1": ((1, 3), (1, 2)), "Mixed_3b": ((1, 3), (1, 2))}
_POOLS |= {"Mixed_4b": ((3, 3), (2, 2)), "Mixed_5b": ((2, 2), (2, 2))}


def _pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros as TensorFlow's padding "SAME" adds them; maps are never negative, so they do for maxima too."""
    pads: list[int] = []
    for side, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        missing = max((-(-side // s) - 1) * s + k - side, 0)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads)


def _max_pool(x: Tensor, kernel: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    kernels, strides = (kernel[0], kernel[1], kernel[1]), (stride[0], stride[1], stride[1])
    return F.max_pool3d(_pad_same(x, kernels, strides), kernels, strides)


class _Unit(nn.Module):
    """Convolution, norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1):
        super().__init__()
        self.conv3d = nn.Conv3d(channels_in, channels_out, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(channels_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = _pad_same(x, self.conv3d.kernel_size, self.conv3d.stride)
        return F.relu(self.bn(self.conv3d(x)))


class _Mixed(nn.Module):
    """Inception block of four branches."""

    def __init__(self, channels_in: int, widths: tuple[int, ...]):
        super().__init__()
        direct, to_first, first, to_second, second, pooled = widths
        self.b0 = _Unit(channels_in, direct)
        self.b1a, self.b1b = _Unit(channels_in, to_first), _Unit(to_first, first, 3)
        self.b2a, self.b2b = _Unit(channels_in, to_second), _Unit(to_second, second, 3)
        self.b3b = _Unit(channels_in, pooled)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _max_pool(x, (3, 3), (1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class I3D(nn.Module):
    """Features or logits of a clip.

    Args:
        weights: the state dict; None = random (tests only).
        logits: give the classifier's 400 logits (FVD), not the 1024 channels of the last map (VFID).

    Raises:
        V2VError: the file is missing, unreadable or of another network.
    """

    def __init__(self, weights: str | Path | None, *, logits: bool = False):
        super().__init__()
        self.gives_logits = logits
        stem = {"Conv3d_1a_7x7": _Unit(3, 64, 7, 2), "Conv3d_2b_1x1": _Unit(64, 64), "Conv3d_2c_3x3": _Unit(64, 192, 3)}
        channels, mixed = 192, dict[str, nn.Module]()
        for name, widths in _MIXED.items():
            mixed[name] = _Mixed(channels, widths)
            channels = widths[0] + widths[2] + widths[4] + widths[5]
        self._order = [*stem, *mixed]
        for name, block in {**stem, **mixed}.items():
            self.add_module(name, block)
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(channels, CLASSES, 1)})
        if weights is not None:
            state, _ = read_wrapped_state(weights, hint=_HINT)
            load_exactly(self, state, what=f"{weights} is not I3D (RGB, Kinetics-400)", hint=_HINT)
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, T, 224, 224] in [-1, 1] -> [B, 1024] or [B, 400].

        T is 9 or more: the classifier averages over two times of the last map, which has one for every eight frames.
        """
        for name in self._order:
            if name in _POOLS:
                x = _max_pool(x, *_POOLS[name])
            x = self.get_submodule(name)(x)
        if not self.gives_logits:
            return x.mean((2, 3, 4))
        averaged = F.avg_pool3d(x, (2, 7, 7), stride=1)
        logits: Tensor = self.logits["conv3d"](averaged)
        return logits.mean((2, 3, 4))
