"""Downloads one weights file into the store: the only code of v2vkit that downloads anything.

An interrupted download resumes (HTTP ranges), also in a later call. The file enters the store only after its size and
SHA-256 have been checked.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2vkit.errors import V2VError
from v2vkit.weights.files import file_digest
from v2vkit.weights.keep import check_content, explained, keep, open_entry
from v2vkit.weights.registry import SIZE_TOLERANCE, Entry, format_size, how_to_get, known
from v2vkit.weights.request import (
    CHUNK,
    BrokenConnectionError,
    StalePartError,
    manual_download,
    open_url,
    read_chunk,
    refuse_web_page,
    wrong_size,
)
from v2vkit.weights.store import VARIABLE, Record, content_damage, locate

Report = Callable[[str], None]


@dataclass(frozen=True)
class Timing:
    """How long a download waits, in seconds.

    Attributes:
        retry_delays: before each retry of a broken connection; one more failure in a row without new data ends the
            download.
        timeout: without data, after which a connection counts as broken.
        report_interval: between two progress lines, where there is no terminal.
    """

    retry_delays: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    timeout: float = 30.0
    report_interval: float = 60.0


USUAL_TIMING = Timing()


def fetch(name: str, *, report: Report = print, timing: Timing = USUAL_TIMING) -> Path:
    """Downloads a known weights file into the store.

    Args:
        name: of its registry entry.
        report: called with progress lines.
        timing: how long it waits.

    Returns:
        Its path. Nothing is downloaded if an intact file is already there.

    Raises:
        V2VError: there is no such entry or it has no URL; the server cannot be reached, does not have the file or sends
            another one; the connection breaks too often (the part received so far is kept); the disk is full.
    """
    entry = known(name)
    present = _present(entry, report)
    if present is not None:
        return present
    if entry.url is None:
        raise V2VError(
            "weights-url-missing", f"No URL is known for {name}.", f"Get the file yourself: {how_to_get(entry)}"
        )
    waiting = f"waiting for another process that writes {name}"
    with open_entry(entry, lambda: report(waiting)) as folder, explained(folder):
        present = _present(entry, report)
        if present is not None:
            return present
        report(f"fetching {name}, {format_size(entry.size or 0)}, from {entry.url}\nlicence: {entry.licence}")
        part = folder / f"{entry.file}.part"
        resumed = _size(part) > 0
        digest = _download(entry, part, report, timing)
        if resumed and not entry.has_digest(digest):
            report("the part from an earlier call is of another file: downloading again")
            part.unlink()
            digest = _download(entry, part, report, timing)
        try:
            check_content(entry, part, digest, entry.url)
        except V2VError:
            part.unlink()
            raise
        return keep(entry, part, Record(file=part.stem, sha256=digest, bytes=_size(part), source=entry.url))


def _present(entry: Entry, report: Report) -> Path | None:
    """Path of the file if the store or a package has it with the right checksum."""
    found = locate(entry)
    if found is None:
        return None
    damage = content_damage(entry, found)
    if damage is not None:
        report(damage)
        return None
    report(f"{entry.name} is here already: {found.path}")
    return found.path


def _download(entry: Entry, part: Path, report: Report, timing: Timing) -> str:
    """Downloads into `part` with retries until the file is complete; returns its SHA-256."""
    num_failures, best = 0, _size(part)
    with _progress(entry, best, report, timing) as report_size:
        while True:
            try:
                return _connect(entry, part, report_size, timing)
            except BrokenConnectionError as error:
                num_failures = num_failures + 1 if _size(part) <= best else 1
                best = max(best, _size(part))
                if isinstance(error, StalePartError):
                    part.unlink(missing_ok=True)
                received = f"received {format_size(_size(part))} of {format_size(entry.size or 0)}"
                if num_failures > len(timing.retry_delays):
                    raise V2VError(
                        "download-failed",
                        f"Fetching {entry.name} from {entry.url} failed: {error}; {received}.",
                        f"Run the same command again to resume. {manual_download(entry)}",
                    ) from None
                report(f"{error}; {received}, trying again")
            time.sleep(timing.retry_delays[num_failures - 1])


def _connect(entry: Entry, part: Path, report_size: Callable[[int], None], timing: Timing) -> str:
    """Appends the data of one connection to `part`; returns the SHA-256 of the whole file.

    Raises:
        BrokenConnectionError: the file is still incomplete.
        V2VError: the server sends something else, or the file cannot be written.
    """
    offset = _size(part)
    if entry.has_size(offset) and entry.has_digest(digest := file_digest(part)):
        return digest  # an earlier call was stopped between the last byte and the check
    if entry.has_size(offset):
        part.unlink()
        offset = 0
    with contextlib.closing(open_url(entry, offset, timeout=timing.timeout)) as response:
        if response.status != 206:
            offset = 0  # the server does not support ranges and sends the whole file
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            raise StalePartError("the server sends another range than was requested")
        first = read_chunk(response)
        refuse_web_page(entry, response, first if offset == 0 else b"")
        length = response.headers.get("Content-Length", "")
        total = offset + int(length) if length.isdigit() else None
        if total is not None and not entry.has_size(total):
            raise wrong_size(entry, f"{total} bytes")
        _refuse_full_disk(entry, part, offset)
        return _receive(entry, part, offset, response, first, report_size)


def _receive(
    entry: Entry, part: Path, offset: int, response: Any, first: bytes, report_size: Callable[[int], None]
) -> str:
    """Writes the response after the first `offset` bytes of `part`; returns the SHA-256 of the whole file."""
    digest = hashlib.sha256()
    with part.open("r+b" if offset else "wb") as file:
        while chunk := file.read(CHUNK) if offset else b"":
            digest.update(chunk)
        chunk = first
        while chunk:
            file.write(chunk)
            digest.update(chunk)
            report_size(file.tell())
            if file.tell() > (entry.size or 0) + SIZE_TOLERANCE:
                raise wrong_size(entry, "more")
            chunk = read_chunk(response)
    if not entry.has_size(_size(part)):
        raise BrokenConnectionError("the connection broke off")
    return digest.hexdigest()


@contextlib.contextmanager
def _progress(entry: Entry, start: int, report: Report, timing: Timing) -> Iterator[Callable[[int], None]]:
    """Progress bar on a terminal, else a line a minute; yields a function to call with the bytes received so far."""
    from tqdm import tqdm

    last = time.monotonic()

    def report_size(size: int) -> None:
        nonlocal last
        bar.update(size - bar.n)
        if bar.disable and time.monotonic() - last >= timing.report_interval:
            last = time.monotonic()
            report(f"{entry.name}: {format_size(size)} of {format_size(entry.size or 0)}")

    with tqdm(total=entry.size, initial=start, desc=entry.name, unit="B", unit_scale=True, disable=None) as bar:
        yield report_size


def _refuse_full_disk(entry: Entry, part: Path, offset: int) -> None:
    missing = (entry.size or 0) - offset
    free = shutil.disk_usage(part.parent).free
    if free < missing:
        raise V2VError(
            "disk-full",
            f"{entry.name} needs {format_size(missing)} more in {part.parent}, but {format_size(free)} are free.",
            f"Free some space, or set {VARIABLE} to a folder on another disk.",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
