"""Reading recipes: TOML files with a table for each stage."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from v2vkit.errors import V2VError

_WINDOWS_PATH = re.compile(r'"[A-Za-z]:\\[^\\"]')
_LOST_BACKSLASH = re.compile(r"\b[A-Za-z]:(\\(?:t|n|r|x08|x0c))")
"""In the `repr` of texts: a drive letter followed by an escape such as a tab, where a backslash was meant."""
DEFAULTS = "defaults"
"""Table of a recipe with the settings that tables of one command share: `[defaults.train]`; `defaults = false` in a
table leaves them out."""
_BACKSLASHES = (
    "A backslash in double quotes starts an escape: write C:/folder/file, or 'C:\\folder\\file' in single quotes."
)


def shipped_recipes() -> dict[str, Path]:
    """The shipped recipes by name: in the package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    folders = (package / "pipelines", package.parent / "pipelines")
    found = next((folder for folder in folders if folder.is_dir()), None)
    return {} if found is None else {file.stem: file for file in sorted(found.glob("*.toml"))}


def read_recipe(
    path: str | Path, shared_changes: Sequence[tuple[str, str, Any]] = ()
) -> list[tuple[str, dict[str, Any]]]:
    """The stages of a TOML recipe, in its order.

    Args:
        path: a file; if there is none, the name of a shipped recipe, with or without `.toml`.
        shared_changes: stage, key and value of shared settings that replace those of the recipe.

    A table `[name]` is one run of stage `name`; an array of tables `[[name]]` is several, between which other tables
    may stand. `[defaults.name]` holds settings of every table of that name; a table's own settings replace them, and
    `defaults = false` leaves them out.

    Raises:
        V2VError: the file is missing, is not TOML, has no tables, has keys outside of tables, or has defaults of a
            stage that it does not run.
    """
    shipped = shipped_recipes()
    file = Path(path)
    try:
        if not file.is_file():
            file = shipped.get(str(path).removesuffix(".toml"), file)
        text = file.read_text(encoding="utf-8-sig")  # editors on Windows put a byte order mark in front
        tables = tomllib.loads(text)
    except UnicodeDecodeError:
        raise V2VError(
            "recipe-damaged", f"Recipe {path} is not UTF-8 text.", "Save it as UTF-8 in your editor."
        ) from None
    except OSError as error:
        hint = f"Give the path of a TOML recipe, or the name of a shipped one: {', '.join(shipped)}."
        raise V2VError("recipe-missing", f"Recipe {path} cannot be read: {error.strerror}.", hint) from None
    except tomllib.TOMLDecodeError as error:
        hint = _BACKSLASHES if _WINDOWS_PATH.search(text) else "Fix the line named above."
        raise V2VError("recipe-damaged", f"Recipe {path} is not valid TOML: {error}.", hint) from None
    if (lost := _LOST_BACKSLASH.search(repr(tables))) is not None:
        raise V2VError(
            "recipe-damaged",
            f"Recipe {path} holds the path {lost[0]}..., in which {lost[1]} is an escape sequence.",
            _BACKSLASHES,
        )
    for name, key, value in shared_changes:
        defaults = tables.setdefault(DEFAULTS, {})
        if isinstance(defaults, dict) and isinstance(defaults.setdefault(name, {}), dict):
            defaults[name][key] = value
    shared = _defaults(path, tables)
    steps: list[tuple[str, dict[str, Any]]] = []
    bodies = {name: iter(body if isinstance(body, list) else [body]) for name, body in tables.items()}
    for name in _order(text):
        if name not in bodies:  # defaults
            continue
        table = next(bodies[name])
        if not isinstance(table, dict):
            raise V2VError(
                "recipe-damaged",
                f"Recipe {path}: `{name}` is not a table.",
                f"Write `[{name}]` on a line of its own above its settings.",
            )
        steps.append((name, _with_defaults(path, name, table, shared.get(name, {}))))
    if not steps:
        raise V2VError("recipe-damaged", f"Recipe {path} has no tables.", "Write one for each stage, such as [ingest].")
    return steps


def _order(text: str) -> list[str]:
    """The names of the tables of a valid recipe in the order of its text: the parser puts those of one name together.

    A line that begins with a bracket is a header if the text up to it is valid, and not inside a list or a text.
    """
    order: list[str] = []
    lines = text.split("\n")
    ends = [number for number, line in enumerate(lines, 1) if line.lstrip().startswith("[")]
    for end in (*ends, len(lines)):
        try:
            tables = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        for name, body in tables.items():
            order += [name] * ((len(body) if isinstance(body, list) else 1) - order.count(name))
    return order


def _with_defaults(path: str | Path, name: str, table: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """A table's settings, with the shared ones unless it has `defaults = false`.

    Raises:
        V2VError: `defaults` is something else than true or false.
    """
    wanted = table.get(DEFAULTS, True)
    if not isinstance(wanted, bool):
        raise V2VError(
            "recipe-damaged",
            f"Recipe {path}, table [{name}]: `{DEFAULTS}` is neither true nor false.",
            f"Write `{DEFAULTS} = false` to leave out [{DEFAULTS}.{name}], or remove the line.",
        )
    own = {key: value for key, value in table.items() if key != DEFAULTS}
    return shared | own if wanted else own


def _defaults(path: str | Path, tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Takes `[defaults.name]` out of a recipe's tables: name -> settings.

    Raises:
        V2VError: `defaults` holds something other than tables, or a table of a stage that the recipe does not run.
    """
    found = tables.pop(DEFAULTS, {})
    if not isinstance(found, dict) or not all(isinstance(values, dict) for values in found.values()):
        raise V2VError(
            "recipe-damaged",
            f"Recipe {path}: `{DEFAULTS}` holds settings outside of a stage's table.",
            f"Write them under the stage that they are for, such as [{DEFAULTS}.train].",
        )
    if unused := [name for name in found if name not in tables]:
        raise V2VError(
            "table-unknown",
            f"Recipe {path} has [{DEFAULTS}.{unused[0]}], but no table [{unused[0]}].",
            f"Its tables: {', '.join(tables) or 'none'}.",
        )
    return found
