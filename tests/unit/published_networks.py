"""Networks with the published key names, written straight from the specification's tables with torch's own layers.

They are the second opinion on our networks: tests save their weights in the published layout, import those, and compare
outputs.
Always in training mode (statistics of the frame itself), one frame at a time.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv_block = nn.Sequential(*_padded(channels, channels), nn.ReLU(), *_padded(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def _padded(channels: int, out: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(1), nn.Conv2d(channels, out, 3), nn.BatchNorm2d(out)]


def _stem(channels: int, width: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7), nn.BatchNorm2d(width), nn.ReLU()]


def _down(width: int) -> list[nn.Module]:
    return [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()]


def _up(width: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]


def _head(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, out, 7))


class Coarse(nn.Module):
    """G0 with foreground and flow, two downsamplings, three blocks (two in the encoders, one in each branch)."""

    def __init__(self, sources: int, width: int):
        super().__init__()
        self.model_down_seg = nn.Sequential(
            *_stem(sources, width), *_down(width), *_down(2 * width), Block(4 * width), Block(4 * width)
        )
        self.model_down_img = nn.Sequential(
            *_stem(6, width), *_down(width), *_down(2 * width), Block(4 * width), Block(4 * width)
        )
        for name, out in (("img", 3), ("flow", 2)):
            self.add_module(f"model_res_{name}", nn.Sequential(Block(4 * width)))
            self.add_module(f"model_up_{name}", nn.Sequential(*_up(2 * width), *_up(width)))
            self.add_module(f"model_final_{name}", _head(width, out))
        self.model_final_w = _head(width, 1)
        self.indv_down = nn.Sequential(*_stem(sources, width), *_down(width), *_down(2 * width))
        self.indv_res = nn.Sequential(*(Block(4 * width) for _ in range(3)))
        self.indv_up = nn.Sequential(*_up(2 * width), *_up(width))
        self.indv_final = _head(width, 3)

    def forward(self, source: Tensor, past: Tensor, foreground: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.model_down_seg(source) + self.model_down_img(past)
        image = self.model_up_img(self.model_res_img(x))
        flow = self.model_up_flow(self.model_res_flow(x))
        individual = self.indv_up(self.indv_res(self.indv_down(source)))
        return _compose(self, image, flow, individual, past, foreground, 20), [image, flow, individual]


class Fine(nn.Module):
    """G1 with two blocks."""

    def __init__(self, sources: int, width: int):
        super().__init__()
        self.model_down_seg = nn.Sequential(*_stem(sources, width), *_down(width))
        self.model_down_img = nn.Sequential(*_stem(6, width), *_down(width))
        self.indv_down = nn.Sequential(*_stem(sources, width), *_down(width))
        for name, out in (("model_up_img", 3), ("model_up_flow", 2), ("indv_up", 3)):
            self.add_module(name, nn.Sequential(Block(2 * width), Block(2 * width), *_up(width)))
            self.add_module(name.replace("_up", "_final"), _head(width, out))
        self.model_final_w = _head(width, 1)

    def forward(self, source: Tensor, past: Tensor, foreground: Tensor, below: list[Tensor]) -> Tensor:
        x = self.model_down_seg(source) + self.model_down_img(past)
        image, flow = self.model_up_img(x + below[0]), self.model_up_flow(x + below[1])
        individual = self.indv_up(self.indv_down(source) + below[2])
        return _compose(self, image, flow, individual, past, foreground, 40)


def _compose(
    network: nn.Module, image: Tensor, flow: Tensor, individual: Tensor, past: Tensor, foreground: Tensor, pixels: int
) -> Tensor:
    h = torch.tanh(network.model_final_img(image))
    w = network.model_final_flow(flow) * pixels
    m = torch.sigmoid(network.model_final_w(flow))
    height, width = h.shape[2:]
    rows, columns = (torch.linspace(-1, 1, size, dtype=w.dtype) for size in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([x + 2 * w[:, 0] / (width - 1), y + 2 * w[:, 1] / (height - 1)], -1)
    warped = F.grid_sample(past[:, 3:], grid, padding_mode="border", align_corners=True)
    over = torch.tanh(network.indv_final(individual))
    return over * foreground + (m * h + (1 - m) * warped) * (1 - foreground)


def discriminator(channels: int, width: int, num_scales: int) -> nn.ModuleDict:
    """A discriminator of three stride-2 layers; scale 0 is the coarsest, as it is stored."""
    layers = {}
    for scale in range(num_scales):
        w = min(64, width << (num_scales - 1 - scale))
        layers[f"scale{scale}_layer0"] = nn.Sequential(nn.Conv2d(channels, w, 4, 2, 2), nn.LeakyReLU(0.2))
        for layer, stride in ((1, 2), (2, 2), (3, 1)):
            conv = nn.Conv2d(w, 2 * w, 4, stride, 2)
            layers[f"scale{scale}_layer{layer}"] = nn.Sequential(conv, nn.BatchNorm2d(2 * w), nn.LeakyReLU(0.2))
            w *= 2
        layers[f"scale{scale}_layer4"] = nn.Sequential(nn.Conv2d(w, 1, 4, 1, 2))
    return nn.ModuleDict(layers)


def image_network(channels: int, width: int) -> nn.Module:
    """A global image generator of two downsamplings and one block, with instance norm that stores nothing."""
    network = nn.Module()
    layers = [*_stem(channels, width), *_down(width), *_down(2 * width), Block(4 * width), *_up(2 * width), *_up(width)]
    network.model = nn.Sequential(*layers, *_head(width, 3), nn.Tanh())
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            parent, _, key = name.rpartition(".")
            setattr(network.get_submodule(parent), key, nn.InstanceNorm2d(module.num_features))
    return network
