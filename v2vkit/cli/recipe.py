"""`v2v run`: the stages of a TOML recipe, one after another."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from v2vkit.cli.recipe_file import DEFAULTS, read_recipe
from v2vkit.config import StageConfig, make_config, setting
from v2vkit.errors import V2VError
from v2vkit.pipeline.makers import ENGINE_OPTIONS
from v2vkit.pipeline.runner import execute, status
from v2vkit.pipeline.stage import Command, RunOptions, Stage
from v2vkit.stages import COMMANDS, OF_RECIPES

_SHARED = f"{DEFAULTS}."
"""Beginning of the name of a table with shared settings."""
_NUMBERED = re.compile(r"(.+)\.([0-9]+)(?:-([0-9]+))?")
"""Of several tables of one name, those that `--set` means: `train.2`, or `train.2-4`."""


class RecipeConfig(StageConfig):
    """Run the stages of a recipe in the order of its tables.

    RECIPE is a TOML file, or the name of a shipped recipe such as face.toml.

    Finished stages are skipped and an interrupted one is resumed, so rerunning the command is always safe. So is an
    [evaluate] whose model, footage and settings are the same. Other commands that make no artifact (render, table) run
    every time. In a recipe, `{work}` in a text is replaced by
    the workspace, and the key `work` gives one table its own workspace. Settings that all tables of a stage share
    stand once, in [defaults.STAGE]; `defaults = false` leaves them out of one table. Several tables of one stage have
    numbers from 1, which --dry-run prints: `--set train.2.epochs=8` changes the second [[train]] alone.
    """

    recipe: str = setting(..., "TOML recipe: one table per stage, in run order.", argument=True)
    dry_run: bool = setting(False, "Print the state of every stage (done, unfinished, stale, missing) and do nothing.")
    set: tuple[str, ...] = setting(
        (),
        "Override one setting: TABLE.KEY=VALUE (VALUE as in TOML), defaults.TABLE.KEY=VALUE, or of some of several "
        "tables TABLE.2.KEY=VALUE, TABLE.2-4.KEY=VALUE.",
        metavar="T.K=V",
    )


def recipe_command(load: Callable[[str], Any]) -> Command:
    """The command `run`; `load` gives the other commands by name."""
    return Command(
        name="run",
        config=RecipeConfig,
        call=lambda config, options: _run_recipe(config, options, load),
        options=("work", *ENGINE_OPTIONS, "overwrite", "continue_"),
        resumes=True,
    )


def read_steps(
    recipe: str, assignments: tuple[str, ...], options: RunOptions, load: Callable[[str], Any]
) -> list[tuple[Stage | Command, StageConfig, RunOptions]]:
    """The tables of a recipe, each as a command, its settings and the options of its run.

    Args:
        assignments: the values of `--set`.
        load: gives the other commands by name.

    Raises:
        V2VError: the recipe cannot be read, or a table names no command or has a wrong setting.
    """
    steps = []
    given = [_assignment(text) for text in assignments]
    shared = [(table.removeprefix(_SHARED), key, value) for table, key, value in given if table.startswith(_SHARED)]
    own = [assignment for assignment in given if not assignment[0].startswith(_SHARED)]
    for name, table in _override(read_recipe(recipe, shared), own):
        target = _known(name, recipe, load)
        values = _place(table, options.work)
        work = str(values.pop("work", options.work))
        settings = make_config(target.config, values, f"recipe {recipe}, table [{name}]")
        steps.append((target, settings, replace(options, work=work)))
    return steps


def _run_recipe(config: RecipeConfig, options: RunOptions, load: Callable[[str], Any]) -> list[str]:
    """Check every table of the recipe first, then run them."""
    steps = read_steps(config.recipe, config.set, options, load)
    for target, settings, _ in steps:
        check = target.check if isinstance(target, Command) else target.precheck
        if check is not None:
            check(settings)
    problems: list[str] = []
    pending: set[tuple[str, str]] = set()
    names = _numbered([target.name for target, _, _ in steps])
    for number, (name, (target, settings, where)) in enumerate(zip(names, steps, strict=True), 1):
        label = f"[{number}/{len(steps)}] {name}"
        if config.dry_run:
            click.echo(f"{label}: {_state(target, settings, where, pending)}")
            continue
        click.echo(f"{label} ...")
        outcome = execute(target, settings, where, checked=True)
        if outcome.message:
            click.echo(f"{label}: {outcome.message}")
        problems += outcome.problems
    return problems


def _state(target: Stage | Command, settings: Any, options: RunOptions, pending: set[tuple[str, str]]) -> str:
    """The state of a step, as `runner.status` gives it."""
    if isinstance(target, Stage):
        return status(target, settings, options, pending)
    return "runs every time" if target.status is None else target.status(settings, options, pending)


def _place(value: Any, work: str) -> Any:
    """The value with `{work}` replaced in every text."""
    if isinstance(value, str):
        return value.replace("{work}", work)
    if isinstance(value, list):
        return [_place(item, work) for item in value]
    if isinstance(value, dict):
        return {key: _place(item, work) for key, item in value.items()}
    return value


def _known(name: str, recipe: str, load: Callable[[str], Any]) -> Any:
    if name not in COMMANDS or name in OF_RECIPES:
        known = ", ".join(command for command in COMMANDS if command not in OF_RECIPES)
        raise V2VError(
            "command-unknown", f"Recipe {recipe} has a table [{name}], which is not a command.", f"Known: {known}."
        )
    return load(name)


def _numbered(names: list[str]) -> list[str]:
    """The names, with numbers from 1 where there are several of one: train.1, train.2."""
    return [
        f"{name}.{names[: place + 1].count(name)}" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _override(
    steps: list[tuple[str, dict[str, Any]]], assignments: list[tuple[str, str, Any]]
) -> list[tuple[str, dict[str, Any]]]:
    """Apply `--set TABLE.KEY=VALUE` to every table of that name, `--set TABLE.N.KEY=VALUE` to the N-th."""
    names = [name for name, _ in steps]
    for table, key, value in assignments:
        places = _places(table, names)
        if not places:
            raise V2VError(
                "table-unknown",
                f"--set {table}.{key}: the recipe has no table [{table}].",
                f"Its tables: {', '.join(_counted(names))}.",
            )
        steps = [
            (name, values | {key: value} if place in places else values) for place, (name, values) in enumerate(steps)
        ]
    return steps


def _places(table: str, names: list[str]) -> list[int]:
    """Where in a recipe the tables are that `--set` names: `train` (all), `train.2` or `train.2-4`; from 0."""
    numbered = _NUMBERED.fullmatch(table)
    places = [place for place, name in enumerate(names) if name == (numbered[1] if numbered else table)]
    if numbered is None:
        return places
    first, last = int(numbered[2]), int(numbered[3] or numbered[2])
    return places[first - 1 : last] if 1 <= first <= last <= len(places) else []


def _counted(names: list[str]) -> list[str]:
    """Each name once, with the range of its numbers: ingest, train.1-6."""
    return [name if (num := names.count(name)) == 1 else f"{name}.1-{num}" for name in dict.fromkeys(names)]


def _assignment(text: str) -> tuple[str, str, Any]:
    """Table, key and value of `--set TABLE.KEY=VALUE`; a value that is not TOML is used as text."""
    path, equals, written = text.partition("=")
    table, dot, key = path.strip().rpartition(".")
    if not equals or not dot:
        raise V2VError(
            "setting-invalid",
            f"--set {text} is not TABLE.KEY=VALUE.",
            "Write for example --set ingest.size=64x64",
        )
    try:
        return table, key, tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        return table, key, written.strip()
