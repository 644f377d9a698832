"""A cache of remote shards on the local disk.

A shard is downloaded once, in one request, and stored under its checksum. `V2V_CACHE` sets the folder (default: the
user's cache directory), `V2V_CACHE_GB` its limit.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock
import platformdirs

from v2vkit.artifacts.folder import Folder, explain_os_errors
from v2vkit.artifacts.manifest import ShardEntry
from v2vkit.errors import V2VError

DEFAULT_GB = 100.0
_DOWNLOAD = ".tmp-"
_ABANDONED = 86_400.0  # seconds since the last byte of a download whose process was killed
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


def cache_folder() -> Path:
    """The folder of the cache."""
    if given := os.environ.get("V2V_CACHE"):
        return Path(given).expanduser() / "shards"
    return platformdirs.user_cache_path("v2vkit", appauthor=False) / "shards"


def cache_limit() -> int:
    """Limit of the cache in bytes.

    Raises:
        V2VError: `V2V_CACHE_GB` is not a number above 0.
    """
    text = os.environ.get("V2V_CACHE_GB", "")
    try:
        gigabytes = float(text) if text else DEFAULT_GB
    except ValueError:
        gigabytes = 0.0
    if not gigabytes > 0:
        raise V2VError(
            "setting-invalid",
            f"V2V_CACHE_GB={text} is not a size in gigabytes.",
            "Set it to a number above 0, such as 100.",
        )
    return int(gigabytes * 1e9)


def cached_shard(folder: Folder, entry: ShardEntry) -> tuple[Folder, str]:
    """Folder and name of the local copy of a remote shard, downloaded if absent. Its content is not verified.

    Raises:
        FileNotFoundError: there is no such shard.
        V2VError: the disk is full.
    """
    kept = cache_folder()
    path = _copy_of(entry)
    with _locked(kept, entry.sha256):
        if not path.exists():
            temporary = path.with_name(f"{_DOWNLOAD}{os.getpid()}-{path.name}")
            try:
                _make_room(kept, entry.bytes)
                with explain_os_errors(str(path), reading=True):
                    folder.download(entry.name, str(temporary))
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        with contextlib.suppress(OSError):
            os.utime(path)  # the least recently used shards are removed first
    return Folder(str(kept)), path.name


def cache_note(entries: Iterable[ShardEntry]) -> str:
    """One line for the plan: the size of these remote shards and the cache, and whether they fit."""
    total, limit = sum(entry.bytes for entry in entries), cache_limit()
    note = f"{total / 1e9:.1f} GB of remote shards through the cache {cache_folder()} of {limit / 1e9:g} GB"
    return note if total <= limit else f"{note}, which is too small: shards are downloaded repeatedly (V2V_CACHE_GB)"


def has_copy(entry: ShardEntry) -> bool:
    """Whether a local copy of the shard exists."""
    return _copy_of(entry).exists()


def forget_shard(entry: ShardEntry) -> None:
    """Remove the local copy of a shard."""
    _copy_of(entry).unlink(missing_ok=True)


def _copy_of(entry: ShardEntry) -> Path:
    return cache_folder() / f"{entry.sha256}.tar"


def _make_room(kept: Path, size: int) -> None:
    """Remove the least recently used shards until `size` more bytes fit into the limit, and abandoned downloads."""
    files = []
    for path in kept.glob("*.tar"):
        with contextlib.suppress(OSError):  # another process removed it
            status = path.stat()
            if path.name.startswith(_DOWNLOAD):  # of another process
                if time.time() - status.st_mtime > _ABANDONED:
                    path.unlink()
                continue
            files.append((status.st_mtime, status.st_size, path))
    total, limit = size + sum(number for _, number, _ in files), cache_limit()
    for _, number, path in sorted(files):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= number


@contextlib.contextmanager
def _locked(kept: Path, checksum: str) -> Iterator[None]:
    """Hold a lock so that several processes download a shard once. Shards share 16 lock files."""
    with explain_os_errors(str(kept)):
        kept.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(kept / f"{checksum[:1]}.lock")
        try:
            lock.acquire()
        except NotImplementedError:
            pass  # a file system without locks
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
    try:
        yield
    finally:
        lock.release()
