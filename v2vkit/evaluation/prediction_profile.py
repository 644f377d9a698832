"""Where predicted label maps are wrong: by class, by distance to a border between labels, by motion, and by change.

Every known pixel of a real map belongs to one group of each kind: it lies near a border or inside an object, its label
is that of the last observed map or has changed, and, where flow is known, it moves slowly or fast.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.label_ids import instance_edges
from v2vkit.evaluation.prediction import HORIZONS, PredictionScores
from v2vkit.evaluation.segmentation import class_ious

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

BORDER = 2
"""Width in pixels, on each side, of what is near a border: pixels beside another label (or none) are the first, and the
pixels around those the second."""
SPEEDS = (0.5, 2.0)
"""Limits of slow, moderate and fast motion, in pixels per frame."""


@dataclass
class ErrorProfile:
    """Pixels and errors over all starts, at the steps of `HORIZONS`.

    Attributes:
        counts: step -> group -> method -> pixels and wrong pixels.
    """

    counts: dict[int, dict[str, dict[str, tuple[int, int]]]] = field(default_factory=dict)

    def add(self, method: str, step: int, labels: Labels, real: Labels, groups: Mapping[str, Mask]) -> None:
        """Count one predicted map.

        Args:
            labels, real: predicted and real labels, uint8 [H, W].
            groups: of the real map, see `pixel_groups`.
        """
        wrong = labels != real
        for name, mask in groups.items():
            of_group = self.counts.setdefault(step, {}).setdefault(name, {})
            pixels, errors = of_group.get(method, (0, 0))
            of_group[method] = pixels + int(mask.sum()), errors + int((wrong & mask).sum())


def pixel_groups(real: Labels, last: Labels, flow: NDArray[np.float32] | None, num_labels: int) -> dict[str, Mask]:
    """The groups of the pixels of a real map.

    Args:
        real: its labels, uint8 [H, W]; pixels that are not below `num_labels` are in no group.
        last: labels of the last observed map.
        flow: backward flow of the real frame, float32 [H, W, 2] in pixels; None = not known.

    Returns:
        Group -> bool [H, W].
    """
    known = real < num_labels
    near, changed = _grown(instance_edges(real), BORDER - 1), real != last
    groups = {
        "all": known,
        f"within {BORDER} px of a border": known & near,
        "inside an object": known & ~near,
        "label as in the last map": known & ~changed,
        "label has changed": known & changed,
    }
    if flow is not None:
        speed = np.hypot(flow[..., 0], flow[..., 1])
        slow, fast = SPEEDS
        groups[f"moves < {slow:g} px a frame"] = known & (speed < slow)
        groups[f"moves {slow:g} to {fast:g} px"] = known & (speed >= slow) & (speed < fast)
        groups[f"moves >= {fast:g} px"] = known & (speed >= fast)
    return groups


def _grown(mask: Mask, pixels: int) -> Mask:
    """The mask and what lies within `pixels` of it in both axes."""
    height, width = mask.shape
    padded = np.pad(mask, pixels)
    grown = np.zeros_like(mask)
    for y in range(2 * pixels + 1):
        for x in range(2 * pixels + 1):
            grown |= padded[y : y + height, x : x + width]
    return grown


def profile_json(
    profile: ErrorProfile, scores: PredictionScores, names: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """The profile as JSON values.

    Args:
        scores: whose confusion matrices give the classes.
        names: label -> name of the class.

    Returns:
        `classes`: for each label that occurs its share of the real pixels and its IoU, method -> step -> value;
        `groups`: for each step and group its share of the pixels, the share of wrong pixels by method (`error`), and
        the share of all errors of the method that lie in the group (`of_errors`).
    """
    return {"border_px": BORDER, "classes": _classes(scores, names or {}), "groups": _groups(profile)}


def _classes(scores: PredictionScores, names: Mapping[int, str]) -> list[dict[str, Any]]:
    if not scores.confusions:
        return []
    shown = _steps(min(len(steps) for steps in scores.confusions.values()))
    ious = {method: {step: class_ious(steps[step]) for step in shown} for method, steps in scores.confusions.items()}
    real = sum(counts.sum(1) for counts in next(iter(scores.confusions.values())).values())
    rows = []
    for label in np.flatnonzero(real):
        row: dict[str, Any] = {"id": int(label), "share": round(float(real[label] / real.sum()), 6)}
        if int(label) in names:
            row["name"] = names[int(label)]
        row["iou"] = {
            method: {str(step): _rounded(values[label]) for step, values in found.items()}
            for method, found in ious.items()
        }
        rows.append(row)
    return rows


def _groups(profile: ErrorProfile) -> list[dict[str, Any]]:
    rows = []
    for step, groups in sorted(profile.counts.items()):
        every = groups["all"]
        for name, methods in groups.items():
            pixels, total = next(iter(methods.values()))[0], next(iter(every.values()))[0]
            rows.append(
                {
                    "step": step,
                    "group": name,
                    "share": round(pixels / max(1, total), 6),
                    "error": {method: round(wrong / max(1, of), 6) for method, (of, wrong) in methods.items()},
                    "of_errors": {
                        method: round(wrong / max(1, every[method][1]), 6) for method, (_, wrong) in methods.items()
                    },
                }
            )
    return rows


def _steps(longest: int) -> list[int]:
    return sorted({min(step, longest) for step in HORIZONS})


def is_profiled(step: int, frames: int) -> bool:
    """Whether errors are counted at this step, when `frames` are predicted."""
    return step in _steps(frames)


def profile_text(found: Mapping[str, Any]) -> str:
    """Two tables of the last step: the share of wrong pixels by group, and the IoU by class.

    Args:
        found: see `profile_json`.
    """
    groups = [row for row in found["groups"] if row["step"] == found["groups"][-1]["step"]]
    step, methods = groups[0]["step"], list(groups[0]["error"])
    head = (f"wrong pixels at t+{step}", "pixels", *methods)
    lines = [(row["group"], _cell(row["share"]), *(_cell(row["error"][m]) for m in methods)) for row in groups]
    classes = [
        (str(row.get("name", f"label {row['id']}")), _cell(row["share"]), *_ious(row["iou"], methods, step))
        for row in found["classes"]
    ]
    return f"{_table([head, *lines])}\n\n{_table([(f'IoU at t+{step}', *head[1:]), *classes])}"


def _ious(values: Mapping[str, Mapping[str, float | None]], methods: Sequence[str], step: int) -> list[str]:
    return [_cell(values[method][str(step)]) for method in methods]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _table(rows: Iterable[Sequence[str]]) -> str:
    lines = list(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def plot_profile(found: Mapping[str, Any], *, title: str = "") -> bytes:
    """PNG with two panels of the last step: wrong pixels by group, IoU by class; one bar per method.

    Args:
        found: see `profile_json`.
    """
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = [row for row in found["groups"] if row["step"] == found["groups"][-1]["step"]]
    step, methods = groups[0]["step"], list(groups[0]["error"])
    panels = (
        (f"share of wrong pixels at t+{step}", [row["group"] for row in groups], [row["error"] for row in groups]),
        (
            f"IoU at t+{step}",
            [str(row.get("name", row["id"])) for row in found["classes"]],
            [{method: row["iou"][method][str(step)] for method in methods} for row in found["classes"]],
        ),
    )
    rows = sum(len(names) for _, names, _ in panels)
    figure = Figure(figsize=(8, 1.2 + 0.14 * rows * (len(methods) + 1)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 1, height_ratios=[len(names) for _, names, _ in panels])
    for axis, (label, names, values) in zip(axes, panels, strict=True):
        for number, method in enumerate(methods):
            places = [row + (number + 0.5) / (len(methods) + 1) - 0.5 for row in range(len(names))]
            axis.barh(places, [of[method] or 0 for of in values], 0.8 / (len(methods) + 1), label=method)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.invert_yaxis()
        axis.set_xlabel(label, fontsize=8)
        axis.grid(alpha=0.3, axis="x")
    axes[0].legend(fontsize=7)
    figure.suptitle(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
