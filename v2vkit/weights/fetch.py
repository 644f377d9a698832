"""Downloads one weights file into the store: the only code of v2vkit that downloads anything.

An interrupted download goes on where it stopped (HTTP ranges), also in a later call. The file takes its place only when
size and SHA-256 are right.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from v2vkit.errors import V2VError
from v2vkit.weights.files import file_digest
from v2vkit.weights.keep import check_content, explained, keep, open_entry
from v2vkit.weights.registry import SIZE_TOLERANCE, Entry, how_to_get, in_words, known
from v2vkit.weights.request import (
    CHUNK,
    BrokenConnectionError,
    UselessPartError,
    elsewhere,
    open_url,
    other_size,
    read_chunk,
    refuse_pages,
)
from v2vkit.weights.store import VARIABLE, Record, content_damage, locate

PAUSES = (1.0, 2.0, 5.0, 10.0)
"""Seconds before a broken connection is tried again; it is given up after so many tries that brought nothing."""
NOTICE = 60.0
"""Seconds between two lines of progress where there is no terminal."""

Report = Callable[[str], None]


def fetch(name: str, *, report: Report = print) -> Path:
    """Download a known weights file into the store.

    Args:
        report: takes lines on what is going on.

    Returns:
        Its path. Nothing is downloaded if the file is here already and its content is right.

    Raises:
        V2VError: no such entry; it has no URL; the server cannot be reached, does not have the file or sends something
            else; the connection breaks again and again (what came so far is kept); the disk is full.
    """
    entry = known(name)
    present = _present(entry, report)
    if present is not None:
        return present
    if entry.url is None:
        raise V2VError(
            "weights-url-missing", f"v2vkit knows no URL for {name}.", f"Get the file yourself: {how_to_get(entry)}"
        )
    waiting = f"another process is at work on {name}: waiting for it"
    with open_entry(entry, lambda: report(waiting)) as folder, explained(folder):
        present = _present(entry, report)
        if present is not None:
            return present
        report(f"fetching {name}, {in_words(entry.size or 0)}, from {entry.url}\nlicence: {entry.licence}")
        part = folder / f"{entry.file}.part"
        resumed = _size(part) > 0
        digest = _download(entry, part, report)
        if resumed and not entry.has_digest(digest):
            report("what an earlier call had downloaded does not fit: starting again")
            part.unlink()
            digest = _download(entry, part, report)
        try:
            check_content(entry, part, digest, entry.url)
        except V2VError:
            part.unlink()
            raise
        return keep(entry, part, Record(file=part.stem, sha256=digest, bytes=_size(part), source=entry.url))


def _present(entry: Entry, report: Report) -> Path | None:
    """The file if it is here, in the store or in a package, with the right content."""
    found = locate(entry)
    if found is None:
        return None
    damage = content_damage(entry, found)
    if damage is not None:
        report(damage)
        return None
    report(f"{entry.name} is here already: {found.path}")
    return found.path


def _download(entry: Entry, part: Path, report: Report) -> str:
    """Bring `part` to the whole file over as many connections as it takes; gives its SHA-256."""
    fruitless, best = 0, _size(part)
    with _progress(entry, best, report) as told:
        while True:
            try:
                return _connect(entry, part, told)
            except BrokenConnectionError as error:
                fruitless = fruitless + 1 if _size(part) <= best else 1
                best = max(best, _size(part))
                if isinstance(error, UselessPartError):
                    part.unlink(missing_ok=True)
                got = f"{in_words(_size(part))} of {in_words(entry.size or 0)}"
                if fruitless > len(PAUSES):
                    raise V2VError(
                        "download-failed",
                        f"Fetching {entry.name} from {entry.url} failed: {error}; {got} are here.",
                        f"Give the same command again: it goes on from there. {elsewhere(entry)}",
                    ) from None
                report(f"{error}; {got} are here, trying again")
            time.sleep(PAUSES[fruitless - 1])


def _connect(entry: Entry, part: Path, told: Callable[[int], None]) -> str:
    """Append what one connection brings to `part`; gives the SHA-256 of the whole.

    Raises:
        BrokenConnectionError: it did not bring the whole rest.
        V2VError: what comes is not the file, or cannot be written.
    """
    offset = _size(part)
    if entry.has_size(offset) and entry.has_digest(digest := file_digest(part)):
        return digest  # an earlier call was stopped between the last byte and the check
    if entry.has_size(offset):
        part.unlink()
        offset = 0
    with contextlib.closing(open_url(entry, offset)) as response:
        if response.status != 206:
            offset = 0  # the server knows no ranges: all of it comes again
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            raise UselessPartError("the server sends another part than was asked for")
        first = read_chunk(response)
        refuse_pages(entry, response, first if offset == 0 else b"")
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdigit() else None
        if total is not None and not entry.has_size(total):
            raise other_size(entry, f"{total} bytes")
        _refuse_full_disk(entry, part, offset)
        return _pour(entry, part, offset, response, first, told)


def _pour(entry: Entry, part: Path, offset: int, response: Any, first: bytes, told: Callable[[int], None]) -> str:
    """Write what comes behind the first `offset` bytes of `part`; gives the SHA-256 of the whole."""
    digest = hashlib.sha256()
    with part.open("r+b" if offset else "wb") as file:
        while chunk := file.read(CHUNK) if offset else b"":
            digest.update(chunk)
        chunk = first
        while chunk:
            file.write(chunk)
            digest.update(chunk)
            told(file.tell())
            if file.tell() > (entry.size or 0) + SIZE_TOLERANCE:
                raise other_size(entry, "more")
            chunk = read_chunk(response)
    if not entry.has_size(_size(part)):
        raise BrokenConnectionError("the connection broke off")
    return digest.hexdigest()


@contextlib.contextmanager
def _progress(entry: Entry, start: int, report: Report) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, a line a minute elsewhere; takes the bytes that are here."""
    from tqdm import tqdm

    last = time.monotonic()

    def told(size: int) -> None:
        nonlocal last
        bar.update(size - bar.n)
        if bar.disable and time.monotonic() - last >= NOTICE:
            last = time.monotonic()
            report(f"{entry.name}: {in_words(size)} of {in_words(entry.size or 0)}")

    with tqdm(total=entry.size, initial=start, desc=entry.name, unit="B", unit_scale=True, disable=None) as bar:
        yield told


def _refuse_full_disk(entry: Entry, part: Path, offset: int) -> None:
    missing = (entry.size or 0) - offset
    free = shutil.disk_usage(part.parent).free
    if free < missing:
        raise V2VError(
            "disk-full",
            f"{entry.name} needs {in_words(missing)} more in {part.parent}, and {in_words(free)} are free.",
            f"Free some space, or set {VARIABLE} to a folder on another disk.",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
