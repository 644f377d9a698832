"""Layers and resampling shared by all networks. Shapes: B batch, C channels, H x W pixels."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.config import Upsample

Norm = Literal["instance", "batch", "running"]
"""`instance`: statistics of each image, the same in training and evaluation (default). `batch`: those of the batch,
likewise; the published weights expect them (with a batch of one). `running`: ordinary batch norm."""


class InstanceNorm(nn.InstanceNorm2d):
    """Affine instance norm without running statistics; a map of a single pixel is not normalised.

    The variance of one pixel is undefined and torch raises; deep networks on tiny frames get that small.
    Computed as group norm with one channel per group, the same function: torch's instance norm gives wrong gradients on
    a CPU for a batch of one in channels-last layout (torch 2.15; a test compares), and takes twice the time.
    """

    def __init__(self, channels: int):
        super().__init__(channels, affine=True, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] * x.shape[3] > 1:
            if x.shape[0] == 1 and not x.is_contiguous():
                # The same function for one image. In channels-last layout torch's group norm is slow on a CPU, and
                # loses digits (it subtracts squares); on a GPU it copies into the other layout, and to float32.
                # A CPU's batch norm loses digits too where it is given bfloat16 (the mean error is eight times group
                # norm's), and is as fast in the precision of its weights.
                if x.device.type == "cpu":
                    x = x.to(self.weight.dtype)
                return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
            return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class BatchNorm(nn.BatchNorm2d):
    """Batch norm; a batch of a single value per channel is not normalised, where torch raises."""

    def forward(self, x: Tensor) -> Tensor:
        uses_batch = self.training or not self.track_running_stats
        if not uses_batch or x.numel() // x.shape[1] > 1:
            return super().forward(x)
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class NarrowConv(nn.Conv2d):
    """Square convolution of stride 1 for few output channels, fast on a CPU.

    CPU kernels compute 8 or 16 output channels at a time, even if there are fewer. So a k x k convolution to C channels
    is computed as a 1 x k convolution to k C channels, one set per row of the kernel, which are shifted by their row
    and added: the same sum in another order.
    """

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.kernel_size
        wide = self.out_channels >= 8 or x.device.type != "cpu" or x.dtype != torch.float32
        if wide or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        weight = self.weight.permute(2, 0, 1, 3).reshape(rows * self.out_channels, -1, 1, columns)
        parts = F.conv2d(x, weight, padding=self.padding).split(self.out_channels, 1)
        height = parts[0].shape[2] - rows + 1
        assert self.bias is not None
        y = self.bias[:, None, None]
        for row, part in enumerate(parts):
            y = y + part[:, :, row : row + height]
        return y


class ReflectConv(NarrowConv):
    """Convolution of odd `kernel_size` that keeps the size; the border is reflected, on tiny maps replicated."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int):
        super().__init__(in_channels, out_channels, kernel_size)
        self.border = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        mode = "reflect" if min(x.shape[-2:]) > self.border else "replicate"
        return super().forward(F.pad(x, [self.border] * 4, mode=mode))


