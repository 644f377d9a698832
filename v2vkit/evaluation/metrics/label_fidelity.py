"""Label fidelity: a fixed network segments the output, and its labels are compared with the input's.

Pixel accuracy and mean IoU from one confusion matrix over all frames (pix2pixHD, S-Flow GAN), divided by what the same
network reaches on the real frames: the oracle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.conditions.label_ids import colorize, instance_edges
from v2vkit.config import IGNORE
from v2vkit.evaluation.metrics.contract import REAL, SOURCE, Batch, Metric, Value, Values
from v2vkit.evaluation.metrics.repeated import Repeated
from v2vkit.evaluation.metrics.setup import LabelMap, Segmenter, Setup
from v2vkit.evaluation.segmentation import Confusion, counted_in, no_confusion

RARE = 0.01
"""Share of the labelled pixels below which a class is called rare."""
THIN = 6
"""Mean width in pixels (twice the area / border) below which a class is called thin."""
_WORST = 4

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Worst:
    """A frame that is among the worst."""

    accuracy: float
    where: str
    image: Image
    expected: LabelMap
    found: LabelMap


class LabelFidelity:
    """See the top of this file.

    Args:
        segmenter: the fixed network.
    """

    def __init__(self, segmenter: Segmenter):
        self.about: Mapping[str, Any] = {"backbone": segmenter.name}
        self._segmenter = segmenter
        self._find = Repeated(lambda images: [segmenter.label(image) for image in images])
        self._counts: dict[str, Confusion] = {}
        self._none = no_confusion(segmenter.num_labels)
        self._border: Counts = np.zeros(segmenter.num_labels, np.int64)
        self._measured: str | None = None  # the method beside which the expected labels' borders are counted
        self._worst: dict[str, list[_Worst]] = {}

    def update(self, batch: Batch) -> Sequence[Value]:
        expected = batch.beside.get("labels")
        if expected is None or batch.method == SOURCE:  # which is no picture that the network could know
            return [None] * len(batch.images)
        self._measured = self._measured or batch.method
        found = self._find(batch.method, batch.images)
        values: list[Value] = []
        rows = zip(batch.times, batch.images, found, expected, strict=True)
        for time, image, labels, wanted in rows:
            self._counts[batch.method] = counted_in(self._counts.get(batch.method, self._none), wanted, labels)
            if batch.method == self._measured:
                self._border += borders(wanted, self._segmenter.num_labels)
            accuracy = _known(counted_in(self._none, wanted, labels).accuracy)
            values.append(accuracy)
            if accuracy is not None:
                self._remember(batch.method, _Worst(accuracy, f"{batch.shot} {time}", image, wanted, labels))
        return values

    def _remember(self, method: str, frame: _Worst) -> None:
        worst = [*self._worst.get(method, []), frame]
        self._worst[method] = sorted(worst, key=lambda w: w.accuracy)[:_WORST]

    def compute(self) -> dict[str, Values]:
        return {method: self._values(method, counts) for method, counts in self._counts.items()}

    def _values(self, method: str, counts: Confusion) -> Values:
        oracle = self._counts.get(REAL)
        miou, accuracy = _known(counts.mean_iou), _known(counts.accuracy)
        values: Values = {"value": miou, "miou": miou, "pixel_accuracy": accuracy}
        if oracle is not None:
            values["miou_of_oracle"] = _ratio(miou, oracle.mean_iou)
            values["pixel_accuracy_of_oracle"] = _ratio(accuracy, oracle.accuracy)
        shares = counts.pixels.sum(1) / max(1, counts.pixels.sum())
        there = np.flatnonzero(~np.isnan(counts.iou))
        values["classes"] = [self._class(int(k), counts, oracle, float(shares[k])) for k in there]
        values["worst_frames"] = [[w.where, round(w.accuracy, 6)] for w in self._worst.get(method, [])]
        return values

    def _class(self, label: int, counts: Confusion, oracle: Confusion | None, share: float) -> dict[str, Any]:
        area = self._counts[self._measured or REAL].pixels.sum(1)[label]
        found: dict[str, Any] = {"id": label, "iou": _known(float(counts.iou[label]))}
        if self._segmenter.classes:
            found["name"] = self._segmenter.classes[label]
        if oracle is not None:
            found["oracle"] = _known(float(oracle.iou[label]))
        found |= {"share": share, "rare": share < RARE, "thin": bool(2 * area < THIN * self._border[label])}
        return found

    def pictures(self) -> dict[str, Image]:
        """The worst frames of each method but the real one: frame | expected labels | recognised labels."""
        return {
            f"worst-{method.replace(' ', '-')}": np.concatenate(
                [np.concatenate([w.image, colorize(w.expected), colorize(w.found)], 1) for w in frames], 0
            )
            for method, frames in self._worst.items()
            if method != REAL
        }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _ratio(value: float | None, oracle: float) -> float | None:
    return value / oracle if value is not None and oracle > 0 else None


def borders(labels: LabelMap, num_labels: int) -> Counts:
    """Pixels of each label beside a pixel of another one, [num_labels]."""
    edge = instance_edges(labels) & (labels != IGNORE)
    return np.bincount(labels[edge], minlength=num_labels)[:num_labels]


def open_metric(setup: Setup) -> Metric:
    assert setup.segmenter is not None, "needs a segmentation network"
    return LabelFidelity(setup.segmenter)
