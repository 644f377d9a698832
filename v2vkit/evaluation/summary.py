"""From the rows of all frames to a summary per method: means, medians, drift, ratio to the real frames."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from v2vkit.evaluation.compare import Row
from v2vkit.evaluation.metrics.contract import OURS, REAL, REAL_COARSE, REPEAT, SOURCE, Values
from v2vkit.evaluation.metrics.registry import METRICS, MetricRow

DRIFT_FRAMES = 30
"""Frames at both ends of a shot whose means are compared: drift is the last ones' less the first ones'."""
_ORDER = (OURS, REPEAT, SOURCE, REAL_COARSE, REAL)

Summary = dict[str, dict[str, Any]]


def summarize(rows: Sequence[Row], sets: Mapping[str, Mapping[str, Values]] | None = None) -> Summary:
    """Per method: how many frames, and an entry for each metric.

    A metric of frames: mean, median, mean of the first and last third of each shot, mean of the first and last 30
    frames and their difference (`drift`; None unless a shot has 60 frames), number of frames, and how many were missed,
    which are left out of the mean: read the two together. `of_real`: mean / mean of the real frames, where they have
    one. None where no frame has a value. A metric of sets: its values.

    Args:
        sets: metric -> method -> values, of `Metric.compute`.
    """
    ends: dict[str, tuple[int, int]] = {}
    for row in rows:
        low, high = ends.get(shot_of(row), (row.time, row.time))
        ends[shot_of(row)] = min(low, row.time), max(high, row.time)
    measured = [m for m in METRICS if any(m.name in row.values or m.name in row.missed for row in rows)]
    found: Summary = {}
    for method in methods_of(rows):
        mine = [row for row in rows if row.method == method]
        entry: dict[str, Any] = {"frames": len(mine)}
        for metric in measured:
            entry[metric.name] = _statistics(mine, metric, ends)
        found[method] = entry
    for metric in measured:
        _add_ratios(found, metric.name)
    for name, values in (sets or {}).items():
        for method, entry in values.items():
            found.setdefault(method, {})[name] = _rounded(entry)
    return {method: found[method] for method in _sorted(found)}


def measured_in(summary: Summary) -> list[MetricRow]:
    """The metrics that some method has, in the registry's order."""
    return [m for m in METRICS if any(entry.get(m.name) is not None for entry in summary.values())]


def shot_of(row: Row) -> str:
    return row.shot or row.clip


def methods_of(rows: Iterable[Row]) -> list[str]:
    """The methods in the order of tables: ours and other outputs first, the real frames last."""
    return _sorted(dict.fromkeys(row.method for row in rows))


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else -1, name))


def _statistics(rows: Sequence[Row], metric: MetricRow, ends: Mapping[str, tuple[int, int]]) -> dict[str, Any] | None:
    missed = sum(metric.name in row.missed for row in rows)
    there = [row for row in rows if metric.name in row.values]
    if not there and not missed:
        return None

    def over(function: Callable[[list[float]], Any], wanted: Callable[[Row], bool]) -> float | None:
        chosen = [row.values[metric.name] for row in there if wanted(row)]
        return round(float(function(chosen)), 6) if chosen else None

    def third(row: Row) -> int:
        low, high = ends[shot_of(row)]
        return 3 * (row.time - low) // (high - low + 1)

    def long(row: Row) -> bool:
        low, high = ends[shot_of(row)]
        return high - low + 1 >= 2 * DRIFT_FRAMES

    first = over(np.mean, lambda row: long(row) and row.time < ends[shot_of(row)][0] + DRIFT_FRAMES)
    last = over(np.mean, lambda row: long(row) and row.time > ends[shot_of(row)][1] - DRIFT_FRAMES)
    return {
        "mean": over(np.mean, lambda row: True),
        "median": over(np.median, lambda row: True),
        "first_third": over(np.mean, lambda row: third(row) == 0),
        "last_third": over(np.mean, lambda row: third(row) == 2),
        "first_30": first,
        "last_30": last,
        "drift": None if first is None or last is None else round(last - first, 6),
        "num": len(there),
        **({"missed": missed} if metric.missed else {}),
    }


def _add_ratios(summary: Summary, name: str) -> None:
    real = (summary.get(REAL, {}).get(name) or {}).get("mean")
    for method, entry in summary.items():
        values = entry.get(name)
        if real and method != REAL and values is not None and values["mean"] is not None:
            values["of_real"] = round(values["mean"] / real, 4)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value
