"""One frozen config model per stage: at once the CLI flags, the recipe keys and the manifest entry.

Precedence is default < recipe < flag. Unknown keys fail and name the known ones. A stage with many settings has them in
groups, one nested model each; flags, recipe keys and manifest entries stay flat.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

from v2vkit.errors import V2VError

C = TypeVar("C", bound="StageConfig")
Choices = Callable[[], tuple[str, ...]]
"""Gives the values that a setting can have, from a table elsewhere."""

# Names used in settings; stated here so that reading settings imports no heavy module.
Preset = Literal["tiny", "small", "paper"]
SpatialStage = Literal["spatial-1", "spatial-2", "spatial-3"]
SPATIAL_STAGES: tuple[SpatialStage, ...] = get_args(SpatialStage)
"""The stages in which vid2vid is trained, coarse to fine, by the names of their checkpoints."""
Upsample = Literal["transposed", "resize"]
"""How networks upsample. `transposed`: transposed convolutions (as published). `resize`: nearest-neighbour upsampling,
then a convolution, which leaves no checkerboard (Odena et al. 2016) and suits short training on few frames."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Data type of the convolutions; losses, optimisers and weights are always float32. `auto`: bfloat16 where the device
has instructions for it."""


class Settings(BaseModel):
    """Frozen settings: unknown keys and empty texts forbidden, defaults and `choices` validated."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _is_not_empty(cls, value: Any, info: ValidationInfo) -> Any:
        # An unset variable of a script gives an empty path, which would mean the current folder.
        given = value if isinstance(value, tuple) else (value,)
        empty = any(isinstance(each, str) and not each.strip() for each in given)
        if empty and value != cls.model_fields[str(info.field_name)].default:
            raise ValueError("is empty; is a variable of your script unset?")
        return value

    @field_validator("*")
    @classmethod
    def _is_a_choice(cls, value: Any, info: ValidationInfo) -> Any:
        choices = choices_of(cls, str(info.field_name))
        given = value if isinstance(value, tuple) else (value,)
        if choices and value is not None and not set(given) <= set(choices):
            known = [repr(choice) for choice in choices]
            raise ValueError(f"Input should be {', '.join(known[:-1])}{' or ' * (len(known) > 1)}{known[-1]}")
        return value


class SettingsGroup(Settings):
    """Settings of a stage that belong together; the docstring is their heading in `--help`."""


class StageConfig(Settings):
    """Base of every stage's settings.

    A field whose type is a `SettingsGroup` is a group. Its settings are reached through it (`config.schedule.epochs`),
    but are given, copied and written by their own names: `make_config(TrainConfig, {"epochs": 3}, ...)`,
    `config.model_copy(update={"epochs": 3})`, `config.value("epochs")`.
    """

    @model_validator(mode="before")
    @classmethod
    def _put_into_groups(cls, values: Any) -> Any:
        groups = groups_of(cls)
        if not groups or not isinstance(values, Mapping):
            return values
        if wrong := [name for name in groups if name in values and not isinstance(values[name], SettingsGroup)]:
            raise ValueError(f"{wrong[0]} is a group of settings: name the settings in it")
        return cls._grouped(values)

    @classmethod
    def _grouped(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values, those of each group moved into a dict under the group's name."""
        owner = {name: group for group, of in groups_of(cls).items() for name in of.model_fields}
        found: dict[str, Any] = {name: value for name, value in values.items() if name not in owner}
        for name in values.keys() & owner.keys():
            found.setdefault(owner[name], {})[name] = values[name]
        return found

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        for group in groups_of(type(self)):
            data |= data.pop(group)
        return data

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with some settings replaced, by their own names; like pydantic's, it does not validate them."""
        unknown = set(update or {}) - settings_of(type(self)).keys() - type(self).model_fields.keys()
        assert not unknown, f"no settings: {unknown}"
        changes = self._grouped(update or {})
        for group in groups_of(type(self)):
            if isinstance(part := changes.get(group), dict):
                changes[group] = getattr(self, group).model_copy(update=part)
        return super().model_copy(update=changes, deep=deep)

    def value(self, name: str) -> Any:
        """The setting of that name, in whatever group it is."""
        group = next((group for group, of in groups_of(type(self)).items() if name in of.model_fields), None)
        return getattr(self if group is None else getattr(self, group), name)


def groups_of(config: type[BaseModel]) -> dict[str, type[SettingsGroup]]:
    """The groups of a config model, by field name."""
    kinds = {name: field.annotation for name, field in config.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, SettingsGroup)}


