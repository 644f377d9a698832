"""Reading recipes: TOML files with a table for each stage."""

import re
import tomllib
from pathlib import Path
from typing import Any

from v2vkit.errors import V2VError

_WINDOWS_PATH = re.compile(r'"[A-Za-z]:\\[^\\"]')
_LOST_BACKSLASH = re.compile(r"\b[A-Za-z]:(\\(?:t|n|r|x08|x0c))")
"""In the `repr` of texts: a drive letter followed by an escape such as a tab, where a backslash was meant."""
_BACKSLASHES = (
    "A backslash in double quotes starts an escape: write C:/folder/file, or 'C:\\folder\\file' in single quotes."
)


def shipped_recipes() -> dict[str, Path]:
    """The shipped recipes by name: in the package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    folders = (package / "pipelines", package.parent / "pipelines")
    found = next((folder for folder in folders if folder.is_dir()), None)
    return {} if found is None else {file.stem: file for file in sorted(found.glob("*.toml"))}


def read_recipe(path: str | Path) -> list[tuple[str, dict[str, Any]]]:
    """The stages of a TOML recipe, in its order.

    Args:
        path: a file; if there is none, the name of a shipped recipe, with or without `.toml`.

    A table `[name]` is one run of stage `name`; an array of tables `[[name]]` is several.

    Raises:
        V2VError: the file is missing, is not TOML, has no tables, or has keys outside of tables.
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
    steps: list[tuple[str, dict[str, Any]]] = []
    for name, body in tables.items():
        for table in body if isinstance(body, list) else [body]:
            if not isinstance(table, dict):
                raise V2VError(
                    "recipe-damaged",
                    f"Recipe {path}: `{name}` is not a table.",
                    f"Write `[{name}]` on a line of its own above its settings.",
                )
            steps.append((name, table))
    if not steps:
        raise V2VError("recipe-damaged", f"Recipe {path} has no tables.", "Write one for each stage, such as [ingest].")
    return steps
