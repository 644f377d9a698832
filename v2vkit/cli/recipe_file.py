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
_HEADER = re.compile(r"""^[ \t]*\[[ \t]*\[?[ \t]*(["']?)([A-Za-z0-9_-]+)\1[ \t]*\]""", re.MULTILINE)
"""A line that may begin a table; inside a text or a list of several lines it does not."""
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
    """The stages of a TOML recipe, in the order of its tables.

    Args:
        path: a file; if there is none, the name of a shipped recipe, with or without `.toml`.
        shared_changes: stage, key and value of shared settings that replace those of the recipe.

    A table `[name]` is one run of stage `name`; several `[[name]]` are several runs, with other stages between them
    where the recipe has those there: a segmenter is trained, labels every frame, and a street is trained on its labels.
    `[defaults.name]` holds
    settings of every table of that name; a table's own settings replace them, and `defaults = false` leaves them out.

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
        raise V2VError("recipe-missing", f"Recipe {path} cannot be read: {error}.", hint) from None
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
    steps: dict[str, list[dict[str, Any]]] = {}
    for name, body in tables.items():
        for table in body if isinstance(body, list) else [body]:
            if not isinstance(table, dict):
                raise V2VError(
                    "recipe-damaged",
                    f"Recipe {path}: `{name}` is not a table.",
                    f"Write `[{name}]` on a line of its own above its settings.",
                )
            steps.setdefault(name, []).append(_with_defaults(path, name, table, shared.get(name, {})))
    if not steps:
        raise V2VError("recipe-damaged", f"Recipe {path} has no tables.", "Write one for each stage, such as [ingest].")
    return _in_order(text, steps)


def _in_order(text: str, steps: dict[str, list[dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """The stages in the order of their tables, which TOML's parser loses where tables of one name lie apart."""
    left = {name: list(tables) for name, tables in steps.items()}
    ordered: list[tuple[str, dict[str, Any]]] = []
    for header in _HEADER.finditer(text):
        name = header[2]
        if left.get(name) and _is_complete(text[: header.start()]):
            ordered.append((name, left[name].pop(0)))
    # Others have no header (`name = {}`) and so stand before all that have one.
    return [(name, table) for name, tables in left.items() for table in tables] + ordered


def _is_complete(text: str) -> bool:
    """Whether a TOML text ends outside of texts and lists: a table can begin after it."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


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
