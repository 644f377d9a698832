"""`SegmentEstimator` from a checkpoint that `v2v train --method segmenter` made."""

from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import load_network
from v2vkit.classes.table import ClassTable
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.config import IGNORE
from v2vkit.engine.devices import pick_device
from v2vkit.errors import V2VError
from v2vkit.estimators.base import Segments
from v2vkit.estimators.torch_weights import one_thread
from v2vkit.models.layout import to_signed
from v2vkit.models.segmenter import SegmenterConfig

_HINT = "Give the folder of a segmenter's checkpoint with --weights, such as work/checkpoints/segmenter."
_LEAST = 32  # pixels of a side
_LONGEST = 4  # times the shorter side: a strip of a picture must not become a gigantic one


class TrainedSegment:
    """The likeliest class of every pixel; it knows no instances.

    Args:
        weights: the model file of a checkpoint.
        input_side: the frame's shorter side in pixels as the network sees it; None = as in training.
        min_score: pixels whose class has a lesser probability are 255 (ignore); None = none are.
        device: as `v2vkit.engine.devices` names it.

    Attributes:
        table: names and colours of the classes; None = they are not known.

    Raises:
        V2VError: there is no such file, it is damaged, or it holds another network.
    """

    name = "trained"

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        input_side: int | None = None,
        min_score: float | None = None,
        device: str = "cpu",
    ):
        if weights is None:
            raise V2VError("weights-missing", "A trained segmenter needs its checkpoint.", _HINT)
        path = Path(weights)
        self._open(Folder(str(path.parent)), path.name, input_side, min_score, device)

    @classmethod
    def of(cls, folder: Folder, name: str, *, device: str = "cpu") -> Self:
        """The model in a folder on any file system; arguments as of the class."""
        found = cls.__new__(cls)
        found._open(folder, name, None, None, device)
        return found

    def _open(self, folder: Folder, name: str, input_side: int | None, min_score: float | None, device: str) -> None:
        network, info = load_network(folder, name)
        if not isinstance(info.network, SegmenterConfig):
            raise V2VError(
                "model-mismatch", f"{folder.url}/{name} holds a model of {info.method}, not a segmenter.", _HINT
            )
        (condition,) = info.conditioning.conditions
        assert isinstance(condition, LabelsCondition)
        self.table: ClassTable | None = condition.classes
        self.num_labels = info.network.num_classes
        self.classes = () if self.table is None else class_names(self.table, self.num_labels)
        self.version = f"{info.network.network}, {info.identity[:12]}, {info.steps} steps"
        self._device = pick_device(device)
        self._network = network.to(self._device).eval()
        self._side = input_side or min(info.width, info.height)
        self._min_score = min_score or 0.0

    def __call__(self, image: Image) -> Segments:
        """Label ids uint8 [H, W] of an RGB uint8 [H, W, 3] image of any size."""
        height, width = image.shape[:2]
        x = to_signed(torch.from_numpy(np.ascontiguousarray(image)).to(self._device).permute(2, 0, 1)[None])
        with torch.inference_mode(), one_thread():
            scale = min(self._side / min(height, width), _LONGEST * self._side / max(height, width))
            size = max(_LEAST, round(height * scale)), max(_LEAST, round(width * scale))
            if size != (height, width):
                x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
            logits = F.interpolate(self._network(x), (height, width), mode="bilinear", align_corners=False)[0]
            labels = logits.argmax(0)
            if self._min_score:
                labels[logits.softmax(0).amax(0) < self._min_score] = IGNORE
        found: NDArray[np.uint8] = labels.to(torch.uint8).cpu().numpy()
        return Segments(found)


def class_names(table: ClassTable, num_labels: int) -> tuple[str, ...]:
    """The name of every label; ids that the table does not have are `class ID`."""
    return tuple(table.names.get(label, f"class {label}") for label in range(num_labels))
