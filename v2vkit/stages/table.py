"""`v2v table`: evaluations of several models as one table, with published numbers beside them."""

from typing import TYPE_CHECKING

from pydantic import field_validator

from v2vkit.config import StageConfig, setting
from v2vkit.errors import V2VError
from v2vkit.evaluation.metrics.registry import metric_names
from v2vkit.evaluation.papers.published import published_names
from v2vkit.pipeline.stage import Command, RunOptions

if TYPE_CHECKING:
    from v2vkit.evaluation.papers.build import Preferences


class TableConfig(StageConfig):
    """Put evaluations of several models into one table.

    PATHS are workspaces with reports of `v2v evaluate`, or the folders of single reports; default: --work. Reports on
    the same held-out clips stand in one table: a row for each model, a column for each metric. Prints the tables as
    Markdown and writes table.md, table.csv and table.json. The recipes tables-street.toml and tables-face.toml train,
    evaluate and tabulate the models of the vid2vid paper, tables-sflow-street.toml those of S-Flow GAN.
    """

    paths: tuple[str, ...] = setting((), "Workspaces or folders of reports.", argument=True, metavar="[PATHS...]")
    row: tuple[str, ...] = setting(
        (),
        "Report, as the name of its folder (spatial-1-no-flow, or WORKSPACE/NAME), and the label of its row; default: "
        "all reports. Published numbers are found by the label.",
        metavar="NAME=LABEL",
    )
    metrics: tuple[str, ...] = setting(
        (), "Metric to show; default: all that were measured.", metavar="NAME", choices=metric_names
    )
    published: str = setting("none", "Published numbers to add as rows for reference.", choices=published_names)
    study: str | None = setting(
        None,
        "Preference study whose tally (`v2v study --tally`) is shown beside: how often the first row was preferred.",
        metavar="DIR",
    )
    baselines: bool = setting(True, "Rows of the baseline (repeat first frame) and of the real frames.")
    out: str | None = setting(None, "Folder for the files; default: tables in --work.", metavar="FOLDER")

    @field_validator("row")
    @classmethod
    def _named(cls, rows: tuple[str, ...]) -> tuple[str, ...]:
        names = [name.strip() for name, _, label in (row.partition("=") for row in rows) if label.strip()]
        if len(set(names)) != len(rows) or not all(names):
            raise ValueError("rows are different names with a label each: NAME=LABEL")
        return rows


def _table(config: TableConfig, options: RunOptions) -> list[str]:
    from v2vkit.artifacts.folder import Folder
    from v2vkit.evaluation.papers.build import build_tables
    from v2vkit.evaluation.papers.published import PUBLISHED
    from v2vkit.evaluation.papers.results import find_results
    from v2vkit.evaluation.papers.text import as_csv, as_json, markdown

    results = [result for path in config.paths or (options.work,) for result in find_results(path)]
    labels = {name.strip(): label.strip() for name, _, label in (row.partition("=") for row in config.row)}
    tables = build_tables(
        results,
        labels=labels,
        metrics=config.metrics,
        published=PUBLISHED.get(config.published),
        preferences=None if config.study is None else _preferences(config.study),
        baselines=config.baselines,
    )
    text = markdown(tables)
    print(text, end="")
    out = Folder(config.out or f"{options.work}/tables")
    for suffix, content in {"md": text, "csv": as_csv(tables), "json": as_json(tables)}.items():
        out.write(f"table.{suffix}", content.encode())
    print(f"{out.url}/table.md, table.csv, table.json")
    return []


def _preferences(study: str) -> "Preferences":
    """Pair of methods -> how often the first was preferred, with the interval.

    Raises:
        V2VError: the study has no readable tally.
    """
    import json

    from v2vkit.artifacts.folder import Folder

    folder, name = Folder(study), "tally.json"
    found: dict[tuple[str, str], str] = {}
    try:
        for pair in json.loads(folder.read(name))["pairs"] if folder.exists(name) else ():
            first, second = pair["methods"]
            for key, share in zip(((first, second), (second, first)), pair["shares"], strict=True):
                if share["share"] is not None:
                    found[key] = f"{share['share']:.2f} [{share['low']:.2f}, {share['high']:.2f}]"
    except (ValueError, KeyError, TypeError):
        found = {}
    if not found:
        raise V2VError(
            "tally-missing",
            f"{study} has no tally with answers.",
            f"Count the answers first: `v2v study --tally {study}`.",
        )
    return found


COMMAND = Command(name="table", config=TableConfig, call=_table)
