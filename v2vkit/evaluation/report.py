"""Summarises the rows of all frames as a table, a JSON file and a plot over time."""

import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from v2vkit.artifacts.folder import Folder
from v2vkit.evaluation.compare import OURS, REAL, REAL_COARSE, REPEAT, SOURCE, Row
from v2vkit.evaluation.metrics import ms_ssim_scales

JSON_NAME = "evaluation.json"
PLOT_NAME = "evaluation.png"


class Metric(NamedTuple):
    """A column of the report: field of `Row`, heading, whether more is better, digits to print."""

    field: str
    heading: str
    more_is_better: bool
    digits: int


METRICS = (
    Metric("psnr", "PSNR dB", True, 2),
    Metric("ssim", "SSIM", True, 4),
    Metric("ms_ssim", "MS-SSIM", True, 4),
    Metric("warp_error", "warp error", False, 4),
    Metric("landmark_error", "landmark error", False, 4),
)
_ORDER = (OURS, REPEAT, SOURCE, REAL_COARSE, REAL)
_COLOURS = {OURS: "#1f77b4", REPEAT: "#d62728", SOURCE: "#ff7f0e", REAL_COARSE: "#999999", REAL: "#555555"}

Summary = dict[str, dict[str, Any]]


def summarize(rows: Sequence[Row]) -> Summary:
    """Method -> metric -> mean, median, means of the first and last third of each shot (drift), number of frames.

    A metric without frames is None. `frames` is the number of frames, `faces_missed` that of frames in which the
    expected face was not found; these are left out of the landmark error, so read the two together.
    """
    lengths: dict[str, tuple[int, int]] = {}
    for row in rows:
        low, high = lengths.get(_shot(row), (row.time, row.time))
        lengths[_shot(row)] = min(low, row.time), max(high, row.time)

    def third(row: Row) -> int:
        low, high = lengths[_shot(row)]
        return 3 * (row.time - low) // (high - low + 1)

    found: Summary = {}
    for method in _methods(rows):
        mine = [row for row in rows if row.method == method]
        entry: dict[str, Any] = {"frames": len(mine), "faces_missed": sum(row.face_missed for row in mine)}
        for metric in METRICS:
            pairs = [(third(row), getattr(row, metric.field)) for row in mine]
            entry[metric.field] = _statistics([(k, value) for k, value in pairs if value is not None])
        found[method] = entry
    return found


def _shot(row: Row) -> str:
    return row.shot or row.clip


def _methods(rows: Iterable[Row]) -> list[str]:
    names = dict.fromkeys(row.method for row in rows)
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else -1, name))


def _statistics(values: list[tuple[int, float]]) -> dict[str, float | int | None] | None:
    if not values:
        return None

    def over(function: Callable[[list[float]], Any], *thirds: int) -> float | None:
        chosen = [value for k, value in values if k in thirds]
        return round(float(function(chosen)), 6) if chosen else None

    return {
        "mean": over(np.mean, 0, 1, 2),
        "median": over(np.median, 0, 1, 2),
        "first_third": over(np.mean, 0),
        "last_third": over(np.mean, 2),
        "num": len(values),
    }


def notes(
    height: int,
    width: int,
    *,
    skip_first: int = 1,
    coarse: tuple[int, int] | None = None,
    faces: bool = True,
    flow: bool = True,
) -> list[str]:
    """Notes on how the numbers were computed, needed to compare them with others.

    Args:
        height, width: size of the frames.
        skip_first: as in `evaluate_clip`.
        coarse: (width, height) of the model's output before upsampling; None if it was not upsampled.
        faces: whether landmarks were compared.
        flow: whether there was flow of stride 1.
    """
    scales = ms_ssim_scales(height, width)
    first = "frame of every shot is" if skip_first == 1 else f"{skip_first} frames of every shot are"
    said = [
        f"The first {first} left out of the averages, because a baseline shows {'it' if skip_first == 1 else 'them'}."
    ]
    if scales == 0:
        said.append(f"MS-SSIM is left out: {width}x{height} is smaller than the 22 pixels that two scales need.")
    elif scales < 5:
        said.append(f"MS-SSIM has {scales} scales instead of 5 at {width}x{height} (first weights, rescaled to sum 1).")
    said.append(
        "Warp error: mean |x_t - warp(x_t-1, w)|, colours in [0, 1], flow w and its confidence from the real frames."
        if flow
        else "Warp error is left out: it needs flow of stride 1 (`v2v extract-flow`) of the real frames."
    )
    if coarse is not None:
        said.append(
            f"The model's frames are {coarse[0]}x{coarse[1]}, upsampled to {width}x{height}. Blur lowers warp error: "
            f'compare with "{REAL_COARSE}", the real frames at that resolution.'
        )
    if faces:
        said.append(
            "Landmark error: mean over 68 points / outer eye distance; frames in which no face was found are left out."
        )
    return said


def table(summary: Summary) -> str:
    """Table of methods by metrics: mean (first -> last third of the shots)."""
    columns = [m for m in METRICS if any(entry[m.field] is not None for entry in summary.values())]
    faces = any(entry["faces_missed"] or entry["landmark_error"] for entry in summary.values())
    head = ["", *(f"{m.heading} {'↑' if m.more_is_better else '↓'}" for m in columns), *(["no face"] if faces else [])]
    lines = [head]
    for method, entry in summary.items():
        cells = [_cell(entry[m.field], m.digits) for m in columns]
        missed = [f"{entry['faces_missed']}/{entry['frames']}"] if faces else []
        lines.append([method, *cells, *missed])
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _cell(values: dict[str, Any] | None, digits: int) -> str:
    if values is None:
        return "-"
    mean, *ends = (
        "-" if values[key] is None else f"{values[key]:.{digits}f}" for key in ("mean", "first_third", "last_third")
    )
    return f"{mean} ({ends[0]} -> {ends[1]})"


def plot(rows: Sequence[Row], *, title: str = "") -> bytes:
    """PNG with one panel per metric: mean over shots by frame number in the shot, one line per method."""
    # Without pyplot, which keeps global state and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    present = [m for m in METRICS if any(getattr(row, m.field) is not None for row in rows)]
    figure = Figure(figsize=(8, 0.6 + 2.1 * max(1, len(present))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(1, len(present)), 1, sharex=True, squeeze=False)[:, 0]
    lines: dict[str, Any] = {}
    for metric, axis in zip(present, axes, strict=False):
        for method in _methods(rows):
            frames, values = _over_time(rows, method, metric.field)
            if frames:
                style = "--" if method in (REAL, REAL_COARSE) else "-"
                (lines[method],) = axis.plot(frames, values, style, color=_COLOURS.get(method), linewidth=1.4)
        axis.set_ylabel(
            f"{metric.heading} {'(more is better)' if metric.more_is_better else '(less is better)'}", fontsize=8
        )
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("frame of the shot")
    figure.suptitle(title, fontsize=10)
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=4, fontsize=8)
    buffer = io.BytesIO()
    # Else the PNG contains the version of matplotlib.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _over_time(rows: Sequence[Row], method: str, field: str) -> tuple[list[int], list[float]]:
    at: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        value = getattr(row, field)
        if row.method == method and value is not None:
            at[row.time].append(value)
    frames = sorted(at)
    return frames, [float(np.mean(at[frame])) for frame in frames]


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
    frames = [{key: _rounded(value) for key, value in asdict(row).items()} for row in rows]
    text = json.dumps({**about, "summary": summary, "frames": frames}, indent=1, allow_nan=False)
    folder.write(JSON_NAME, (text + "\n").encode())
    folder.write(PLOT_NAME, plot(rows, title=title))


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
