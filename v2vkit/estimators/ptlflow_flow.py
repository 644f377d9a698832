"""Learned optical flow through ptlflow (Apache-2.0): an allow-list of its networks, with weights from a local file.

Only networks under BSD, Apache or MIT terms are listed, and only ones that build without a download. ptlflow fetches
weights whose nickname it knows; we never hand it a name, only weights that we have read from a file.
"""

import contextlib
import hashlib
import importlib
import io
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.estimators.base import Image

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
"""RAFT-like networks halve 1/8 of the image three more times: below 128 pixels they raise or give NaN, so we pad."""


class PtlflowFlow:
    """Backward flow by one of ptlflow's networks.

    Args:
        model: one of `MODELS`.
        weights: path of its weights: `{"state_dict": …}` as ptlflow saves them, or a plain state dict.
        device: `cpu`, `cuda` or `mps`.

    Raises:
        V2VError: the model is not on the list, the weights are absent, unreadable or of another network, or the device
            is not there.
        ModuleNotFoundError: ptlflow is not installed.
    """

    name = "ptlflow"

    def __init__(self, *, model: str = "raft", weights: str | Path | None = None, device: str = "cpu"):
        if model not in MODELS:
            raise V2VError(f"There is no ptlflow model {model!r} here.", f"Models: {', '.join(MODELS)}.")
        if weights is None or not Path(weights).is_file():
            found = "None were given" if weights is None else f"There is no file {weights}"
            raise V2VError(
                f"The flow estimator ptlflow needs the weights of {model}. {found}.",
                "Download them (ptlflow's documentation lists them) and give their path with --weights.",
            )
        self._device = _open_device(device)
        data = Path(weights).read_bytes()
        state = _read_state(data, weights)
        ptlflow = _import_quietly()
        with _quiet():
            self._model = ptlflow.get_model(model).eval()
        try:
            self._model.load_state_dict(state)
        except (RuntimeError, TypeError, AttributeError) as error:
            first = str(error).splitlines()[1:2] or [str(error)]
            raise V2VError(
                f"The weights {weights} do not fit the model {model} ({first[0].strip()[:200]}).",
                "Name the model that they belong to with --model.",
            ) from None
        self._model.to(self._device)
        self.version = f"{ptlflow.__version__}-{model}-{hashlib.sha256(data).hexdigest()[:12]}"

    def __call__(self, current: Image, previous: Image) -> NDArray[np.float32]:
        """Backward flow float32 [H, W, 2] in pixels, on the grid of `current`, from RGB uint8 [H, W, 3] of any size.

        ptlflow gives the flow from the first image to the second, on the grid of the first.
        """
        assert current.shape == previous.shape, (current.shape, previous.shape)
        height, width = current.shape[:2]
        pair = np.stack([_pad(image)[..., ::-1] for image in (current, previous)])  # [2, H, W, 3], BGR
        images = torch.from_numpy(pair.transpose(0, 3, 1, 2).astype(np.float32) / 255)[None]
        with torch.inference_mode(), _one_thread():
            flow = self._model({"images": images.to(self._device)})["flows"][0, 0]  # [2, H, W]
        flow = flow.float().cpu().permute(1, 2, 0)[:height, :width]
        return np.ascontiguousarray(flow.numpy())


def _pad(image: Image) -> Image:
    down, right = (max(0, _MIN_SIDE - side) for side in image.shape[:2])
    if down or right:
        return cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[return-value]
    return image


def _open_device(name: str) -> torch.device:
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(name, False):
        there = ", ".join(device for device, found in present.items() if found)
        raise V2VError(f"There is no device {name!r} on this machine.", f"Give --device {there}.")
    return torch.device(name)


def _read_state(data: bytes, where: str | Path) -> Any:
    """The state dict in a weights file; nothing in the file is executed."""
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise V2VError(
            f"The weights {where} cannot be read ({type(error).__name__}).",
            "Give a file made by torch.save that holds a state dict and nothing else.",
        ) from None
    if not isinstance(loaded, dict):
        raise V2VError(f"The weights {where} hold no state dict.", "Give a file that holds a state dict.")
    return loaded.get("state_dict", loaded)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """On the CPU the last bits depend on the number of threads; a worker has one, so one gives the same everywhere."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


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
