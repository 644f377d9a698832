"""The report of an evaluation: tables, a JSON file and a plot."""

import io
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from v2vkit.artifacts.folder import Folder
from v2vkit.errors import V2VError
from v2vkit.evaluation.compare import Row
from v2vkit.evaluation.metrics.contract import OURS, REAL, REAL_COARSE, REPEAT, SOURCE
from v2vkit.evaluation.metrics.identity_distance import SAME_PERSON
from v2vkit.evaluation.metrics.ms_ssim import ms_ssim_scales
from v2vkit.evaluation.metrics.registry import MetricRow
from v2vkit.evaluation.summary import DRIFT_FRAMES, Summary, measured_in, methods_of

JSON_NAME = "evaluation.json"
PLOT_NAME = "evaluation.png"

_COLOURS = {OURS: "#1f77b4", REPEAT: "#d62728", SOURCE: "#ff7f0e", REAL_COARSE: "#999999", REAL: "#555555"}


def notes(
    metrics: Sequence[MetricRow],
    *,
    height: int,
    width: int,
    skip_first: int = 1,
    coarse: tuple[int, int] | None = None,
    left_out: Mapping[str, V2VError] | None = None,
    warnings: Mapping[str, str] | None = None,
) -> list[str]:
    """Notes on how the numbers were computed, needed to compare them with others.

    Args:
        metrics: that were computed.
        height, width: size of the frames.
        skip_first: as in `evaluate_clip`.
        coarse: (width, height) of the model's output before upsampling; None if it was not upsampled.
        left_out: metric -> why.
        warnings: metric -> why its value is not to be trusted.
    """
    names = {metric.name for metric in metrics}
    first = "frame of every shot is" if skip_first == 1 else f"{skip_first} frames of every shot are"
    lines = [
        f"The first {first} left out of the averages, because a baseline shows {'it' if skip_first == 1 else 'them'}."
    ]
    scales = ms_ssim_scales(height, width)
    if "ms_ssim" in names and scales < 5:
        lines.append(
            f"MS-SSIM has {scales} scales instead of 5 at {width}x{height} (first weights, rescaled to sum 1)."
        )
    if "warp_error" in names:
        lines.append(
            "Warp error: mean |x_t - warp(x_t-1, w)|, colours in [0, 1]; flow w and confidence of the real frames."
        )
    if coarse is not None:
        lines.append(
            f"The model's frames are {coarse[0]}x{coarse[1]}, upsampled to {width}x{height}. Blur lowers warp error: "
            f'compare with "{REAL_COARSE}", the real frames at that resolution.'
        )
    if "landmark_error" in names:
        lines.append(
            "Landmark error: mean over 68 points / outer eye distance; frames in which no face was found are left out."
        )
    if "iris_error" in names:
        lines.append(
            "Iris error: place of the iris between the eye's corners against the real frame's / eye's width; eyes that "
            "are closed in the real frame are left out."
        )
    if "identity_distance" in names:
        lines.append(
            f"Identity distance: between dlib's embeddings of the two faces; below {SAME_PERSON} they show one "
            "person; frames in which no face was found are left out."
        )
    if "pose_error" in names:
        lines.append(
            "Pose error: mean over the key points that were found / diagonal of the person; frames in which nobody was "
            "found are left out. Pose recall: share of the expected key points that were found."
        )
    lines += [f"{name}: {reason}." for name, reason in (warnings or {}).items()]
    return lines + _left_out(left_out or {})


def _left_out(errors: Mapping[str, V2VError]) -> list[str]:
    """A sentence for each reason, with the metrics that it keeps out."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, error in errors.items():
        reasons[f"{error.message.removeprefix(f'{name}: ')} {error.hint}"].append(name)
    return [f"Left out: {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def table(summary: Summary) -> str:
    """Methods by metrics as text.

    First metrics of frames: means, with first -> last third of the shots in brackets. Then metrics of sets, warp error
    / that of the real frames, and drift where shots are long enough.
    """
    measured = measured_in(summary)
    frames = [m for m in measured if m.of == "frame"]
    parts = [_frames_table(summary, frames), _further_table(summary, measured), _classes_table(summary)]
    return "\n\n".join(part for part in parts if part)


def _frames_table(summary: Summary, columns: Sequence[MetricRow]) -> str:
    missing = [
        m
        for m in columns
        if m.missed
        and any(
            (entry.get(m.name) or {}).get("num", 0) or (entry.get(m.name) or {}).get("missed", 0)
            for entry in summary.values()
        )
    ]
    head = ["", *(_heading(m) for m in columns), *(m.missed for m in missing)]
    lines = [head]
    for method, entry in summary.items():
        cells = [_cell(entry.get(m.name), m.digits) for m in columns]
        missed = [f"{(entry.get(m.name) or {}).get('missed', 0)}/{entry['frames']}" for m in missing]
        lines.append([method, *cells, *missed])
    return _aligned(lines) if columns else ""


def _further_table(summary: Summary, measured: Sequence[MetricRow]) -> str:
    """Metrics of sets, ratios to the real frames, and drift."""
    columns: list[tuple[str, dict[str, str]]] = []
    for metric in measured:
        entries = {method: entry[metric.name] for method, entry in summary.items() if entry.get(metric.name)}
        if metric.of == "set":
            columns.append((_heading(metric), {m: _number(e.get("value"), metric.digits) for m, e in entries.items()}))
            continue
        if metric.name == "warp_error" and any("of_real" in e for e in entries.values()):
            columns.append(("warp error / real", {m: _number(e.get("of_real"), 2) for m, e in entries.items()}))
        if any(e.get("drift") is not None for e in entries.values()):
            drifts = {m: _number(e.get("drift"), metric.digits, signed=True) for m, e in entries.items()}
            columns.append((f"{metric.heading}, last {DRIFT_FRAMES} - first {DRIFT_FRAMES}", drifts))
    if not columns:
        return ""
    head = ["", *summary]
    return _aligned([head, *([heading, *(cells.get(method, "-") for method in summary)] for heading, cells in columns)])


def _classes_table(summary: Summary) -> str:
    """IoU per class of our output, beside the oracle's."""
    found = (summary.get(OURS, {}).get("label_fidelity") or {}).get("classes")
    if not found:
        return ""
    lines = [["class", "IoU", "oracle", "share", ""]]
    for entry in sorted(found, key=lambda entry: entry["share"], reverse=True):
        marks = ", ".join(mark for mark in ("thin", "rare") if entry[mark])
        name = entry.get("name", str(entry["id"]))
        lines.append([name, _number(entry["iou"], 3), _number(entry.get("oracle"), 3), f"{entry['share']:.2%}", marks])
    return _aligned(lines)


