"""Weights of networks that the tests make: random ones, and one that tells black from white."""

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import detection, segmentation

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import MODEL, ModelInfo, save_model
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.conditions.settings import Origin
from v2vkit.models.segmenter import SegmenterConfig, build_segmenter

LRASPP = "lraspp_mobilenet_v3_large"


def needs_ultralytics() -> None:
    """Skip where it is not installed, without importing it: only its adapter may do that."""
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")


def used_to_noise(network: torch.nn.Module) -> torch.nn.Module:
    """The network with the statistics of noise in its normalisations, so that what it makes of pictures differs."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    pictures = np.stack([noise(64, 64, seed) for seed in range(4)])
    with torch.no_grad():
        network.train()(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 64.0 - 2)
    return network.eval()


def random_network(architecture: str, num_classes: int) -> torch.nn.Module:
    """One of torchvision's segmentation networks, in which pictures differ: a pass over noise sets its statistics."""
    torch.manual_seed(0)
    network = getattr(segmentation, architecture)(weights=None, weights_backbone=None, num_classes=num_classes)
    return used_to_noise(network)


def torchvision_weights(path: Path, *, architecture: str = LRASPP, num_classes: int = 5, **beside: Any) -> Path:
    """Random weights as torchvision publishes them, or with something beside the state dict."""
    state = random_network(architecture, num_classes).state_dict()
    torch.save({"model": state, **beside} if beside else state, path)
    return path


def maskrcnn_weights(path: Path, *, num_classes: int = 6) -> Path:
    """A random Mask R-CNN whose masks are everywhere, so that it finds something."""
    torch.manual_seed(0)
    network = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=num_classes)
    torch.nn.init.constant_(network.roi_heads.mask_predictor.mask_fcn_logits.bias, 1.0)
    torch.save(network.state_dict(), path)
    return path


def segmenter_weights(folder: Path, *, num_labels: int = 5) -> Path:
    """The model file of a random segmenter."""
    torch.manual_seed(0)
    config = SegmenterConfig(network="lite0-fpn", num_classes=num_labels)
    network = build_segmenter(config)
    with torch.no_grad():
        network.classifier.weight.mul_(50)
    info = ModelInfo(
        method="segmenter",
        stage="segmenter",
        fingerprint="f" * 64,
        network=config,
        conditioning=Conditioning.of(LabelsCondition(num_labels=num_labels)),
        origins=(Origin(stage="ingest"),),
        width=80,
        height=64,
        frames={},
    )
    save_model(Folder(str(folder)), network.state_dict(), info)
    return folder / MODEL


def brightness_weights(path: Path) -> Path:
    """LR-ASPP whose classifier tells white (label 1) from black (label 0) by what a random backbone makes of them.

    The classifier is fitted, by least squares, to pictures of white squares on black and black squares on white.
    """
    network = random_network(LRASPP, 2)
    rng = np.random.default_rng(0)
    pictures = torch.zeros(32, 1, 256, 256)
    for number, picture in enumerate(pictures):
        top, left = rng.integers(0, 192, 2)
        picture[:, top : top + 96, left : left + 96] = 1
        if number % 2:
            picture.copy_(1 - picture)
    with torch.no_grad():
        features = network.backbone(((pictures - 0.45) / 0.225).expand(-1, 3, -1, -1))["low"]
        there = torch.nn.functional.adaptive_avg_pool2d(pictures, features.shape[2:]).flatten() * 2 - 1
        rows = features.permute(0, 2, 3, 1).reshape(len(there), -1).double()
        rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
        ridge = 1e-4 * len(rows) * torch.eye(rows.shape[1], dtype=torch.float64)
        fitted = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ there.double()).float()
        for part in (network.classifier.low_classifier, network.classifier.high_classifier):
            part.weight.zero_()
            part.bias.zero_()
        network.classifier.low_classifier.weight[1, :, 0, 0] = 4 * fitted[:-1]
        network.classifier.low_classifier.bias[1] = 4 * fitted[-1]
    torch.save({"model": network.state_dict(), "classes": ["night", "day"]}, path)
    return path


def yolo_weights(path: Path, task: str, *, side: int = 160, name: str = "yolo11n") -> Path:
    """A random YOLO network that is sure of seeing the first class (and now and then the third) everywhere."""
    from v2vkit.estimators.ultralytics_models import safe_ultralytics

    with safe_ultralytics() as ultralytics:
        torch.manual_seed(0)
        model = ultralytics.YOLO(f"{name}-{'seg' if task == 'segment' else task}.yaml").model
        used_to_noise(model)
        with torch.no_grad():
            for branch in model.model[-1].cv3:
                branch[-1].bias.fill_(-9.0)
                branch[-1].bias[0] = 2.0
                branch[-1].weight.normal_(0, 0.5)
    torch.save({"model": model, "train_args": {"imgsz": side, "task": task}}, path)
    return path


@contextlib.contextmanager
def seeing(raw: torch.Tensor, protos: torch.Tensor | None = None) -> Iterator[list[tuple[int, int]]]:
    """YOLO networks give `raw` [1, values, boxes] (and mask prototypes) whatever they are shown.

    Yields:
        (height, width) of everything that they have been shown.
    """
    shown: list[tuple[int, int]] = []

    def say(module: torch.nn.Module, given: tuple[Any, ...], output: Any) -> Any:
        if type(module).__name__ not in ("PoseModel", "SegmentationModel"):
            return None
        shown.append(tuple(given[0].shape[2:]))
        return _copied((raw if protos is None else (raw, protos), None))

    handle = torch.nn.modules.module.register_module_forward_hook(say)
    try:
        yield shown
    finally:
        handle.remove()


def _copied(output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(_copied(part) for part in output)
    return None if output is None else output.clone()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """RGB uint8 [height, width, 3]: coarse blocks of random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    return np.ascontiguousarray(small.repeat(8, 0).repeat(8, 1)[:height, :width])
