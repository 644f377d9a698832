"""Measures predicted labels and frames by the number of steps into the future, and simple baselines of prediction.

Protocol (Wu et al. 2020): observe 4 frames, predict 10; values at the next frame and means over the next 5 and 10.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.conditions.flow import warp_backward
from v2vkit.evaluation.metrics.contract import Batch, Metric
from v2vkit.evaluation.segmentation import class_ious

Labels = NDArray[np.uint8]
FloatMap = NDArray[np.float32]

COPY_LABELS, WARP_LABELS = "copy the last labels", "warp the last labels by the last flow"
REPEAT_FRAME, WARP_FRAME = "repeat the last frame", "warp the last frame by the last flow"
MIOU = "mIoU"
HORIZONS = (1, 5, 10)


@dataclass
class PredictionScores:
    """Sums over all starts, by method and step (1 = the next frame).

    Attributes:
        confusions: method -> step -> pixels by real label (rows) and predicted label, int64 [K, K + 1]; the last column
            counts predictions without a label of the model.
        values: metric -> method -> step -> one value per start.
    """

    confusions: dict[str, dict[int, NDArray[np.int64]]] = field(default_factory=dict)
    values: dict[str, dict[str, dict[int, list[float]]]] = field(default_factory=dict)

    def add_labels(self, method: str, step: int, labels: Labels, real: Labels, num_labels: int) -> None:
        """Count the labels of one predicted map; pixels whose real label is not below `num_labels` do not count."""
        found, steps = confusion(labels, real, num_labels), self.confusions.setdefault(method, {})
        steps[step] = steps.get(step, np.zeros_like(found)) + found

    def add_frames(
        self,
        method: str,
        images: Sequence[Image],
        real: Sequence[Image],
        metrics: Mapping[str, Metric],
        *,
        start: str,
        places: Sequence[tuple[str, int]],
    ) -> None:
        """Measure the predicted frames of one start, from step 1 on; metrics of sets only collect them.

        Args:
            start: a name of the start.
            places: clip and number of each real frame: those of overlapping starts are the same.
        """
        batch = Batch(method, start, start, range(len(images)), images, real, beside={"place": places})
        for name, metric in metrics.items():
            for step, value in enumerate(metric.update(batch), 1):
                if isinstance(value, float):
                    self.values.setdefault(name, {}).setdefault(method, {}).setdefault(step, []).append(value)

    def curves(self) -> dict[str, dict[str, list[float]]]:
        """Metric -> method -> value at each step, from 1."""
        found: dict[str, dict[str, list[float]]] = {}
        if self.confusions:
            found[MIOU] = {
                method: [mean_iou(steps[step]) for step in sorted(steps)] for method, steps in self.confusions.items()
            }
        for name, methods in self.values.items():
            found[name] = {
                method: [float(np.mean(steps[step])) for step in sorted(steps)] for method, steps in methods.items()
            }
        return found


def confusion(labels: Labels, real: Labels, num_labels: int) -> NDArray[np.int64]:
    """Pixels by real label (rows) and predicted label, [K, K + 1]; see `PredictionScores.confusions`."""
    known = real < num_labels
    predicted = np.minimum(labels[known].astype(np.int64), num_labels)
    pairs = real[known].astype(np.int64) * (num_labels + 1) + predicted
    counts = np.bincount(pairs, minlength=num_labels * (num_labels + 1))
    return counts.reshape(num_labels, num_labels + 1).astype(np.int64)


def mean_iou(counts: NDArray[np.int64]) -> float:
    """Mean over the labels that occur of intersection / union, from a confusion matrix [K, K + 1]."""
    found = class_ious(counts)
    return float(np.nanmean(found)) if not np.isnan(found).all() else 0.0


def admissible_starts(length: int, *, observe: int, frames: int, every: int = 1) -> range:
    """Numbers of the first observed frame from which so many frames can be observed and predicted in a shot."""
    return range(0, max(0, length - observe - frames + 1), every)


def predicted_places(starts: range, frames: int) -> int:
    """Number of different frames that are predicted from these starts of one shot."""
    return frames + (len(starts) - 1) * min(frames, starts.step) if starts else 0


def motion_ahead(flow: FloatMap) -> Iterator[FloatMap]:
    """Displacements into the last observed frame for the next steps, if its backward flow goes on unchanged.

    Step k follows the flow field k times back: D_k(p) = D_{k-1}(p) + flow(p + D_{k-1}(p)).

    Args:
        flow: backward flow of the last observed frame, float32 [H, W, 2] in pixels.

    Yields:
        float32 [H, W, 2]: pixel p of step k shows what is at p + D_k(p) in the last observed frame.
    """
    displacement = flow.astype(np.float32)
    while True:
        yield displacement
        displacement = displacement + warp_backward(flow.astype(np.float32), displacement)


def warp_labels(labels: Labels, displacement: FloatMap) -> Labels:
    """Labels [H, W] moved by nearest neighbour, the border replicated."""
    height, width = labels.shape
    column = np.rint(np.arange(width) + displacement[..., 0]).clip(0, width - 1).astype(np.int64)
    row = np.rint(np.arange(height)[:, None] + displacement[..., 1]).clip(0, height - 1).astype(np.int64)
    moved: Labels = labels[row, column]
    return moved


def summary_text(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """One table per metric: methods by horizons.

    mIoU is of step t+k alone; the other metrics are means over the next k frames, as prediction boards print them.
    """
    tables = []
    for metric, methods in curves.items():
        longest = max(len(values) for values in methods.values())
        horizons = sorted({min(k, longest) for k in HORIZONS})
        heads = [f"t+{k}" if k == 1 or metric == MIOU else f"1-{k}" for k in horizons]
        width = max(len(name) for name in (metric, *methods))
        lines = ["  ".join([metric.ljust(width), *(head.rjust(7) for head in heads)])]
        for method, values in methods.items():
            cells = [f"{at_horizon(values, k, mean=metric != MIOU):.4f}".rjust(7) for k in horizons]
            lines.append("  ".join([method.ljust(width), *cells]))
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def sets_text(sets: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """One table per metric of whole sets of predicted frames: metric -> method -> values (`Metric.compute`)."""
    lines = []
    for metric, methods in sets.items():
        width = max(len(name) for name in (metric, *methods))
        rows = (f"{name.ljust(width)}  {found['value']:.4f}" for name, found in methods.items())
        lines += [metric, *rows, ""]
    return "\n".join(lines).rstrip()


def at_horizon(values: Sequence[float], k: int, *, mean: bool) -> float:
    """The value at step k, or the mean over the steps up to k."""
    return float(np.mean(values[:k])) if mean else values[k - 1]


def plot_curves(curves: Mapping[str, Mapping[str, Sequence[float]]], *, title: str = "") -> bytes:
    """PNG with one panel per metric: value by step into the future, one line per method."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.6 + 2.4 * max(1, len(curves))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(1, len(curves)), 1, squeeze=False)[:, 0]
    for (metric, methods), axis in zip(curves.items(), axes, strict=False):
        for method, values in methods.items():
            axis.plot(range(1, len(values) + 1), values, marker=".", label=method, linewidth=1.4)
        axis.set_ylabel(metric, fontsize=8)
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("step into the future")
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def report_json(curves: Mapping[str, Mapping[str, Sequence[float]]], about: Mapping[str, Any]) -> dict[str, Any]:
    """What was evaluated and every curve, as JSON values."""
    rounded = {
        metric: {method: [round(value, 6) for value in values] for method, values in methods.items()}
        for metric, methods in curves.items()
    }
    return {**about, "curves": rounded}
