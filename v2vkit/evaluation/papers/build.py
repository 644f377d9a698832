"""Builds tables from evaluations: a row for each model, a column for each metric, a table for each set of clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from v2vkit.errors import V2VError, counted
from v2vkit.evaluation.metrics.contract import OURS, REAL, REPEAT
from v2vkit.evaluation.metrics.registry import METRICS, MetricRow
from v2vkit.evaluation.papers.published import PublishedTable
from v2vkit.evaluation.papers.results import Result

Preferences = Mapping[tuple[str, str], str]
"""(a, b), labels of two rows -> how often a was preferred to b, as text."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        heading: with an arrow to the better side; of published numbers, without.
        better: which way is better; "" = values are text.
        digits: that are printed.
        kind: where its values come from.
    """

    heading: str
    better: str = ""
    digits: int = 4
    kind: str = "measured"


@dataclass(frozen=True)
class Row:
    """A row: a model, a baseline, or a method of which there are only published numbers.

    Attributes:
        label: its name.
        values: heading -> number, or text if published or of a study.
        model: what was evaluated: checkpoint, steps, report; {} for other rows.
    """

    label: str
    values: dict[str, float | str]
    model: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table about one set of clips.

    Attributes:
        title: workspace of the clips, their number and size.
        notes: sources, what is left out and why, what is out of date.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def build_tables(
    results: Sequence[Result],
    *,
    labels: Mapping[str, str],
    metrics: Sequence[str] = (),
    published: PublishedTable | None = None,
    preferences: Preferences | None = None,
    baselines: bool = True,
) -> list[Table]:
    """One table for each set of clips, the one with fewest frames (short sequences) first.

    Args:
        results: the reports.
        labels: name of a report (`spatial-1-no-flow`, or `WORKSPACE/NAME`) -> label: only these, in this order;
            {} = all, by `Result.label`.
        metrics: columns; () = all that were measured.
        published: numbers to show beside.
        preferences: of a study, to show beside.
        baselines: whether "repeat first frame" and the real frames have rows.

    Raises:
        V2VError: `labels` names a report that does not exist.
    """
    if lost := [name for name in labels if not any(name in _names(result) for result in results)]:
        raise V2VError(
            "evaluation-missing",
            f"There is no report named {lost[0]}.",
            f"There are: {', '.join(dict.fromkeys(result.name for result in results))}.",
        )
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(result.group, []).append(result)
    tables = []
    for group in sorted(groups.values(), key=lambda group: _num_frames(group[0])):
        named = _named(group, labels)
        if named:
            tables.append(_table(named, metrics, published, preferences or {}, baselines))
    return tables


def _names(result: Result) -> tuple[str, str]:
    return result.name, f"{result.workspace}/{result.name}"


def _named(group: Sequence[Result], labels: Mapping[str, str]) -> list[tuple[str, Result]]:
    """The results with their labels, in the order of the rows; equal labels are told apart by workspace or name."""
    if labels:
        return [(label, result) for name, label in labels.items() for result in group if name in _names(result)]
    ordered = sorted(group, key=lambda result: result.label != "vid2vid")
    count = [result.label for result in ordered].count
    several = len({result.workspace for result in ordered}) > 1
    return [(of.label if count(of.label) < 2 else f"{of.label} ({_names(of)[several]})", of) for of in ordered]


def _table(
    named: Sequence[tuple[str, Result]],
    metrics: Sequence[str],
    published: PublishedTable | None,
    preferences: Preferences,
    baselines: bool,
) -> Table:
    chosen = [row for row in METRICS if not metrics or row.name in metrics]
    measured = [column for row in chosen for _, column in _columns(row)]
    rows = [Row(label, _measured(of, OURS, chosen), _model(of)) for label, of in named]
    if baselines:
        first = named[0][1]
        rows += [Row(name, _measured(first, name, chosen), {}) for name in (REPEAT, REAL) if name in first.summary]
    columns = [column for column in measured if any(column.heading in row.values for row in rows)]
    if preferences:
        first_label = named[0][0]
        columns.append(Column(f"{first_label} preferred (study)", kind="study"))
        rows = [_with(row, {columns[-1].heading: preferences.get((first_label, row.label), "")}) for row in rows]
    if published is not None:
        columns += [Column(f"published: {heading}", kind="published") for heading in published.headings]
        there = [row.label.lower() for row in rows]
        rows += [Row(label, {}, {}) for label in published.rows if label.lower() not in there]
        rows = [_with(row, published.row(row.label), before="published: ") for row in rows]
    return Table(
        _title(named[0][1]), tuple(columns), tuple(rows), _notes(named, chosen, published, asked=bool(metrics))
    )


_FURTHER: Mapping[str, tuple[tuple[str, Column], ...]] = {
    "warp_error": (("of_real", Column("warp error / real", "", 2)),),
    "label_fidelity": (("pixel_accuracy", Column("pixel accuracy of labels ↑", "higher")),),
}
"""Metric -> keys of its entry that have columns of their own."""


def _columns(row: MetricRow) -> list[tuple[str, Column]]:
    """The columns of a metric: the mean over frames or the value of the set first; each with the key of its value."""
    arrow = "↑" if row.better == "higher" else "↓"
    column = Column(f"{row.heading} {arrow}", row.better, row.digits)
    return [("mean" if row.of == "frame" else "value", column), *_FURTHER.get(row.name, ())]


def _measured(result: Result, method: str, metrics: Sequence[MetricRow]) -> dict[str, float | str]:
    """Heading -> value of one method of a report."""
    found: dict[str, float | str] = {}
    for row in metrics:
        entry = result.summary.get(method, {}).get(row.name) or {}
        for key, column in _columns(row):
            if entry.get(key) is not None:
                found[column.heading] = float(entry[key])
    return found


def _with(row: Row, more: Mapping[str, str], *, before: str = "") -> Row:
    """The row with more texts, `before` put before their headings."""
    return Row(row.label, row.values | {f"{before}{key}": text for key, text in more.items() if text}, row.model)


def _model(result: Result) -> dict[str, Any]:
    return {"report": result.place, **result.report["model"]}


def _title(result: Result) -> str:
    report, (width, height) = result.report, result.report["size"]
    against = f", against {report['unpaired']}" if report.get("unpaired") else ""
    shots = counted(report.get("shots", 0), "shot")
    return f"{result.data}{against}: {counted(_num_frames(result), 'frame')} of {shots}, {width}x{height}"


def _num_frames(result: Result) -> int:
    return int(result.summary.get(OURS, {}).get("frames", 0))


def _notes(
    named: Sequence[tuple[str, Result]],
    metrics: Sequence[MetricRow],
    published: PublishedTable | None,
    *,
    asked: bool,
) -> tuple[str, ...]:
    notes = []
    if published is not None:
        notes.append(
            f"published: {published.source}; {published.data}. Measured on other data: not comparable by digits."
        )
    notes += [f"{label}: {of.place} is older than its checkpoint: evaluate again." for label, of in named if of.stale]
    reasons: dict[str, list[str]] = {}
    for row in metrics:
        left_out = [str(of.report.get("left_out", {}).get(row.name, "")) for _, of in named]
        if all(left_out):
            reasons.setdefault(left_out[0].removeprefix(f"{row.name}: "), []).append(row.heading)
        elif asked and not any(_measured(of, OURS, [row]) for _, of in named):
            reasons.setdefault("no evaluation measured it.", []).append(row.heading)
    return (*notes, *(f"Left out: {', '.join(headings)}: {reason}" for reason, headings in reasons.items()))
