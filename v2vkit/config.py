"""One frozen config model per stage: at once the CLI flags, the recipe keys and the manifest entry.

Precedence is default < recipe < flag. Unknown keys fail and name the known ones.
"""

import re
import tomllib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from v2vkit.errors import V2VError

C = TypeVar("C", bound="StageConfig")
Choices = Callable[[], tuple[str, ...]]
"""Gives the values that a setting can have, from a table elsewhere."""

# Names that stand in settings and that heavier modules spell out.
Preset = Literal["tiny", "small", "paper"]
Upsample = Literal["transposed", "resize"]
"""How networks enlarge. `transposed`: transposed convolutions (as published). `resize`: nearest-neighbour enlargement,
then a convolution, which leaves no checkerboard (Odena et al. 2016) and suits short training on few frames."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""What convolutions compute in; losses, optimisers and weights are always float32. `auto`: bfloat16 where the device
has instructions for it."""


class StageConfig(BaseModel):
    """Base of every stage's settings: frozen, unknown keys forbidden, defaults validated."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _is_a_choice(cls, value: Any, info: ValidationInfo) -> Any:
        choices = choices_of(cls, str(info.field_name))
        if choices and value is not None and value not in choices:
            known = [repr(choice) for choice in choices]
            raise ValueError(f"Input should be {', '.join(known[:-1])}{' or ' * (len(known) > 1)}{known[-1]}")
        return value


def setting(
    default: Any,
    help: str,
    *,
    argument: bool = False,
    metavar: str | None = None,
    affects_output: bool = True,
    since: str | None = None,
    choices: Choices | None = None,
    **bounds: Any,
) -> Any:
    """One setting of a stage: its default, its help and its allowed range, stated once.

    Args:
        default: the default value; `...` makes the setting required.
        help: one sentence for `--help`, the recipe reader and the docs.
        argument: a positional argument on the command line instead of an option.
        metavar: what stands for the value in the help.
        affects_output: False for a setting that does not change the result (a device, a logging interval): changing it
            does not make artifacts stale.
        since: version that added the setting. Older artifacts count as made with its default, so they stay valid.
        choices: the values that a text can have, where they stand in a table.
        bounds: pydantic bounds (`ge`, `gt`, `le`, `lt`, `min_length`, `pattern`).
    """
    extra: dict[str, Any] = {"argument": argument, "metavar": metavar, "affects_output": affects_output, "since": since}
    extra["choices"] = choices
    return Field(default, description=help, json_schema_extra=extra, **bounds)


def as_text(value: Any) -> Any:
    """A number as the text that a setting wants: `fps = 25` in a recipe is as good as `fps = "25"`."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def as_absolute(path: str | None) -> str | None:
    """A file's path by which a model finds it from any folder."""
    return None if path is None else str(Path(path).absolute())


def extras(config: type[BaseModel], name: str) -> dict[str, Any]:
    """What `setting` noted about a field besides its type, default and range."""
    extra = config.model_fields[name].json_schema_extra
    return extra if isinstance(extra, dict) else {}


def choices_of(config: type[BaseModel], name: str) -> tuple[str, ...]:
    """The values that a setting can have, where `setting` names some."""
    choices: Choices | None = extras(config, name).get("choices")
    return () if choices is None else choices()


DEFAULT_RATE = Fraction(25)
"""Frames per second where nothing tells: sequences of images, raw streams."""
IGNORE = 255
"""Id of the pixels of a label map that have no label."""
MAX_SIDE = 16384
"""Largest width or height in pixels; JPEG ends at 65535, and nothing here is meant for more."""
MAX_PIXELS = 64 * 1024 * 1024
"""Largest picture (8192 x 8192); larger ones are taken for decompression bombs."""