def settings_of(config: type[BaseModel]) -> dict[str, FieldInfo]:
    """Every setting of a config model by its own name, those of groups included, in the order of their declaration."""
    groups = groups_of(config)
    found: dict[str, FieldInfo] = {}
    for name, field in config.model_fields.items():
        found |= groups[name].model_fields if name in groups else {name: field}
    return found


def sections_of(config: type[BaseModel]) -> dict[str, list[str]]:
    """Heading -> names of settings, for `--help`: first those marked as common, then each group; {} without groups."""
    groups = groups_of(config)
    if not groups:
        return {}
    every = settings_of(config)
    own = [name for name in config.model_fields if name not in groups]
    common = [name for name in every if name in own or extras(config, name).get("common")]
    found = {"Most used": common}
    for group in groups.values():
        heading = (group.__doc__ or group.__name__).strip().splitlines()[0].rstrip(".")
        found[heading] = [name for name in group.model_fields if name not in common]
    return found


def setting(
    default: Any,
    help: str,
    *,
    argument: bool = False,
    metavar: str | None = None,
    affects_output: bool = True,
    since: str | None = None,
    choices: Choices | None = None,
    common: bool = False,
    **bounds: Any,
) -> Any:
    """One setting of a stage: its default, its help and its allowed range, stated once.

    Args:
        default: the default value; `...` makes the setting required.
        help: one sentence for `--help`, the recipe reader and the docs.
        argument: a positional argument on the command line instead of an option.
        metavar: placeholder of the value in the help.
        affects_output: False for a setting that does not change the result (a device, a logging interval): changing it
            does not make artifacts stale.
        since: version that added the setting. Older artifacts count as made with its default, so they stay valid.
        choices: gives the allowed values of a text setting, where a table elsewhere lists them.
        common: one of the settings that most people use; `--help` shows these before the groups.
        bounds: pydantic bounds (`ge`, `gt`, `le`, `lt`, `min_length`, `pattern`).
    """
    extra: dict[str, Any] = {"argument": argument, "metavar": metavar, "affects_output": affects_output, "since": since}
    extra |= {"choices": choices, "common": common}
    return Field(default, description=help, json_schema_extra=extra, **bounds)


def as_text(value: Any) -> Any:
    """A number as text, so that a recipe may say `style = 3` for `style = "3"`."""
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def as_absolute(path: str | None) -> str | None:
    """A path made absolute, so that a model that stores it finds the file from any folder."""
    return None if path is None else str(Path(path).absolute())


def extras(config: type[BaseModel], name: str) -> dict[str, Any]:
    """What `setting` stores beside a field's type, default and range: argument, metavar, affects_output, since, ..."""
    extra = ({**config.model_fields, **settings_of(config)})[name].json_schema_extra
    return extra if isinstance(extra, dict) else {}


def choices_of(config: type[BaseModel], name: str) -> tuple[str, ...]:
    """The allowed values of a setting; empty where it has no `choices`."""
    choices: Choices | None = extras(config, name).get("choices")
    return () if choices is None else choices()


DEFAULT_RATE = Fraction(25)
"""Frames per second of sources without time stamps: sequences of images, raw streams."""
IGNORE = 255
"""Id of the pixels of a label map that have no label."""
MAX_SIDE = 16384
"""Largest width or height in pixels."""
MAX_THREADS = 4096
"""Largest number of CPU threads of torch; far larger ones end in an overflow."""
MAX_PIXELS = 64 * 1024 * 1024
"""Largest number of pixels of a picture (8192 x 8192); more is refused as a decompression bomb."""


