"""LPIPS on AlexNet or VGG-16."""

from collections.abc import Sequence

import torch

from v2vkit.arrays import Image
from v2vkit.engine.devices import pick_device
from v2vkit.evaluation.metrics.backbones import weights_note
from v2vkit.evaluation.metrics.contract import Metric, Value, compared
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.metrics.tensors import signed
from v2vkit.models.lpips import LPIPS, Net


def open_alex(setup: Setup) -> Metric:
    return _open(setup, "alex", "alexnet")


def open_vgg(setup: Setup) -> Metric:
    return _open(setup, "vgg", "vgg16")


def _open(setup: Setup, net: Net, backbone: str) -> Metric:
    heads, device = f"lpips-{net}", pick_device(setup.device)
    network = LPIPS(net, backbone=setup.weights[backbone], heads=setup.weights[heads]).to(device)

    def measure(images: Sequence[Image], real: Sequence[Image]) -> Sequence[Value]:
        with torch.inference_mode():
            values: list[Value] = network(signed(images).to(device), signed(real).to(device)).tolist()
        return values

    about = {"backbone": net, "version": "0.1", "input": "frames' own size, [-1, 1]"}
    return compared(measure, {**about, "weights": weights_note(setup, backbone, heads)})
