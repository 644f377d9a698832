"""Body key points and object instances by ultralytics' YOLO networks (AGPL-3.0), with the user's weights.

The only module that imports ultralytics. By default that library reports usage, installs packages, downloads missing
weights, loads pickles, and changes settings of other libraries on import. Here it is opened offline with all of that
switched off and in a temporary configuration folder, it is given only existing files that hold nothing but tensors and
its own layers, and its changes to this process are undone.
"""

import contextlib
import hashlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import torch
import torchvision  # noqa: F401  (ultralytics merges boxes in another way as soon as somebody has imported it)
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.config import IGNORE
from v2vkit.engine.cores import allowed_cores
from v2vkit.engine.devices import pick_device
from v2vkit.errors import V2VError
from v2vkit.estimators.base import Segments
from v2vkit.estimators.keypoints import to_body_25
from v2vkit.estimators.torch_weights import one_thread, read_weights

MIN_SCORE = 0.25  # of an object; ultralytics' own default
_MAX_PEOPLE, _MAX_OBJECTS = 100, 300
_NUM_COCO, _MAX_CLASSES = 17, 255
_INPUT_SIDE, _LARGEST_SIDE = 640, 4096  # default where the weights do not record their size; limit where they do

_SAFE = {
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "1",
}
_REPLACED = ((torch, "save"), (torch, "load"), (PIL.Image, "open"), (cv2, "imread"), (cv2, "imwrite"), (cv2, "imshow"))
"""Functions of other libraries that some versions of ultralytics replace."""
_SILENT = ("sync", "clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")


class YoloPose:
    """`PoseEstimator`: the bodies of several people, highest score first; feet are missing.

    Args:
        weights: a YOLO file (`.pt`) for poses with COCO's 17 key points.
        min_score: people with a lower score are left out.
        device: as `v2vkit.engine.devices` names it.

    Raises:
        V2VError: the weights are missing, unreadable or for another task, or the device is not available.
        ModuleNotFoundError: ultralytics is not installed.
    """

    name = "yolo"

    def __init__(self, *, weights: str | Path | None = None, min_score: float = MIN_SCORE, device: str = "cpu"):
        self._model = _Model("pose", weights, min_score=min_score, input_side=None, max_det=_MAX_PEOPLE, device=device)
        self.version = self._model.version

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """The people in an RGB uint8 [H, W, 3] image of any size, float32 [people, 25, 3] (x, y, score)."""
        found = self._model(image)
        order = np.argsort(-_numpy(found.boxes.conf), kind="stable")
        points = _numpy(found.keypoints.data)  # [people, 17, 2 or 3]
        points = points.reshape(len(order), _NUM_COCO, points.shape[-1])[order]
        if points.shape[2] == 2:  # a network without scores of points
            points = np.concatenate([points, np.ones_like(points[..., :1])], 2)
        return to_body_25(points, "coco17")


class YoloSegment:
    """`SegmentEstimator`: the objects in an image, each with its class and an instance id (1 = highest score).

    Where objects overlap, the one with the higher score wins; elsewhere labels are 255 (ignore) and instances 0.

    Args:
        weights: a YOLO file (`.pt`) for instance segmentation.
        input_side: longer side in pixels to which frames are resized for the network; None = as in its training.
        min_score: objects with a lower score are left out; None = 0.25.
        device: as `v2vkit.engine.devices` names it.

    Raises:
        V2VError: the weights are missing, unreadable or for another task, or the device is not available.
        ModuleNotFoundError: ultralytics is not installed.
    """

    name = "yolo"

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        input_side: int | None = None,
        min_score: float | None = None,
        device: str = "cpu",
    ):
        score = MIN_SCORE if min_score is None else min_score
        self._model = _Model(
            "segment", weights, min_score=score, input_side=input_side, max_det=_MAX_OBJECTS, device=device
        )
        names = self._model.network.names
        self.num_labels = len(names)
        self.classes = tuple(str(names[number]) for number in range(len(names)))
        self.version = self._model.version

    def __call__(self, image: Image) -> Segments:
        """The objects in an RGB uint8 [H, W, 3] image of any size."""
        found = self._model(image)
        if found.masks is None:
            masks = np.zeros((0, *image.shape[:2]), np.uint8)
        else:
            masks = _numpy(found.masks.data)
        return paint(masks, _numpy(found.boxes.cls), _numpy(found.boxes.conf))


def paint(masks: NDArray[Any], labels: NDArray[Any], scores: NDArray[np.float32]) -> Segments:
    """Objects as maps: masks [n, H, W] (0 = outside), label ids [n] and scores [n]; the highest score is on top."""
    segments = Segments(np.full(masks.shape[1:], IGNORE, np.uint8), np.zeros(masks.shape[1:], np.uint16))
    assert segments.instances is not None
    order = np.argsort(-scores, kind="stable")
    for place in range(len(order) - 1, -1, -1):
        inside = masks[order[place]] > 0
        segments.labels[inside] = labels[order[place]]
        segments.instances[inside] = place + 1
    return segments