class Size(NamedTuple):
    """Width and height in pixels, typed as `WIDTHxHEIGHT`."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def _parse_size(value: Any) -> Any:
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", value.strip().lower())
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
    with suppress(ValueError, ZeroDivisionError):
        if re.fullmatch(r"\d[\d./]{0,49}", text.strip()) and 0 < (rate := Fraction(text)) <= 1000:
            return rate
    raise ValueError("a frame rate is a number or fraction above 0 and at most 1000, such as 25 or 30000/1001")


def _parse_rate(value: Any) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Fraction)):
        raise ValueError("Input should be a valid string")
    return parse_rate(str(value))


RateSetting = Annotated[Fraction, PlainValidator(_parse_rate), PlainSerializer(str, return_type=str)]
"""A frame rate; a recipe may say `fps = 25` for `fps = "25"`."""
SizeSetting = Annotated[Size, BeforeValidator(_parse_size), PlainSerializer(str, return_type=str)]


def make_config(config: type[C], values: dict[str, Any], where: str) -> C:
    """A config from plain values; every mistake is named in one error.

    Args:
        config: the config model.
        values: field name to value, as read from TOML or the command line.
        where: where the values come from, for the message (`recipe toy.toml, table [ingest]`).

    Raises:
        V2VError: unknown key, missing key or a value out of range; names the key and, for unknown keys, the known ones.
    """
    try:
        return config.model_validate(values)
    except ValidationError as error:
        known, groups = ", ".join(settings_of(config)), groups_of(config)
        problems, unknown, own = [], False, True
        for item in error.errors():
            place = item["loc"][1:] if item["loc"] and item["loc"][0] in groups else item["loc"]
            key = ".".join(str(part) for part in place)
            unknown |= item["type"] == "extra_forbidden"
            own &= item["type"] in ("value_error", "string_pattern_mismatch")  # which say what is wanted
            message = item["msg"].removeprefix("Value error, ")
            text = _TEXTS.get(item["type"], message)
            if item["type"] == "string_pattern_mismatch":
                text = _PATTERNS.get(item["ctx"]["pattern"], text)
            if not key:  # two settings that do not fit together
                problems.append(text)
                continue
            given = "" if item["type"] in ("extra_forbidden", "missing") else f" (got {item['input']!r})"
            problems.append(f"{key}: {text}{given}")
        hint = "`--help` explains the settings." if own else "Correct the value; `--help` lists the allowed ranges."
        hint = f"Known settings: {known}." if unknown else hint
        raise V2VError("setting-invalid", f"{where}: " + "; ".join(problems) + ".", hint) from None


_TEXTS = {
    "extra_forbidden": "is not a setting",
    "missing": "is required",
    "tuple_type": "is a list, such as [1] or ['a', 'b']",
}
"""Our messages for some of pydantic's errors, by its type of error."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
SPLIT_PATTERN = r"^[A-Za-z0-9-]{1,32}$"
_PATTERNS = {
    NAME_PATTERN: "consists of at most 40 lower-case letters, digits and hyphens, the first no hyphen",
    SPLIT_PATTERN: "consists of at most 32 letters, digits and hyphens",
}
"""The patterns of settings, in words."""


def as_plain(config: StageConfig) -> dict[str, Any]:
    """The config as JSON-ready values by the settings' own names, all present, for manifests and fingerprints."""
    return config.model_dump(mode="json")


def fingerprinted(config: StageConfig) -> dict[str, Any]:
    """The settings that affect the result; those with `since` only where they are not at their default."""

    def counts(key: str) -> bool:
        extra = extras(type(config), key)
        at_default = config.value(key) == settings_of(type(config))[key].default
        return extra.get("affects_output", True) and not (extra.get("since") and at_default)

    return {key: value for key, value in as_plain(config).items() if counts(key)}


def check_foreground(foreground: tuple[int, ...], num_labels: int) -> None:
    """Check that every label id in `foreground` is below `num_labels` and named once.

    Raises:
        V2VError: an id is out of range or named twice.
    """
    if len(set(foreground)) < len(foreground):
        raise V2VError("label-duplicate", "--foreground names a label twice.", "Name every label once.")
    wrong = [label for label in foreground if not 0 <= label < num_labels]
    if wrong:
        raise V2VError(
            "label-id-out-of-range",
            f"--foreground {wrong[0]} is out of range: label ids are 0 to {num_labels - 1}.",
            "Give ids that the label maps have.",
        )
