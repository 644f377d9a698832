"""The store: one folder per weights file in the user's cache; a record beside the file holds its checksum.

The environment variable `V2V_WEIGHTS` sets another folder. A file without a record counts as absent. Writing is in
`v2vkit.weights.keep`.
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
    """The record of a file in the store.

    Attributes:
        file: its name in the entry's folder.
        sha256: of its content when it was stored, 64 hex digits.
        bytes: its size.
        source: the URL or path that it came from.
    """

    model_config = ConfigDict(frozen=True)

    file: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(gt=0)
    source: str


@dataclass(frozen=True)
class Found:
    """A weights file that is present.

    Attributes:
        path: the file.
        origin: `store`, or the name of the package that contains it.
        sha256: expected checksum: 64 hex digits from the store's record, or the first digits from the registry.
    """

    path: Path
    origin: str
    sha256: str | None


def store_folder() -> Path:
    """Folder of the store; it may not exist."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    return platformdirs.user_cache_path("v2vkit", appauthor=False) / "weights"


def find(name: str) -> Path | None:
    """The path of a known weights file, from the store or else from a package that contains it; None if neither does.

    Checks the size but not the content (`v2v weights verify` does).

    Raises:
        V2VError: there is no entry of that name.
    """
    found = locate(known(name))
    return None if found is None else found.path


def require(name: str) -> Path:
    """As `find`, but the file must exist.

    Raises:
        V2VError: the file is missing or damaged in the store (the hint names the command that installs it), or there is
            no entry of that name.
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
        "weights-missing", f"The weights {name} are not installed ({entry.purpose}).", f"Get them: {how_to_get(entry)}"
    )


def locate(entry: Entry) -> Found | None:
    """The file in the store or else in a package; None if neither has it with the right size."""
    record = read_record(entry)
    if record is not None and store_damage(entry) is None:
        return Found(store_folder() / entry.name / record.file, "store", record.sha256)
    for carrier in entry.carriers:
        path = carrier.path()
        if path is not None and entry.has_size(path.stat().st_size):
            return Found(path, carrier.package, entry.sha256)
    return None


def read_record(entry: Entry) -> Record | None:
    """The record of an entry's file in the store; None if it is missing or unreadable."""
    try:
        return Record.model_validate_json((store_folder() / entry.name / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def store_damage(entry: Entry) -> str | None:
    """A sentence on damage of an entry's file in the store, without reading its content; None if intact or absent."""
    folder = store_folder() / entry.name
    record = read_record(entry)
    if record is None:
        return f"The record {folder / RECORD} is damaged." if (folder / RECORD).exists() else None
    path = folder / record.file
    if not entry.has_digest(record.sha256) or not entry.has_size(record.bytes):
        return f"The file {path} is not the known {entry.name}: another file was stored under this name."
    try:
        size = path.stat().st_size
    except OSError as error:
        return f"The file {path} has a record in the store but cannot be read: {error.strerror}."
    if size != record.bytes:
        return f"The file {path} is damaged: it has {size} bytes, but {record.bytes} were stored."
    return None


def content_damage(entry: Entry, found: Found) -> str | None:
    """A sentence on a wrong checksum of a file; None if it is right. Reads the whole file."""
    digest = file_digest(found.path)
    if found.sha256 is None or digest.startswith(found.sha256):
        return None
    return f"The file {found.path} ({entry.name}) has changed: its SHA-256 is {digest}, not {found.sha256}."