class Size(NamedTuple):
    """Width and height in pixels, typed as `WIDTHxHEIGHT`."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def _parse_size(value: Any) -> Any:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", value.strip().lower())
        if found is None:
            raise ValueError(f"{value!r} is not WIDTHxHEIGHT such as 128x128")
        value = (int(found[1]), int(found[2]))
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(v, int) for v in value):
        if min(value) < 16:
            raise ValueError(f"{value[0]}x{value[1]} is too small: both sides must be at least 16 pixels")
        if max(value) > MAX_SIDE or value[0] * value[1] > MAX_PIXELS:
            raise ValueError(
                f"{value[0]}x{value[1]} is too large: sides may be {MAX_SIDE} pixels, pictures {MAX_PIXELS} in all"
            )
        return Size(*value)
    raise ValueError("expected WIDTHxHEIGHT such as 128x128")


def parse_rate(text: str) -> Fraction:
    """A frame rate such as 25, 12.5 or 30000/1001.

    Raises:
        ValueError: not a number or fraction, or not above 0 and at most 1000.
    """
    # Fraction would also take exponents, and compute numbers of any length.
    if re.fullmatch(r"\d[\d./]{0,49}", text.strip()) is None:
        raise ValueError("a frame rate is a number or a fraction, such as 25 or 30000/1001")
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError("a frame rate is a number or a fraction, such as 25 or 30000/1001") from None
    if not 0 < rate <= 1000:
        raise ValueError("the frame rate must be above 0 and at most 1000")
    return rate


SizeSetting = Annotated[Size, BeforeValidator(_parse_size), PlainSerializer(str, return_type=str)]


def make_config(config: type[C], values: dict[str, Any], where: str) -> C:
    """`config` from plain values, with every mistake told as a sentence.

    Args:
        config: the config model.
        values: field name to value, as read from TOML or the command line.
        where: what the values came from, for the message (`recipe toy.toml, table [ingest]`).

    Raises:
        V2VError: unknown key, missing key or a value out of range; names the key and, for unknown keys, the known ones.
    """
    try:
        return config.model_validate(values)
    except ValidationError as error:
        known = ", ".join(config.model_fields)
        problems, unknown = [], False
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"])
            unknown |= item["type"] == "extra_forbidden"
            message = item["msg"].removeprefix("Value error, ")
            text = _TEXTS.get(item["type"], message)
            if not key:  # two settings that do not fit together
                problems.append(text)
                continue
            given = "" if item["type"] in ("extra_forbidden", "missing") else f" (got {item['input']!r})"
            problems.append(f"{key}: {text}{given}")
        hint = f"Known settings: {known}." if unknown else "Correct the value; `--help` lists the allowed ranges."
        raise V2VError(f"{where}: " + "; ".join(problems) + ".", hint) from None


_TEXTS = {
    "extra_forbidden": "is not a setting",
    "missing": "is required",
    "tuple_type": "is a list, such as [1] or ['a', 'b']",
}
"""What pydantic says in other words, by its type of error."""


def as_plain(config: StageConfig) -> dict[str, Any]:
    """The config as JSON-ready values, every field present, for manifests and fingerprints."""
    return config.model_dump(mode="json")


def fingerprinted(config: StageConfig) -> dict[str, Any]:
    """The settings that decide the result; one with `since` only where it is not at its default."""

    def counts(key: str) -> bool:
        extra = extras(type(config), key)
        at_default = getattr(config, key) == type(config).model_fields[key].default
        return extra.get("affects_output", True) and not (extra.get("since") and at_default)

    return {key: value for key, value in as_plain(config).items() if counts(key)}


def check_foreground(foreground: tuple[int, ...], num_labels: int) -> None:
    """Whether every label id in `foreground` is one of `num_labels`, and named once.

    Raises:
        V2VError: one is not.
    """
    if len(set(foreground)) < len(foreground):
        raise V2VError("--foreground names a label twice.", "Name every label once.")
    wrong = [label for label in foreground if not 0 <= label < num_labels]
    if wrong:
        raise V2VError(
            f"--foreground {wrong[0]} is no label: there are {num_labels} (0 to {num_labels - 1}).",
            "Give ids of the label maps.",
        )


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come along, by name: in the package, or beside it where it runs from a checkout."""
    package = Path(__file__).parent
    folders = (package / "pipelines", package.parent / "pipelines")
    found = next((folder for folder in folders if folder.is_dir()), None)
    return {} if found is None else {file.stem: file for file in sorted(found.glob("*.toml"))}


_WINDOWS_PATH = re.compile(r'"[A-Za-z]:\\([^\\"])[^"\n]*"?')
_LOST_BACKSLASH = re.compile(r"\b[A-Za-z]:(\\(?:t|n|r|x08|x0c))")
"""In the `repr` of texts: a drive, and a tab or the like where a backslash was meant."""
_BACKSLASHES = (
    "A backslash in double quotes begins an escape: write C:/folder/file, or 'C:\\folder\\file' in single quotes."
)


def read_recipe(path: str | Path) -> list[tuple[str, dict[str, Any]]]:
    """The stages of a TOML recipe in the order in which they stand.

    Args:
        path: a file; where there is none, the name of a shipped recipe, with or without `.toml`.

    A table `[name]` is one run of stage `name`; an array of tables `[[name]]` is several.

    Raises:
        V2VError: the file is missing, is not TOML, holds something that is not a table, or nothing at all.
    """
    shipped = shipped_recipes()
    file = Path(path)
    try:
        if not file.is_file():
            file = shipped.get(str(path).removesuffix(".toml"), file)
        text = file.read_text(encoding="utf-8-sig")  # editors on Windows put a byte order mark in front
        tables = tomllib.loads(text)
    except UnicodeDecodeError:
        raise V2VError(f"Recipe {path} is not UTF-8 text.", "Save it as UTF-8 in your editor.") from None
    except OSError as error:
        hint = f"Give the path of a TOML recipe, or one of those that come along: {', '.join(shipped)}."
        raise V2VError(f"Recipe {path} cannot be read: {error}.", hint) from None
    except tomllib.TOMLDecodeError as error:
        hint = _BACKSLASHES if _WINDOWS_PATH.search(text) else "Correct the line that it names."
        raise V2VError(f"Recipe {path} is not valid TOML: {error}.", hint) from None
    if (lost := _LOST_BACKSLASH.search(repr(tables))) is not None:
        raise V2VError(f"Recipe {path} holds the path {lost[0]}..., in which {lost[1]} is not two signs.", _BACKSLASHES)
    steps: list[tuple[str, dict[str, Any]]] = []
    for name, body in tables.items():
        for table in body if isinstance(body, list) else [body]:
            if not isinstance(table, dict):
                raise V2VError(
                    f"Recipe {path}: `{name}` is not a table.",
                    f"Write `[{name}]` on a line of its own above its settings.",
                )
            steps.append((name, table))
    if not steps:
        raise V2VError(f"Recipe {path} has no tables.", "Write one for each stage, such as [ingest].")
    return steps
