"""Semantic segmentation by torchvision's networks (BSD-3-Clause), with weights from a local file.

DeepLabV3 (Chen et al. 2017) on ResNet-50, ResNet-101 or MobileNetV3, and LR-ASPP (Howard et al. 2019) on MobileNetV3.
Network and number of classes are inferred from the weights. torchvision downloads weights that are given by name; here
they are always read from a file.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import segmentation

from v2vkit.arrays import Image
from v2vkit.config import IGNORE
from v2vkit.engine.devices import pick_device
from v2vkit.errors import V2VError
from v2vkit.estimators.base import Segments
from v2vkit.estimators.torch_weights import load_weights, one_thread, read_weights
from v2vkit.weights import check_stored

INPUT_SIDE = 520  # shorter side in pixels at which torchvision's own weights were trained
_LONGEST = 4  # longest side relative to the shorter one, so that narrow images do not become gigantic
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]
_MAX_CLASSES = 255

# Architecture -> names of torchvision's published weights for it.
_PUBLISHED = {
    "deeplabv3_resnet50": "DeepLabV3_ResNet50_Weights",
    "deeplabv3_resnet101": "DeepLabV3_ResNet101_Weights",
    "deeplabv3_mobilenet_v3_large": "DeepLabV3_MobileNet_V3_Large_Weights",
    "lraspp_mobilenet_v3_large": "LRASPP_MobileNet_V3_Large_Weights",
}
_HINT = (
    "Give a file with --weights that holds a state dict of one of torchvision's DeepLabV3 or LR-ASPP networks, "
    'or {"model": state dict, "classes": [names]}; or get one: v2v weights fetch deeplabv3 (or lraspp).'
)


class TorchvisionSegment:
    """`SegmentEstimator`: the most probable class of every pixel, without instances.

    Args:
        weights: a file of `torch.save`: a state dict, or a dict with it under `model` or `state_dict` and, where
            known, the names of the classes under `classes`.
        input_side: shorter side in pixels to which frames are resized for the network; None = 520.
        min_score: pixels whose class has a lower probability become 255 (ignore); None = 0.
        device: as `v2vkit.engine.devices` names it.

    Raises:
        V2VError: the weights are missing, unreadable or of another network, or the device is not available.
    """

    name = "torchvision"

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        input_side: int | None = None,
        min_score: float | None = None,
        device: str = "cpu",
    ):
        data = read_weights(weights, wanted="The segmentation network of torchvision needs its weights", hint=_HINT)
        where = str(weights)
        loaded = load_weights(data, where)
        state = _state_dict(loaded, where)
        architecture = _architecture(state, where)
        self.num_labels = _num_classes(state, where)
        digest = hashlib.sha256(data).hexdigest()
        self.classes = _classes(loaded.get("classes"), architecture, digest, self.num_labels, where)
        self._device = pick_device(device)
        self._network = _build(architecture, self.num_labels, state, where).to(self._device)
        self._side, self._min_score = input_side or INPUT_SIDE, min_score or 0.0
        self.version = f"{torchvision.__version__}, {architecture}, weights {digest[:12]}"

    def __call__(self, image: Image) -> Segments:
        """Label ids uint8 [H, W] of an RGB uint8 [H, W, 3] image of any size."""
        height, width = image.shape[:2]
        x = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode(), one_thread():
            x = F.interpolate(
                x, _network_size(height, width, self._side), mode="bilinear", align_corners=False, antialias=True
            )
            x = (x - x.new_tensor(_MEAN)[:, None, None]) / x.new_tensor(_STD)[:, None, None]
            logits = self._network(x)["out"]  # [1, classes, h, w]
            logits = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)[0]
            labels = logits.argmax(0)
            if self._min_score:
                labels[logits.softmax(0).amax(0) < self._min_score] = IGNORE
        found: NDArray[np.uint8] = labels.to(torch.uint8).cpu().numpy()
        return Segments(found)


def _network_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width with the shorter side at `side` pixels, and the longer one at most four times that."""
    scale = min(side / min(height, width), _LONGEST * side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _state_dict(loaded: dict[str, Any], where: str) -> dict[str, Tensor]:
    """The network's tensors, less the auxiliary classifier, which only training uses.

    Raises:
        V2VError: a tensor is sparse, not stored in full, or not finite.
    """
    state = loaded.get("model", loaded.get("state_dict", loaded))
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise V2VError("weights-damaged", f"The weights {where} hold no state dict.", _HINT)
    used = {name: value for name, value in state.items() if not str(name).startswith("aux_classifier.")}
    for name, value in used.items():
        check_stored(where, name, value, hint=_HINT)
        counts = name.endswith(".num_batches_tracked")  # integers, which only training reads
        if not counts and not (value.is_floating_point() and value.float().isfinite().all()):
            raise V2VError(
                "weights-damaged", f"The weights {where} hold something other than finite numbers in `{name}`.", _HINT
            )
    return used


def _architecture(state: dict[str, Tensor], where: str) -> str:
    """Name of torchvision's network with these layers."""
    if "classifier.low_classifier.weight" in state:
        return "lraspp_mobilenet_v3_large"
    if "classifier.0.convs.0.0.weight" in state and "classifier.4.weight" in state:
        if "backbone.layer3.22.conv1.weight" in state:
            return "deeplabv3_resnet101"
        if "backbone.layer3.5.conv1.weight" in state:
            return "deeplabv3_resnet50"
        if "backbone.0.0.weight" in state:
            return "deeplabv3_mobilenet_v3_large"
    raise V2VError("weights-unsupported", f"The weights {where} are of an unknown network.", _HINT)


def _num_classes(state: dict[str, Tensor], where: str) -> int:
    last = state.get("classifier.4.weight", state.get("classifier.low_classifier.weight"))
    number = 0 if last is None or last.ndim != 4 else len(last)
    if not 1 <= number <= _MAX_CLASSES:
        raise V2VError(
            "weights-unsupported",
            f"The weights {where} are for {number} classes; 1 to {_MAX_CLASSES} are possible.",
            _HINT,
        )
    return number


def _classes(given: Any, architecture: str, digest: str, number: int, where: str) -> tuple[str, ...]:
    """The class names in the file, or torchvision's for a file that it published (known by its checksum)."""
    if given is not None:
        if not isinstance(given, (list, tuple)) or len(given) != number:
            raise V2VError(
                "weights-damaged",
                f"The weights {where} are for {number} classes and have another number of class names.",
                _HINT,
            )
        return tuple(str(name) for name in given)
    for published in getattr(segmentation, _PUBLISHED[architecture]):
        if digest.startswith(published.url.rpartition("-")[2].removesuffix(".pth")):
            return tuple(published.meta["categories"])
    return ()


def _build(architecture: str, num_classes: int, state: dict[str, Tensor], where: str) -> torch.nn.Module:
    """The network with these weights, in evaluation mode; built on the meta device, without memory of its own."""
    options = {"aux_loss": False} if architecture.startswith("deeplabv3") else {}
    make = getattr(segmentation, architecture)
    with torch.device("meta"):
        network: torch.nn.Module = make(weights=None, weights_backbone=None, num_classes=num_classes, **options)
    try:
        network.load_state_dict(state, assign=True)
        return network.float().eval().requires_grad_(False)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise V2VError(
            "weights-mismatch", f"The weights {where} do not fit {architecture} ({first[0].strip()[:200]}).", _HINT
        ) from None
