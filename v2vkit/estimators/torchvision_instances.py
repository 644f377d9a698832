"""Instances by torchvision's Mask R-CNN (He et al. 2017; BSD-3-Clause), as in the vid2vid paper, with local weights.

It knows objects: where there is none, the label is 255. Which classes there are is read off the weights; the published
ones (`v2v weights list`: maskrcnn) are for COCO's 91 ids, of which 0 is the background.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import detection

from v2vkit.arrays import Image
from v2vkit.config import IGNORE
from v2vkit.engine.devices import pick_device
from v2vkit.errors import V2VError
from v2vkit.estimators.base import Segments
from v2vkit.estimators.torch_weights import load_weights, one_thread, read_weights
from v2vkit.weights import check_stored

INPUT_SIDE = 800
"""Shorter side in pixels at which torchvision's own weights were trained."""
MIN_SCORE = 0.5
_MASK = 0.5  # probability from which a pixel belongs to an object
_LAST = "roi_heads.mask_predictor.mask_fcn_logits.weight"
_MAX_CLASSES = 255
_HINT = (
    "Give a file with --weights that holds a state dict of torchvision's Mask R-CNN on ResNet-50-FPN (`v2v weights "
    'fetch maskrcnn`), or {"model": state dict, "classes": [names]}.'
)


class MaskRCNN:
    """`SegmentEstimator`: objects and their classes; better scored ones lie in front.

    Args:
        weights: a file of `torch.save`: a state dict, or a dict with it under `model` or `state_dict` and, where
            known, the names of the classes under `classes`.
        input_side: the frame's shorter side in pixels as the network sees it; None = 800.
        min_score: objects with a lesser score are left out; None = 0.5.
        device: as `v2vkit.engine.devices` names it.

    Raises:
        V2VError: the weights are absent, unreadable or of another network, or the device is not there.
    """

    name = "maskrcnn"

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        input_side: int | None = None,
        min_score: float | None = None,
        device: str = "cpu",
    ):
        data = read_weights(weights, wanted="Mask R-CNN needs its weights", hint=_HINT)
        where = str(weights)
        loaded = load_weights(data, where)
        state = loaded.get("model", loaded.get("state_dict", loaded))
        self.num_labels = _check(state, where)
        self.classes = _classes(loaded.get("classes"), self.num_labels, where)
        side = input_side or INPUT_SIDE
        with torch.device("meta"):
            network = detection.maskrcnn_resnet50_fpn(
                weights=None,
                weights_backbone=None,
                num_classes=self.num_labels,
                min_size=side,
                max_size=4 * side,
                box_score_thresh=MIN_SCORE if min_score is None else min_score,
            )
        self._device = pick_device(device)
        self._network = _with_weights(network, state, where).to(self._device)
        self.version = f"{torchvision.__version__}, weights {hashlib.sha256(data).hexdigest()[:12]}"

    def __call__(self, image: Image) -> Segments:
        """Labels uint8 [H, W] and instances uint16 [H, W] of an RGB uint8 [H, W, 3] image of any size."""
        x = torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1).float() / 255
        with torch.inference_mode(), one_thread():
            (found,) = self._network([x])
        labels = np.full(image.shape[:2], IGNORE, np.uint8)
        instances: NDArray[np.uint16] = np.zeros(image.shape[:2], np.uint16)
        # Best first: an object takes the pixels that no better one has.
        for mask, label in zip(found["masks"][:, 0].cpu().numpy(), found["labels"].tolist(), strict=True):
            free = (mask >= _MASK) & (instances == 0)
            if free.any():
                labels[free] = label
                instances[free] = instances.max() + 1
        return Segments(labels, instances)


def _check(state: Any, where: str) -> int:
    """The number of classes, the background among them.

    Raises:
        V2VError: no dense finite tensors of such a network.
    """
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise V2VError("weights-damaged", f"The weights {where} hold no state dict.", _HINT)
    for name, value in state.items():
        check_stored(where, name, value, hint=_HINT)
        counts = name.endswith(".num_batches_tracked")
        if not counts and not (value.is_floating_point() and value.float().isfinite().all()):
            raise V2VError(
                "weights-damaged", f"The weights {where} hold something other than finite numbers in `{name}`.", _HINT
            )
    number = len(state[_LAST]) if _LAST in state and state[_LAST].ndim == 4 else 0
    if not 2 <= number <= _MAX_CLASSES:
        raise V2VError("weights-unsupported", f"The weights {where} are not of Mask R-CNN.", _HINT)
    return number


def _classes(given: Any, number: int, where: str) -> tuple[str, ...]:
    """The names in the file, or COCO's where there are as many classes."""
    if given is not None:
        if not isinstance(given, (list, tuple)) or len(given) != number:
            raise V2VError(
                "weights-mismatch",
                f"The weights {where} are for {number} classes, but their names are not as many.",
                _HINT,
            )
        return tuple(str(name) for name in given)
    coco = tuple(detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
    if len(coco) != number:
        return ()
    # Ids that COCO does not use are all called N/A.
    return tuple(f"unused {i}" if name == "N/A" else name for i, name in enumerate(coco))


def _with_weights(network: torch.nn.Module, state: dict[str, Tensor], where: str) -> torch.nn.Module:
    try:
        network.load_state_dict(state, assign=True)
        network = network.float().eval().requires_grad_(False)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise V2VError(
            "weights-mismatch",
            f"The weights {where} do not fit Mask R-CNN ({first[0].strip()[:200]}).",
            _HINT,
        ) from None
    return network
