"""Learned optical flow through ptlflow (Apache-2.0): an allow-list of its networks, with weights from a local file.

Only networks under BSD, Apache or MIT terms are listed, and only ones that build without a download. ptlflow downloads
weights that are given by name; here they are always read from a file.
"""

import contextlib
import hashlib
import importlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.engine.devices import pick_device
from v2vkit.errors import V2VError
from v2vkit.estimators.torch_weights import load_weights, one_thread, read_weights

MODELS = (
    "raft",
    "raft_small",
    "sea_raft_s",
    "rapidflow",
    "neuflow2",
    "gmflow",
    "unimatch",
    "dpflow",
    "rpknet",
)

_MIN_SIDE = 128
"""Smallest side in pixels; smaller images are padded, because RAFT-like networks downsample by 64 in all and raise or
give NaN below it."""


class PtlflowFlow:
    """Backward flow by one of ptlflow's networks.

    Args:
        model: one of `MODELS`.
        weights: path of its weights: `{"state_dict": …}` as ptlflow saves them, or a plain state dict.
        device: as `v2vkit.engine.devices` names it.

    Raises:
        V2VError: the model is not on the list, the weights are missing, unreadable or of another network, or the device
            is not available.
        ModuleNotFoundError: ptlflow is not installed.
    """

    name = "ptlflow"

    def __init__(self, *, model: str = "raft", weights: str | Path | None = None, device: str = "cpu"):
        if model not in MODELS:
            raise V2VError(
                "model-unknown", f"The ptlflow model {model!r} is not supported.", f"Models: {', '.join(MODELS)}."
            )
        data = read_weights(
            weights,
            wanted=f"The flow estimator ptlflow needs the weights of {model}",
            hint="Download them (ptlflow's documentation lists them) and give their path with --weights.",
        )
        self._device = pick_device(device)
        loaded = load_weights(data, str(weights))
        state = loaded.get("state_dict", loaded)
        ptlflow = _import_quietly()
        with _quiet():
            self._model = ptlflow.get_model(model).eval()
        try:
            self._model.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            first = str(error).splitlines()[1:2] or [str(error)]
            raise V2VError(
                "weights-mismatch",
                f"The weights {weights} do not fit the model {model} ({first[0].strip()[:200]}).",
                "Name the model that they belong to with --model.",
            ) from None
        self._model.to(self._device)
        self.version = f"{ptlflow.__version__}-{model}-{hashlib.sha256(data).hexdigest()[:12]}"

    def __call__(self, current: Image, previous: Image) -> NDArray[np.float32]:
        """Backward flow float32 [H, W, 2] in pixels, on the grid of `current`, from RGB uint8 [H, W, 3] of any size.

        ptlflow computes the flow from the first image to the second, on the grid of the first.
        """
        assert current.shape == previous.shape, (current.shape, previous.shape)
        height, width = current.shape[:2]
        pair = np.stack([_pad(image)[..., ::-1] for image in (current, previous)])  # [2, H, W, 3], BGR
        images = torch.from_numpy(pair.transpose(0, 3, 1, 2).astype(np.float32) / 255)[None]
        with torch.inference_mode(), one_thread():
            flow = self._model({"images": images.to(self._device)})["flows"][0, 0]  # [2, H, W]
        flow = flow.float().cpu().permute(1, 2, 0)[:height, :width]
        return np.ascontiguousarray(flow.numpy())


def _pad(image: Image) -> Image:
    down, right = (max(0, _MIN_SIDE - side) for side in image.shape[:2])
    if down or right:
        return cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[return-value]
    return image


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what ptlflow prints on import (missing optional kernels) and when it builds a model (deprecations)."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _import_quietly() -> Any:
    with _quiet():
        import ptlflow
    importlib.import_module("loguru").logger.disable("ptlflow")
    return ptlflow
