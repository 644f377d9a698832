"""Label fidelity: a fixed network segments the output, and its labels are compared with the input's.

Pixel accuracy and mean IoU from one confusion matrix over all frames (pix2pixHD, S-Flow GAN), divided by what the same
network reaches on the real frames: the oracle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.label_ids import colorize, instance_edges
from v2vkit.config import IGNORE
from v2vkit.evaluation.metrics.contract import REAL, SOURCE, Batch, Image, Metric, Value, Values
from v2vkit.evaluation.metrics.repeated import Repeated
from v2vkit.evaluation.metrics.setup import LabelMap, Segmenter, Setup

RARE = 0.01
"""Share of the labelled pixels below which a class is called rare."""
THIN = 6
"""Mean width in pixels (twice the area / border) below which a class is called thin."""
_WORST = 4

Counts = NDArray[np.int64]


def confusion(found: LabelMap, expected: LabelMap, num_labels: int) -> Counts:
    """Pixels by (expected, found) label, [num_labels, num_labels + 1]; the last column is what was not recognised.

    Pixels whose expected label is 255 (ignore) are not counted.
    """
    counted = expected != IGNORE
    columns = np.where(found < num_labels, found, num_labels).astype(np.int64)[counted]
    rows = expected.astype(np.int64)[counted]
    size = num_labels * (num_labels + 1)
    return np.bincount(rows * (num_labels + 1) + columns, minlength=size).reshape(num_labels, num_labels + 1)


def scores(counts: Counts) -> Values:
    """Pixel accuracy and IoU from a confusion matrix.

    Returns:
        `pixel_accuracy`, `miou` (mean over the classes that are expected somewhere) and `iou`: per class, None for a
        class that is expected nowhere.
    """
    right = np.diagonal(counts).astype(np.float64)
    expected, found = counts.sum(1), counts[:, :-1].sum(0)
    union = expected + found - right
    iou = [float(r / u) if e else None for r, u, e in zip(right, union, expected, strict=True)]
    known = [value for value in iou if value is not None]
    total = counts.sum()
    return {
        "pixel_accuracy": float(right.sum() / total) if total else None,
        "miou": float(np.mean(known)) if known else None,
        "iou": iou,
    }


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
        self._counts: dict[str, Counts] = {}
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
            counts = confusion(labels, wanted, self._segmenter.num_labels)
            self._counts[batch.method] = self._counts.get(batch.method, 0) + counts
            if batch.method == self._measured:
                self._border += borders(wanted, self._segmenter.num_labels)
            accuracy = scores(counts)["pixel_accuracy"]
            values.append(accuracy)
            if accuracy is not None:
                self._remember(batch.method, _Worst(accuracy, f"{batch.shot} {time}", image, wanted, labels))
        return values

    def _remember(self, method: str, frame: _Worst) -> None:
        worst = [*self._worst.get(method, []), frame]
        self._worst[method] = sorted(worst, key=lambda w: w.accuracy)[:_WORST]

    def compute(self) -> dict[str, Values]:
        oracle = scores(self._counts[REAL]) if REAL in self._counts else None
        return {method: self._values(method, counts, oracle) for method, counts in self._counts.items()}

    def _values(self, method: str, counts: Counts, oracle: Values | None) -> Values:
        own = scores(counts)
        values: Values = {"value": own["miou"], "miou": own["miou"], "pixel_accuracy": own["pixel_accuracy"]}
        if oracle is not None:
            for key in ("miou", "pixel_accuracy"):
                values[f"{key}_of_oracle"] = own[key] / oracle[key] if own[key] is not None and oracle[key] else None
        pixels = counts.sum(1)
        values["classes"] = [self._class(label, own, oracle, pixels) for label in np.flatnonzero(pixels).tolist()]
        values["worst_frames"] = [[w.where, round(w.accuracy, 6)] for w in self._worst.get(method, [])]
        return values

    def _class(self, label: int, own: Values, oracle: Values | None, pixels: Counts) -> dict[str, Any]:
        area = self._counts[self._measured or REAL].sum(1)[label]
        found: dict[str, Any] = {"id": label, "iou": own["iou"][label]}
        if self._segmenter.classes:
            found["name"] = self._segmenter.classes[label]
        if oracle is not None:
            found["oracle"] = oracle["iou"][label]
        found["share"] = float(pixels[label] / pixels.sum())
        found["rare"] = bool(found["share"] < RARE)
        found["thin"] = bool(2 * area < THIN * self._border[label])
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


def borders(labels: LabelMap, num_labels: int) -> Counts:
    """Pixels of each label beside a pixel of another one, [num_labels]."""
    edge = instance_edges(labels) & (labels != IGNORE)
    return np.bincount(labels[edge], minlength=num_labels)[:num_labels]


def open_metric(setup: Setup) -> Metric:
    assert setup.segmenter is not None, "needs a segmentation network"
    return LabelFidelity(setup.segmenter)
