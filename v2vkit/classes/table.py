"""A class table: `id name colour foreground thing` for every class of a data set, as TOML.

Some are built in by name (`classes/tables/*.toml`). A table travels in the manifests of label maps and in model files,
so that flags take names and pictures have its colours.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from v2vkit.config import IGNORE
from v2vkit.errors import V2VError

Colour = tuple[int, int, int]
_Channel = Annotated[int, Field(ge=0, le=255)]
_MAX_BYTES = 1_000_000


class LabelClass(BaseModel):
    """One class.

    Attributes:
        id: in the label maps, 0 to 255.
        name: unique in the table.
        colour: (red, green, blue); None = one of the default palette.
        foreground: whether it is usually given the foreground branch (eq. 9): what moves.
        thing: whether it has objects that can be counted (a car), not areas (the road).
        ignore: its pixels become 255, which has no label.
        merges: names or ids of another table's classes that become this one (`ingest --remap`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(ge=0, le=IGNORE)
    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\s=,][^=,\n\r]*$")
    colour: tuple[_Channel, _Channel, _Channel] | None = Field(
        default=None, validation_alias=AliasChoices("colour", "color")
    )
    foreground: bool = False
    thing: bool = False
    ignore: bool = False
    merges: tuple[int | str, ...] = ()


class ClassTable(BaseModel):
    """The classes of a data set.

    Attributes:
        name: of the table.
        version: of the program or data set whose ids these are; empty = there is but one.
        ids_in_red: maps in colours may hold ids in red and instances in green and blue (CARLA, SYNTHIA).
        classes: in the order of their ids.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    version: str = ""
    ids_in_red: bool = False
    classes: tuple[LabelClass, ...] = Field(min_length=1, max_length=256)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for what in ("id", "name"):
            counts = Counter(getattr(of, what) for of in self.classes)
            if twice := [value for value, count in counts.items() if count > 1]:
                raise ValueError(f"two classes have the {what} {twice[0]!r}")
        if unmarked := next((of.name for of in self.classes if of.id == IGNORE and not of.ignore), None):
            raise ValueError(f"the class {unmarked!r} has the id {IGNORE}, which is ignored: say ignore = true")
        if all(of.ignore for of in self.classes):
            raise ValueError("every class is ignored")
        return self

    @property
    def num_labels(self) -> int:
        """Label ids that are not ignored are below it."""
        return 1 + max(of.id for of in self.classes if not of.ignore)

    @property
    def names(self) -> dict[int, str]:
        """Id -> name, of all classes."""
        return {of.id: of.name for of in self.classes}

    @property
    def ignored(self) -> frozenset[int]:
        """Ids whose pixels become 255."""
        return frozenset(of.id for of in self.classes if of.ignore)

    def id_of(self, wanted: int | str) -> int:
        """The id of a class that is given by its name or id.

        Raises:
            V2VError: the table has none of that name; names those that are meant, perhaps.
        """
        text = str(wanted).strip()
        found = next((of.id for of in self.classes if of.name.casefold() == text.casefold()), None)
        if found is None and text.isdecimal() and len(text) <= 5:
            found = int(text)
        if found is None:
            raise V2VError("class-unknown", f"The class table {self.name} has no class {text!r}.", self._listed())
        return found

    def _listed(self) -> str:
        names = [of.name for of in self.classes]
        return f"Its classes: {', '.join(names[:40])}{' ...' * (len(names) > 40)}."

    def plain(self) -> dict[str, Any]:
        """As JSON; what is at its default is left out."""
        return self.model_dump(mode="json", exclude_defaults=True)


def table_names() -> tuple[str, ...]:
    """The built-in tables."""
    files = resources.files("v2vkit.classes").joinpath("tables").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


@cache
def built_in(name: str) -> ClassTable:
    """The built-in table of that name."""
    return ClassTable.model_validate(tomllib.loads(_built_in_text(name)))


def _built_in_text(name: str) -> str:
    return resources.files("v2vkit.classes").joinpath("tables", f"{name}.toml").read_text(encoding="utf-8")


def find_table(value: Any) -> Any:
    """A table from the name of a built-in one or the path of a TOML file; what is neither text is handed on.

    Raises:
        V2VError: there is no such table, or the file is not one.
    """
    if not isinstance(value, str):
        return value
    if value in table_names():
        return built_in(value)
    path = Path(value)
    known = f"Built in: {', '.join(table_names())}; or give a TOML file."
    if path.suffix.lower() != ".toml":
        raise V2VError("class-table-unknown", f"There is no class table {value!r}.", known)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise V2VError("file-missing", f"The class table {path} does not exist.", known) from None
    except OSError as error:
        raise V2VError(
            "file-unreadable", f"The class table {path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
    return parse_table(data, str(path))


def parse_table(data: bytes, where: str) -> ClassTable:
    """A table from the bytes of a TOML file.

    Raises:
        V2VError: it is none; says where the mistake is.
    """
    hint = 'Write name = "..." and classes = [{ id = 0, name = "road", colour = [128, 64, 128] }, ...].'
    if len(data) > _MAX_BYTES:
        raise V2VError("class-table-damaged", f"{where} is too large for a class table.", hint)
    try:
        values = tomllib.loads(data.decode("utf-8-sig"))
        return ClassTable.model_validate({"name": Path(where).stem, **values})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        raise V2VError("class-table-damaged", f"{where} is no class table ({place}: {text}).", hint) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise V2VError("class-table-damaged", f"{where} is no class table ({error}).", hint) from None


ClassTableSetting = Annotated[
    ClassTable, BeforeValidator(find_table), PlainSerializer(ClassTable.plain, return_type=dict[str, Any])
]
"""A setting that takes the name of a built-in table or a TOML file; manifests hold the whole table."""


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.strip().isdecimal() and len(value) <= 5 else value


ClassName = Annotated[int | str, BeforeValidator(_number)]
"""A setting that takes a class by its id or its name in the class table."""


def ids_of(wanted: Iterable[int | str], table: ClassTable | None, flag: str) -> tuple[int, ...]:
    """The ids of classes that are given by ids or names.

    Raises:
        V2VError: a name is unknown, or there is no table that has names.
    """
    found = []
    for of in wanted:
        if isinstance(of, str) and table is None:
            raise V2VError(
                "class-table-required",
                f"{flag} {of} is a name, but the labels have no class table.",
                f"Give the id, or ingest the labels with --classes ({', '.join(table_names())}, or a TOML file).",
            )
        found.append(of if table is None else table.id_of(of))
    return tuple(int(of) for of in found)


def as_table(stored: Any) -> ClassTable | None:
    """A table as settings hold it: None, a table, or a table as JSON.

    Raises:
        V2VError: a manifest or model file holds something else.
    """
    if stored is None or isinstance(stored, ClassTable):
        return stored
    try:
        return ClassTable.model_validate(stored)
    except ValidationError as error:
        raise V2VError(
            "class-table-damaged",
            f"The stored class table is damaged ({error.errors()[0]['msg']}).",
            "Make the artifact or model that holds it again.",
        ) from None


def tables_with(ids: Iterable[int]) -> list[str]:
    """The built-in tables that have all these ids."""
    wanted = set(ids) - {IGNORE}
    return [name for name in table_names() if wanted <= set(built_in(name).names)]


def tables_with_colours(colours: Iterable[Colour]) -> list[str]:
    """The built-in tables that have all these colours."""
    wanted = set(colours)
    return [name for name in table_names() if wanted <= {of.colour for of in built_in(name).classes}]