class FullPrecision(NarrowConv):
    """A convolution in the precision of its weights, also under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:  # shapes only; autocast does not exist there
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


class Head(FullPrecision, ReflectConv):
    """Last convolution of a generator, in full precision: bfloat16 has steps of 1/12 pixel at a flow of 20."""


class ScoreConv(FullPrecision):
    """Last convolution of a discriminator, in full precision: bfloat16 has steps of 0.008 at a score of 1."""


class ResBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), no activation after the sum (vid2vid specification 1.2)."""

    def __init__(self, channels: int, norm: Norm):
        super().__init__()
        self.layers = nn.Sequential(
            ReflectConv(channels, channels, 3),
            make_norm(norm, channels),
            nn.ReLU(inplace=True),
            ReflectConv(channels, channels, 3),
            make_norm(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def make_norm(norm: Norm, channels: int) -> nn.Module:
    """The normalisation layer of that name."""
    if norm == "instance":
        return InstanceNorm(channels)
    return BatchNorm(channels, track_running_stats=norm == "running")


def stem(in_channels: int, out_channels: int, norm: Norm) -> list[nn.Module]:
    """Convolution 7x7, norm, ReLU: [B, in, H, W] -> [B, out, H, W]."""
    return [ReflectConv(in_channels, out_channels, 7), make_norm(norm, out_channels), nn.ReLU(inplace=True)]


def downs(width: int, count: int, norm: Norm) -> list[nn.Module]:
    """`count` stride-2 convolutions that double the channels: [B, w, H, W] -> [B, w * 2^n, H / 2^n, W / 2^n]."""
    layers: list[nn.Module] = []
    for step in range(count):
        channels = width << step
        layers += [
            nn.Conv2d(channels, channels * 2, 3, stride=2, padding=1),
            make_norm(norm, channels * 2),
            nn.ReLU(inplace=True),
        ]
    return layers


def ups(width: int, count: int, norm: Norm, upsample: Upsample = "transposed") -> list[nn.Module]:
    """The reverse of `downs`: [B, w * 2^n, H, W] -> [B, w, H * 2^n, W * 2^n]."""
    layers: list[nn.Module] = []
    for step in reversed(range(count)):
        channels = width << step
        if upsample == "transposed":
            layers.append(nn.ConvTranspose2d(channels * 2, channels, 3, stride=2, padding=1, output_padding=1))
        else:
            layers += [nn.Upsample(scale_factor=2, mode="nearest"), ReflectConv(channels * 2, channels, 3)]
        layers += [make_norm(norm, channels), nn.ReLU(inplace=True)]
    return layers


def res_blocks(channels: int, count: int, norm: Norm) -> list[nn.Module]:
    """`count` ResBlocks of that many channels."""
    return [ResBlock(channels, norm) for _ in range(count)]


def init_weights(network: nn.Module) -> None:
    """Convolution weights N(0, 0.02), norm weights N(1, 0.02), norm biases 0 (specification 1.2); other biases stay.

    Networks on the device `meta` stay as they are: torch would load its whole compiler to initialise them.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, (InstanceNorm, BatchNorm)):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def is_varied(x: Tensor) -> Tensor | None:
    """Which images of a batch [B, C, H, W] have a channel that is not constant: bool [B, 1, 1, 1].

    Returns:
        None if gradients are off and the answer is not needed.
    """
    if not torch.is_grad_enabled():
        return None
    pixels = x.flatten(2)
    return (pixels.amax(2) != pixels.amin(2)).any(1)[:, None, None, None]


def stop_gradient_unless(varied: Tensor | None, x: Tensor) -> Tensor:
    """`x` [B, ...] unchanged; gradients are stopped for images of the batch whose `varied` is False.

    For features of a constant source map (no person, one label everywhere): they are constant too, so instance norms
    divide them and their gradients by the root of epsilon, layer after layer.
    """
    return x if varied is None or not x.requires_grad else torch.where(varied, x, x.detach())


def downsample(x: Tensor, times: int = 1) -> Tensor:
    """Downsample by 2 (3x3 means, border excluded) `times` times: [B, C, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)]."""
    for _ in range(times):
        x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
    return x


def upsample_to(x: Tensor, size: tuple[int, int], times: int) -> Tensor:
    """Upsample to `size` (height, width) after `times` of `downsample`, bicubic: [B, C, h, w] -> [B, C, H, W].

    `downsample` keeps the positions of every second pixel, from the first on, so pixel i returns to 2^times i.
    """
    factor = 1 << times
    x = F.pad(x, [0, 1, 0, 1], mode="replicate")
    grid = [(side - 1) * factor + 1 for side in x.shape[-2:]]
    return F.interpolate(x, grid, mode="bicubic", align_corners=True)[..., : size[0], : size[1]]


def upsample_nearest(x: Tensor, size: tuple[int, int], times: int) -> Tensor:
    """Like `upsample_to`, with the nearest value: [B, C, h, w] -> [B, C, H, W].

    Half-way pixels take the even neighbour (`torch.round`), so that there is no shift on average.
    """
    rows, columns = (
        (torch.arange(side, device=x.device) / (1 << times)).round().long().clamp(max=there - 1)
        for side, there in zip(size, x.shape[-2:], strict=True)
    )
    return x.index_select(-1, columns).index_select(-2, rows)


def pyramid(x: Tensor, num_scales: int) -> list[Tensor]:
    """`x` [B, C, H, W] at `num_scales` sizes, the coarsest first and `x` itself last."""
    levels = [x]
    for _ in range(num_scales - 1):
        levels.append(downsample(levels[-1]))
    return levels[::-1]


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """`x` [B, C, H, W] padded at the right and bottom by its border pixels to multiples of `multiple`."""
    below, right = -x.shape[2] % multiple, -x.shape[3] % multiple
    return F.pad(x, [0, right, 0, below], mode="replicate") if below or right else x
