"""Writes tables as Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict

from v2vkit.evaluation.papers.build import Column, Row, Table

EMPTY = "-"


def markdown(tables: Sequence[Table]) -> str:
    """The tables for a document; the best measured value of the models is bold."""
    return "\n\n".join(map(_markdown, tables)) + "\n"


def _markdown(table: Table) -> str:
    best = {column.heading: _best(table, column) for column in table.columns}
    lines = [["", *(column.heading for column in table.columns)], ["---"] * (1 + len(table.columns))]
    for row in table.rows:
        cells = {column.heading: _cell(row, column) for column in table.columns}
        bold = {heading for heading, cell in cells.items() if row.model and cell == best[heading]}
        lines.append([row.label, *(f"**{cell}**" if heading in bold else cell for heading, cell in cells.items())])
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([table.title, "", *body, *([""] if table.notes else []), *(f"- {note}" for note in table.notes)])


def _best(table: Table, column: Column) -> str | None:
    """The best value as printed, among at least two models."""
    there = [row for row in table.rows if row.model and column.heading in row.values]
    cells = [(row.values[column.heading], _cell(row, column)) for row in there]
    if not column.better or len(cells) < 2:
        return None
    choose = max if column.better == "higher" else min
    return choose(cells, key=lambda cell: cell[0])[1]


def _cell(row: Row, column: Column) -> str:
    value = row.values.get(column.heading, EMPTY)
    return value if isinstance(value, str) else f"{value:.{column.digits}f}"


def as_csv(tables: Sequence[Table]) -> str:
    """All tables as one, the clips in the first column; numbers unrounded, missing ones empty."""
    headings = list(dict.fromkeys(column.heading for table in tables for column in table.columns))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["clips", "model", *headings])
    for table in tables:
        for row in table.rows:
            writer.writerow([table.title, row.label, *(row.values.get(heading, "") for heading in headings)])
    return out.getvalue()


def as_json(tables: Sequence[Table]) -> str:
    """The tables with what was evaluated."""
    return json.dumps([asdict(table) for table in tables], indent=1, ensure_ascii=False) + "\n"
