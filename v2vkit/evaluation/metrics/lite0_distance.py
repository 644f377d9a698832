"""Perceptual distance on EfficientNet-lite0, which a package carries: what there is without LPIPS's backbone."""

from collections.abc import Sequence

import torch

from v2vkit.arrays import Image
from v2vkit.engine.devices import pick_device
from v2vkit.evaluation.metrics.backbones import weights_note
from v2vkit.evaluation.metrics.contract import Metric, Value, compared
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.metrics.tensors import signed
from v2vkit.models.lite0 import Lite0, feature_distance


def open_metric(setup: Setup) -> Metric:
    device = pick_device(setup.device)
    network = Lite0(setup.weights["lite0"]).to(device)

    def measure(images: Sequence[Image], real: Sequence[Image]) -> Sequence[Value]:
        with torch.inference_mode():
            maps = [network.maps(signed(frames).to(device)) for frames in (images, real)]
            values: list[Value] = feature_distance(*maps).tolist()
        return values

    about = {"backbone": "EfficientNet-lite0 (ImageNet)", "layer": "five maps, strides 2 to 32"}
    return compared(measure, {**about, "input": "frames' own size", "weights": weights_note(setup, "lite0")})
