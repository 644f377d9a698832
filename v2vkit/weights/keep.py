"""Writes files into the store: the user's own, and downloaded ones.

A file is written under a temporary name, checked and renamed. Its record is written last, so a file with a record is
complete.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from v2vkit.errors import DISK_FULL, V2VError
from v2vkit.weights.registry import Entry, format_size, how_to_get, known
from v2vkit.weights.store import RECORD, VARIABLE, Record, read_record, store_damage, store_folder

_LOCK = ".lock"
_CHUNK = 1 << 20


def add(name: str, file: str | Path) -> Path:
    """Copies a user's file into the store.

    Args:
        name: of its registry entry.
        file: the file.

    Returns:
        Its path in the store. Adding the same file again changes nothing.

    Raises:
        V2VError: there is no such entry or file; it is not the file of the registry; it is a web page; the store has
            another file under that name, or cannot be written.
    """
    entry, source = known(name), Path(file)
    if not source.is_file():
        raise V2VError("file-missing", f"The file {source} does not exist.", "Give the path of the weights file.")
    if not os.access(source, os.R_OK):
        raise V2VError("file-unreadable", f"The file {source} cannot be read.", "Check its permissions.")
    with open_entry(entry) as folder, explained(folder):
        temporary = folder / "add.part"
        digest = _copy(source, temporary)
        try:
            check_content(entry, temporary, digest, str(source))
            size = temporary.stat().st_size
            record = Record(file=_name(entry, source), sha256=digest, bytes=size, source=str(source.absolute()))
            return keep(entry, temporary, record)
        finally:
            temporary.unlink(missing_ok=True)


def check_content(entry: Entry, path: Path, digest: str, where: str) -> None:
    """Refuses a file that is not the one of a registry entry.

    Args:
        entry: the registry entry.
        path: the file, still under its temporary name.
        digest: its SHA-256.
        where: its origin (URL or path), for messages.

    Raises:
        V2VError: it is empty, a web page, or has another size or checksum than in the registry.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(512)
    if is_markup(start):
        raise V2VError(
            "web-page",
            f"{where} is a web page, not weights.",
            "It is often the error page of a proxy: open it to read it.",
        )
    if not entry.has_size(size):
        wanted = "which cannot be weights" if entry.size is None else f"{entry.name} has {entry.size}"
        raise V2VError(
            "weights-mismatch", f"{where} has {size} bytes, {wanted}.", "Get the file again; it may have been cut off."
        )
    if not entry.has_digest(digest):
        raise V2VError(
            "weights-mismatch",
            f"{where} is not {entry.name}: its SHA-256 is {digest}, that of {entry.name} begins with {entry.sha256}.",
            f"Get it: {how_to_get(entry)}",
        )


def is_markup(start: bytes) -> bool:
    """Whether a file that begins with `start` is HTML or XML; no weights format begins with `<`."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<"


def keep(entry: Entry, temporary: Path, record: Record) -> Path:
    """Renames a checked file to its name in the store, then writes its record; returns its path.

    Raises:
        V2VError: the store already has another file under that name.
    """
    folder = temporary.parent
    present = read_record(entry) if store_damage(entry) is None else None
    if present is not None and present.sha256 != record.sha256:
        raise V2VError(
            "weights-conflict",
            f"The store has another file for {entry.name} (SHA-256 {present.sha256[:8]}…).",
            f"Remove the folder {folder} to replace it.",
        )
    name = record.file if present is None else present.file
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(folder / name)
    draft = folder / f"{RECORD}.part"
    draft.write_text(record.model_copy(update={"file": name}).model_dump_json(indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / RECORD)
    return folder / name


@contextlib.contextmanager
def open_entry(entry: Entry, waiting: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """The entry's folder in the store, created if missing and locked against other processes.

    Args:
        entry: the registry entry.
        waiting: called before waiting for another process that holds the lock.

    Raises:
        V2VError: the folder cannot be created or locked.
    """
    import filelock

    folder = store_folder() / entry.name
    hint = f"Set {VARIABLE} to a local folder that can be written."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / _LOCK)
        try:
            held = lock.acquire(timeout=0)
        except filelock.Timeout:
            waiting()
            held = lock.acquire()
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise V2VError(
            "weights-store-unwritable", f"The weights store {folder} cannot be used: {reason}.", hint
        ) from None
    with held:
        yield folder


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns OSErrors inside the block into `write_error`s."""
    try:
        yield
    except OSError as error:
        raise write_error(folder, error) from None


def write_error(folder: Path, error: OSError) -> V2VError:
    """The V2VError for an OSError while writing into the store."""
    if error.errno in DISK_FULL:
        free = shutil.disk_usage(folder).free
        return V2VError(
            "disk-full",
            f"The disk of the weights store {folder} is full ({format_size(free)} free).",
            f"Free some space or set {VARIABLE} to a folder on another disk, and run the same command again.",
        )
    return V2VError(
        "weights-store-unwritable",
        f"The weights store {folder} cannot be written: {error.strerror or type(error).__name__}.",
        f"Set {VARIABLE} to a local folder that can be written.",
    )


def _copy(source: Path, target: Path) -> str:
    """Copies a file; returns its SHA-256."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
    return digest.hexdigest()


def _name(entry: Entry, source: Path) -> str:
    """The file's name in the store: the published name, or the entry's name with the suffix of the user's file."""
    suffix = source.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,16}", source.suffix) else ""
    return entry.file or f"{entry.name}{suffix}"
