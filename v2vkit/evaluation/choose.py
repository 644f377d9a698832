"""Which metrics are computed: those that were asked for, or all whose needs are met; and why others are left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from v2vkit import weights
from v2vkit.errors import V2VError
from v2vkit.estimators.registry import how_to_install
from v2vkit.evaluation.metrics.registry import METRICS, MetricRow, Need, rows
from v2vkit.weights.registry import how_to_get, known


@dataclass(frozen=True)
class Available:
    """What there is to measure.

    Attributes:
        missing: need -> why it cannot be met here, and what to do; one that is not named is met.
        height, width: of the frames.
        shots: measured frames of each shot.
        real_shots: the same of the real footage, where it is not the same footage.
    """

    missing: Mapping[Need, tuple[str, str]]
    height: int
    width: int
    shots: tuple[int, ...]
    real_shots: tuple[int, ...] | None = None

    def count(self, row: MetricRow) -> int:
        """Frames or clips that a metric will have, of the smaller set."""
        sets = (self.shots, self.shots if self.real_shots is None else self.real_shots)
        length = row.clip_frames or 1
        return min(sum(frames // length for frames in shots) for shots in sets)


@dataclass(frozen=True)
class Choice:
    """The metrics of a run.

    Attributes:
        rows: those that are computed.
        left_out: name -> why it is not, for those that nobody asked for by name.
        warnings: name -> why its value is not to be trusted.
        weights: name in the store -> file.
    """

    rows: tuple[MetricRow, ...]
    left_out: Mapping[str, V2VError]
    warnings: Mapping[str, str]
    weights: Mapping[str, Path]


def choose(names: tuple[str, ...], available: Available) -> Choice:
    """The metrics that are computed.

    Args:
        names: those that were asked for; none = all whose needs are met.

    Raises:
        V2VError: one that was asked for cannot be computed.
    """
    left_out: dict[str, V2VError] = {}
    for row in rows(names):
        if (obstacle := _obstacle(row, available)) is None:
            continue
        if names:
            raise obstacle
        left_out[row.name] = obstacle
    chosen = tuple(row for row in rows(names) if row.name not in left_out)
    files = {name: path for row in chosen for name in row.weights if (path := weights.find(name)) is not None}
    return Choice(chosen, left_out, _warnings(chosen, available), files)


def _obstacle(row: MetricRow, available: Available) -> V2VError | None:
    """Why a metric cannot be computed: the first need that is not met."""
    for need in row.needs:
        if need in available.missing:
            reason, hint = available.missing[need]
            return V2VError("metric-unsupported", f"{row.name}: {reason}.", hint)
    if min(available.height, available.width) < row.min_side:
        return V2VError(
            "size-too-small",
            f"{row.name}: frames of {available.width}x{available.height} are smaller than {row.min_side} pixels.",
            "Evaluate larger frames, or choose other metrics.",
        )
    for name in row.weights:
        if weights.find(name) is None:
            get = f"Get them: {how_to_get(known(name))}."
            return V2VError("weights-missing", f"{row.name}: the weights {name} are not here.", get)
    if row.library and find_spec(row.library) is None:
        return V2VError(
            "library-missing",
            f"{row.name}: the package {row.library} is not installed.",
            how_to_install(row.library),
        )
    if (count := available.count(row)) < row.min_count:
        return V2VError(
            "frames-too-few",
            f"{row.name}: there are {count} {row.counted}; it needs {row.min_count}.",
            "Ingest more footage.",
        )
    return None


def _warnings(chosen: tuple[MetricRow, ...], available: Available) -> dict[str, str]:
    return {
        row.name: f"{count} {row.counted}, {row.good_count} or more are usual: compare only values of equal numbers"
        for row in chosen
        if (count := available.count(row)) < row.good_count
    }


def list_metrics() -> str:
    """The table of all metrics as text."""
    head = ("name", "better", "unit", "needs", "at least (usual)", "source")
    lines = [head, *(_line(row) for row in METRICS)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _line(row: MetricRow) -> tuple[str, ...]:
    needs = [_NEEDS[need] for need in row.needs]
    needs += [f"{name}{'' if weights.find(name) else ' (missing)'}" for name in row.weights]
    if row.library:
        needs.append(f"{row.library}{'' if find_spec(row.library) else ' (missing)'}")
    if row.min_side > 1:
        needs.append(f"side {row.min_side}")
    count = f"{row.min_count} ({row.good_count}) {row.counted}" if row.min_count > 1 else ""
    return (row.name, row.better, row.unit, ", ".join(needs), count, row.source)


_NEEDS: dict[Need, str] = {
    "counterpart": "real frame",
    "flow": "flow",
    "landmarks": "face model",
    "irises": "face model (mediapipe)",
    "people": "pose model",
    "labels": "label model, --segmenter",
}
