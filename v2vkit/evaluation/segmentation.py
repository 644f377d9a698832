"""How good label maps are against the truth: confusion matrix, pixel accuracy, IoU of every class, and their plot."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.config import IGNORE


@dataclass(frozen=True, eq=False)
class Confusion:
    """Pixels by true and predicted class.

    Attributes:
        pixels: int64 [K, K + 1]; rows: true class, columns: predicted one, the last for 255 (nothing recognised).
        frames: that were counted.
    """

    pixels: NDArray[np.int64]
    frames: int = 0

    @property
    def num_classes(self) -> int:
        return len(self.pixels)

    @property
    def accuracy(self) -> float:
        """Share of the pixels with a true label that have it; NaN without any."""
        total = int(self.pixels.sum())
        return float(np.trace(self.pixels)) / total if total else float("nan")

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of every class [K]; NaN for those that occur neither in the truth nor as a guess."""
        return class_ious(self.pixels)

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the classes that have one; NaN without any."""
        values = self.iou[~np.isnan(self.iou)]
        return float(values.mean()) if len(values) else float("nan")


def class_ious(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Intersection / union of every class [K] from a confusion matrix [K, K + 1]; NaN where the union is empty.

    A class that was predicted and never true has IoU 0 (Cityscapes' convention).
    """
    square = counts[:, :-1]
    hits = np.diag(square).astype(np.float64)
    union = counts.sum(1) + square.sum(0) - hits
    return np.where(union > 0, hits / np.maximum(union, 1), np.nan)


def no_confusion(num_classes: int) -> Confusion:
    """Nothing counted yet."""
    return Confusion(np.zeros((num_classes, num_classes + 1), np.int64))


def counted_in(before: Confusion, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> Confusion:
    """`before` with one more frame; pixels whose true label is 255 do not count.

    Args:
        truth, predicted: label ids [H, W] below `num_classes`, or 255.
    """
    number = before.num_classes
    known = truth != IGNORE
    true = truth[known].astype(np.int64)
    said = np.where(predicted[known] == IGNORE, number, predicted[known]).astype(np.int64)
    counts = np.bincount(true * (number + 1) + said, minlength=number * (number + 1))
    return Confusion(before.pixels + counts.reshape(number, number + 1), before.frames + 1)


def summary(confusion: Confusion, names: Sequence[str]) -> dict[str, Any]:
    """As JSON; the IoU of classes that do not occur is null."""
    iou = confusion.iou
    return {
        "frames": confusion.frames,
        "pixel_accuracy": _number(confusion.accuracy),
        "mean_iou": _number(confusion.mean_iou),
        "iou": {name: _number(float(value)) for name, value in zip(names, iou, strict=True)},
        "confusion": confusion.pixels.tolist(),
    }


def summary_json(confusion: Confusion, names: Sequence[str]) -> bytes:
    return (json.dumps(summary(confusion, names), indent=1) + "\n").encode()


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def summary_text(confusion: Confusion, names: Sequence[str]) -> str:
    """One line of both means, and one of every class."""
    iou = confusion.iou
    classes = [f"{name} {value:.2f}" for name, value in zip(names, iou, strict=True) if not np.isnan(value)]
    return (
        f"pixel accuracy {confusion.accuracy:.3f}, mean IoU {confusion.mean_iou:.3f} on {confusion.frames} frames\n"
        f"  IoU: {', '.join(classes)}"
    )


def plot(confusion: Confusion, names: Sequence[str], title: str) -> bytes:
    """PNG: the confusion matrix, every row a true class and its pixels' shares, and the IoU of every class."""
    from matplotlib.figure import Figure

    shown = [i for i in range(confusion.num_classes) if confusion.pixels[i].sum() or confusion.pixels[:, i].sum()]
    columns = [*shown, *([confusion.num_classes] if confusion.pixels[:, -1].any() else [])]
    rows = confusion.pixels[shown][:, columns]
    shares = rows / np.maximum(confusion.pixels[shown].sum(1, keepdims=True), 1)
    labels = [*names, "(none)"]
    side = 3 + 0.35 * len(shown)
    figure = Figure(figsize=(side + 3.5, side), layout="constrained")
    matrix, bars = figure.subplots(1, 2, width_ratios=[side, 3])
    matrix.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "white" if share > 0.5 else "black"
            matrix.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=7, color=colour)
    matrix.set_xticks(range(len(columns)), [labels[i] for i in columns], rotation=90)
    matrix.set_yticks(range(len(shown)), [labels[i] for i in shown])
    matrix.set(xlabel="predicted", ylabel="true (shares of its pixels in %)")
    iou = np.nan_to_num(confusion.iou[shown])
    bars.barh(range(len(shown)), iou)
    bars.set_yticks(range(len(shown)), [])
    bars.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5), xlabel="IoU")
    figure.suptitle(f"{title}: pixel accuracy {confusion.accuracy:.3f}, mean IoU {confusion.mean_iou:.3f}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