class _Model:
    """A YOLO network, ready to be called: RGB uint8 [H, W, 3] in, ultralytics' results out."""

    def __init__(
        self,
        task: str,
        weights: str | Path | None,
        *,
        min_score: float,
        input_side: int | None,
        max_det: int,
        device: str,
    ):
        data = read_weights(
            weights,
            wanted=f"The {task} estimator yolo needs weights for the task {task!r}",
            hint="Give the path of a YOLO file (.pt) with --weights; v2vkit never fetches one.",
        )
        self._device = pick_device(device)
        with safe_ultralytics() as ultralytics, one_thread():
            model = _load(ultralytics, data, str(weights), task)
            _CHECKS[task](model.model, str(weights))
            trained = model.overrides.get("imgsz")
            side = input_side or (trained if isinstance(trained, int) and 0 < trained <= _LARGEST_SIDE else _INPUT_SIDE)
            self._settings = {
                "imgsz": side,
                "conf": max(min_score, 1e-3),  # at 0 everything is an object
                "max_det": max_det,
                "device": str(self._device),
                "retina_masks": True,  # masks of the frame's size
                "save": False,
                "verbose": False,
            }
            self._model = model
            self._predict(np.zeros((64, 64, 3), np.uint8))  # warm-up: some settings change on first use
            self.version = f"{ultralytics.__version__}, weights {hashlib.sha256(data).hexdigest()[:12]}"

    @property
    def network(self) -> Any:
        return self._model.model

    def __call__(self, image: Image) -> Any:
        with one_thread():
            return self._predict(image)

    def _predict(self, image: Image) -> Any:
        return self._model.predict(np.ascontiguousarray(image[..., ::-1]), **self._settings)[0]


def _load(ultralytics: Any, data: bytes, where: str, task: str) -> Any:
    """Load the network of a weights file from a copy, because ultralytics interprets file names."""
    if not ultralytics.nn.tasks._SafeLoad.SUPPORTED:
        raise V2VError(
            "library-unsupported", "This torch cannot load YOLO files safely.", "Install torch 2.6 or newer."
        )
    hint = f"Give a YOLO file that ultralytics saved for the task {task!r}."
    allowed = torch.serialization.get_safe_globals()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "weights.pt"
        copy.write_bytes(data)
        try:
            model = ultralytics.YOLO(str(copy))
        except Exception as error:  # a damaged or foreign file can raise anything
            text = (str(error).splitlines() or [""])[0].replace(str(copy), "it").encode("ascii", "ignore").decode()
            raise V2VError(
                "weights-damaged", f"The weights {where} cannot be read ({type(error).__name__}: {text[:200]}).", hint
            ) from None
        finally:
            # The file's classes would stay allowed for every later weights_only load of this process.
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(allowed)
    if model.task != task:
        raise V2VError("weights-unsupported", f"The weights {where} are for the task {model.task!r}.", hint)
    return model


def _check_points(network: Any, where: str) -> None:
    shape = tuple(getattr(network, "kpt_shape", ()))
    if not shape or shape[0] != _NUM_COCO:
        raise V2VError(
            "weights-unsupported",
            f"The weights {where} find {shape[0] if shape else 'no'} key points instead of COCO's {_NUM_COCO}.",
            "Give weights for the poses of people.",
        )


def _check_classes(network: Any, where: str) -> None:
    names = network.names
    if not 1 <= len(names) <= _MAX_CLASSES or sorted(names) != list(range(len(names))):
        raise V2VError(
            "weights-unsupported",
            f"The weights {where} are for {len(names)} classes; 1 to {_MAX_CLASSES} are possible.",
            "Give weights with fewer classes.",
        )


_CHECKS = {"pose": _check_points, "segment": _check_classes}


@contextlib.contextmanager
def safe_ultralytics() -> Iterator[Any]:
    """The package ultralytics, opened offline and without usage reports, installation of packages or pickles.

    Restored afterwards: environment variables, warning filters, OpenCV's threads, print options of arrays, and the
    functions of other libraries that it replaces (`_REPLACED`).

    Raises:
        ModuleNotFoundError: ultralytics is not installed.
    """
    environment, threads, printing = dict(os.environ), cv2.getNumThreads(), np.get_printoptions()
    tensors = vars(torch._tensor_str.PRINT_OPTS).copy()
    functions = [(module, name, getattr(module, name)) for module, name in _REPLACED]
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            os.environ.update(_SAFE, YOLO_CONFIG_DIR=folder)
            os.environ.setdefault("OMP_NUM_THREADS", str(allowed_cores()))
            import ultralytics
            import ultralytics.nn.tasks

            if not ultralytics.nn.tasks.SAFE_LOAD:
                raise V2VError(
                    "library-conflict",
                    "This program has imported ultralytics before, without its safe mode.",
                    "Let v2vkit import it first.",
                )
            ultralytics.settings.update({name: False for name in _SILENT if name in ultralytics.settings})
            yield ultralytics
    finally:
        for added in set(os.environ) - set(environment):
            del os.environ[added]
        os.environ.update(environment)
        cv2.setNumThreads(threads)
        np.set_printoptions(**printing)
        vars(torch._tensor_str.PRINT_OPTS).update(tensors)
        for module, name, function in functions:
            setattr(module, name, function)


def _numpy(tensor: Any) -> NDArray[Any]:
    found: NDArray[Any] = tensor.cpu().numpy()
    return found
