"""The store: one folder per weights file in the user's cache, with a record of the checksum beside the file.

`V2V_WEIGHTS` names another place for it. A file without a record counts as absent. `keep` writes into the store.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from v2vkit.errors import V2VError
from v2vkit.weights.files import file_digest
from v2vkit.weights.registry import Entry, how_to_get, known

VARIABLE = "V2V_WEIGHTS"
RECORD = "record.json"


class Record(BaseModel):
    """What is known of a file in the store.

    Attributes:
        file: its name in the entry's folder.
        sha256: of its content when it came, 64 hex digits.
        bytes: its size.
        source: the URL, or the path that it was copied from.
    """

    model_config = ConfigDict(frozen=True)

    file: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    source: str


@dataclass(frozen=True)
class Found:
    """A weights file that is here.

    Attributes:
        path: the file.
        origin: `store`, or the name of the package that carries it.
        sha256: what its content must have: 64 hex digits from the store's record, the registry's digits otherwise.
    """

    path: Path
    origin: str
    sha256: str | None


def store_folder() -> Path:
    """Where the store is; it need not exist."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    return platformdirs.user_cache_path("v2vkit", appauthor=False) / "weights"


def find(name: str) -> Path | None:
    """The path of a known weights file, from the store or else from a package that carries it; None if neither has it.

    Sizes are compared, contents are not read (`v2v weights verify` reads them).

    Raises:
        V2VError: there is no entry of that name.
    """
    found = locate(known(name))
    return None if found is None else found.path


def require(name: str) -> Path:
    """As `find`, for what cannot work without the file.

    Raises:
        V2VError: the file is not here, or the one in the store is damaged; says which command brings it. Or there is no
            entry of that name.
    """
    entry = known(name)
    found = locate(entry)
    if found is not None:
        return found.path
    damage = store_damage(entry)
    if damage is not None:
        raise V2VError(
            "weights-damaged", damage, f"Remove the folder {store_folder() / name}, then: {how_to_get(entry)}"
        )
    raise V2VError(
        "weights-missing", f"The weights {name} are not here ({entry.purpose}).", f"Get them: {how_to_get(entry)}"
    )


def locate(entry: Entry) -> Found | None:
    """Where the file is, in the store or else in a package; None where neither has it in its right size."""
    record = read_record(entry)
    if record is not None and store_damage(entry) is None:
        return Found(store_folder() / entry.name / record.file, "store", record.sha256)
    for carrier in entry.carriers:
        path = carrier.path()
        if path is not None and entry.has_size(path.stat().st_size):
            return Found(path, carrier.package, entry.sha256)
    return None


def read_record(entry: Entry) -> Record | None:
    """The record of an entry's file in the store; None where there is none that can be read."""
    try:
        return Record.model_validate_json((store_folder() / entry.name / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def store_damage(entry: Entry) -> str | None:
    """What is wrong with an entry's file in the store, without reading its content; None if nothing is, or none is."""
    folder = store_folder() / entry.name
    record = read_record(entry)
    if record is None:
        return f"The record {folder / RECORD} is damaged." if (folder / RECORD).exists() else None
    path = folder / record.file
    if not entry.has_digest(record.sha256) or not entry.has_size(record.bytes):
        return f"The file {path} is not the {entry.name} that v2vkit knows: it was stored as another one."
    try:
        size = path.stat().st_size
    except OSError as error:
        return f"The file {path} is recorded in the store and cannot be read: {error.strerror}."
    if size != record.bytes:
        return f"The file {path} is damaged: it has {size} bytes, {record.bytes} when it was stored."
    return None


def content_damage(entry: Entry, found: Found) -> str | None:
    """What is wrong with the content of a file that is here; None if its checksum is right. Reads the whole file."""
    digest = file_digest(found.path)
    if found.sha256 is None or digest.startswith(found.sha256):
        return None
    return f"The file {found.path} ({entry.name}) has changed: its SHA-256 is {digest}, not {found.sha256}."