def _heading(metric: MetricRow) -> str:
    return f"{metric.heading} {'↑' if metric.better == 'higher' else '↓'}"


def _number(value: float | None, digits: int, *, signed: bool = False) -> str:
    return "-" if value is None else f"{value:{'+' if signed else ''}.{digits}f}"


def _cell(values: dict[str, Any] | None, digits: int) -> str:
    if values is None or values["mean"] is None:
        return "-"
    mean, first, last = (_number(values[key], digits) for key in ("mean", "first_third", "last_third"))
    return f"{mean} ({first} -> {last})"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def plot(rows: Sequence[Row], summary: Summary, *, title: str = "") -> bytes:
    """PNG with a panel per metric: of frames over the frame number in the shot (mean over shots), of sets as bars."""
    # Without pyplot, which keeps global state and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    present = measured_in(summary)
    figure = Figure(figsize=(8, 0.6 + 2.1 * max(1, len(present))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(1, len(present)), 1, squeeze=False)[:, 0]
    lines: dict[str, Any] = {}
    for metric, axis in zip(present, axes, strict=False):
        if metric.of == "set":
            _bars(axis, summary, metric)
            continue
        for method in methods_of(rows):
            frames, values = _over_time(rows, method, metric.name)
            if frames:
                style = "--" if method in (REAL, REAL_COARSE) else "-"
                (lines[method],) = axis.plot(frames, values, style, color=_COLOURS.get(method), linewidth=1.4)
        axis.set_ylabel(_label(metric), fontsize=8)
        axis.set_xlabel("frame of the shot", fontsize=8)
        axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=4, fontsize=8)
    buffer = io.BytesIO()
    # Else the PNG contains the version of matplotlib.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _bars(axis: Any, summary: Summary, metric: MetricRow) -> None:
    values = {method: (entry.get(metric.name) or {}).get("value") for method, entry in summary.items()}
    there = {method: value for method, value in values.items() if value is not None}
    axis.barh(list(there), list(there.values()), color=[_COLOURS.get(method, "#1f77b4") for method in there])
    axis.invert_yaxis()
    axis.set_xlabel(_label(metric), fontsize=8)
    axis.tick_params(labelsize=8)


def _label(metric: MetricRow) -> str:
    return f"{metric.heading} ({'more' if metric.better == 'higher' else 'less'} is better)"


def _over_time(rows: Sequence[Row], method: str, name: str) -> tuple[list[int], list[float]]:
    at: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row.method == method and name in row.values:
            at[row.time].append(row.values[name])
    frames = sorted(at)
    return frames, [float(np.mean(at[frame])) for frame in frames]


def about_metrics(metrics: Sequence[MetricRow], about: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the report says of each metric: which way is better, unit, source, and backbone, layer, weights and size."""
    return {
        metric.name: {
            "better": metric.better,
            "unit": metric.unit,
            "source": metric.source,
            **about.get(metric.name, {}),
        }
        for metric in metrics
    }


def write_report(
    folder: Folder, rows: Sequence[Row], summary: Summary, *, about: dict[str, Any], title: str = ""
) -> None:
    """Write `evaluation.json` (about, summary, every row) and `evaluation.png`; each file is whole or absent.

    Args:
        folder: the target folder.
        rows: rows of all clips, in order.
        summary: `summarize(rows)`.
        about: what was evaluated (checkpoint, clips, size, notes), as JSON values.
        title: title of the plot.

    Raises:
        V2VError: the disk is full or the folder cannot be written.
    """
    text = json.dumps({**about, "summary": summary, "frames": list(map(_plain, rows))}, indent=1, allow_nan=False)
    folder.write(JSON_NAME, (text + "\n").encode())
    folder.write(PLOT_NAME, plot(rows, summary, title=title))


def _plain(row: Row) -> dict[str, Any]:
    values = {name: round(value, 6) for name, value in row.values.items()}
    where = {"clip": row.clip, "frame": row.frame, "method": row.method}
    return {**where, **values, "missed": list(row.missed), "shot": row.shot, "offset": row.offset}
