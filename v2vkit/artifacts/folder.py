"""A folder on any fsspec file system with atomic writes: a file is either complete or absent."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from typing import IO, Any

import fsspec

from v2vkit.artifacts.network import network_error, refuse_credentials
from v2vkit.errors import DISK_FULL, V2VError, disk_full

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = ".tmp-"
_OURS = re.compile(rf"{re.escape(_TEMPORARY)}\d+-")
_READ_ONLY = frozenset(("http", "https", "github", "git", "zip", "tar", "data", "reference"))  # nothing can be renamed
_STORES = frozenset(("s3", "s3a", "gs", "gcs"))


class Folder:
    """One folder, local or remote (`work/anna/flow`, `memory://anna/flow`, `s3://bucket/flow`).

    Each file is written under a temporary name and renamed when complete, so readers never see a partial file, even if
    the writer is killed.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        if not self.url:  # usually an unset shell variable
            raise V2VError(
                "folder-unsupported",
                f"The folder {url!r} is the root of the file system.",
                "Give another one, such as `--work work`.",
            )
        refuse_credentials(self.url)
        protocol, there, _ = self.url.partition("://")
        if there and ("::" in self.url or protocol in _READ_ONLY):
            raise V2VError(
                "folder-unsupported",
                f"{url} is on a file system where files cannot be written and renamed.",
                "Give a local folder, or one in an object store such as s3://bucket/folder.",
            )
        try:
            # Without the cache of listings, which does not see what other processes write.
            uncached = {"use_listings_cache": False} if protocol in _STORES else {}
            self.fs, self.path = fsspec.url_to_fs(self.url, **uncached)
        except (ImportError, ValueError, OSError) as error:
            raise V2VError(
                "folder-unreachable",
                f"The folder {url} cannot be opened: {error}.",
                "Install the package that it names (extras: s3, gcs), check its address, or use a local folder.",
            ) from None
        self.path = self.path.rstrip("/")

    def __truediv__(self, name: str) -> "Folder":
        return Folder(f"{self.url}/{name}")

    @property
    def shared(self) -> bool:
        """Whether other processes see the same files (not so for `memory://`)."""
        return "memory" not in self.fs.protocol

    @property
    def remote(self) -> bool:
        """Whether files are read over a network (neither from this machine's disk nor from its memory)."""
        protocols = (self.fs.protocol,) if isinstance(self.fs.protocol, str) else self.fs.protocol
        return not {"file", "local", "memory"} & set(protocols)

    @property
    def is_file(self) -> bool:
        """Whether the path is a file."""
        with explain_os_errors(self.path, reading=True):
            return bool(self.fs.isfile(self.path))

    @property
    def there(self) -> bool:
        """Whether there is something at the path."""
        with explain_os_errors(self.path, reading=True):
            return bool(self.fs.exists(self.path))

    def _full(self, name: str) -> str:
        return f"{self.path}/{name}"

    def names(self) -> list[str]:
        """The complete files and the folders here, sorted; an absent folder is empty."""
        with explain_os_errors(self.path, reading=True):
            try:
                found = self.fs.ls(self.path, detail=False, refresh=True)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in found)
        return [name for name in names if not name.startswith(_TEMPORARY)]

    def exists(self, name: str) -> bool:
        with explain_os_errors(self._full(name), reading=True):
            return bool(self.fs.exists(self._full(name)))

    def size(self, name: str) -> int:
        with explain_os_errors(self._full(name), reading=True):
            return int(self.fs.size(self._full(name)))

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes [start, stop) of a file.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with explain_os_errors(self._full(name), reading=True):
            return bytes(self.fs.cat_file(self._full(name), start=start, end=stop))

    def open(self, name: str) -> IO[bytes]:
        """A file to read in order.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with explain_os_errors(self._full(name), reading=True):
            return self.fs.open(self._full(name), "rb")

    def download(self, name: str, path: str) -> None:
        """Copy a file to a local path, in one request where the store has one for it.

        Raises:
            FileNotFoundError: there is no such file.
        """
        with explain_os_errors(self._full(name), reading=True):
            self.fs.get_file(self._full(name), path)

    def write(self, name: str, data: bytes) -> None:
        with self.create(name) as file:
            file.write(data)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator["NewFile"]:
        """A file object for writing `name`; the file appears when the block ends without an error.

        Other errors of the block pass unchanged.

        Raises:
            V2VError: the disk is full, the folder is read-only or cannot be made.
        """
        path, temporary = self._full(name), f"{self.path}/{_TEMPORARY}{os.getpid()}-{name}"
        with explain_os_errors(path):
            self.fs.makedirs(self.path, exist_ok=True)
            file = self.fs.open(temporary, "wb")
        try:
            yield NewFile(file, path)
            with explain_os_errors(path):
                _flush_to_disk(file)
                file.close()  # fsspec uploads on close: before the rename
                self.fs.mv(temporary, path)
        except BaseException:
            with contextlib.suppress(Exception):
                file.close()
            with contextlib.suppress(Exception):
                self.fs.rm_file(temporary)
            raise

    def refuse_unwritable(self) -> None:
        """Check that files can be written here, by writing and removing an empty one.

        Raises:
            V2VError: as `create`.
        """
        name = f"{_TEMPORARY}{os.getpid()}-writable"
        with explain_os_errors(self.path):  # which the user named, unlike the file
            self.fs.makedirs(self.path, exist_ok=True)
            with self.fs.open(self._full(name), "wb"):
                pass
        self.remove(name)

    def remove(self, name: str) -> None:
        with explain_os_errors(self._full(name)), contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self._full(name))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against other processes of this machine; no effect on remote folders.

        Raises:
            V2VError: another process holds the lock, or the folder cannot be made.
        """
        if fcntl is None or "file" not in self.fs.protocol:
            yield
            return
        with explain_os_errors(self.path):
            self.fs.makedirs(self.path, exist_ok=True)
            handle = os.open(self.path, os.O_RDONLY)  # the kernel releases the lock if the process dies
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise V2VError(
                    "artifact-locked",
                    f"Another v2v command is using {self.url}.",
                    "Wait until it is done, or stop it.",
                ) from None
            except OSError:
                pass  # a file system without locks
            yield
        finally:
            os.close(handle)

    def clean(self) -> None:
        """Remove temporary files left by a killed writer."""
        with explain_os_errors(self.path, reading=True):
            try:
                found = self.fs.ls(self.path, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return
        for path in found:
            if _OURS.match(str(path).rsplit("/", 1)[-1]):
                with contextlib.suppress(OSError):
                    self.fs.rm_file(path)


class NewFile:
    """A file that is being written to a folder; errors of writing are sentences."""

    def __init__(self, file: IO[bytes], path: str):
        self._file, self._path = file, path

    def write(self, data: bytes) -> int:
        with explain_os_errors(self._path):
            return self._file.write(data)


def _flush_to_disk(file: Any) -> None:
    """Flush local files to the disk, so that a renamed file has its content even after a power failure."""
    file.flush()
    inner = getattr(file, "f", None)
    if inner is not None and hasattr(inner, "fileno"):
        os.fsync(inner.fileno())


@contextlib.contextmanager
def explain_os_errors(path: str, *, reading: bool = False) -> Iterator[None]:
    """Turn errors of the operating system into `V2VError`: full disk, missing permissions, a path where nothing can be
    created, a name that is too long, a file where a folder is needed (or the reverse).

    Args:
        path: the path that is written, or read with `reading`.
    """
    try:
        yield
    except Exception as error:
        if (explained := network_error(error, path)) is not None:
            raise explained from error
        if not isinstance(error, OSError):
            raise
        if error.errno in DISK_FULL:
            raise disk_full(path) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) or isinstance(error, PermissionError):
            raise V2VError(
                "file-unreadable" if reading else "target-unwritable",
                f"{path} cannot be {'read' if reading else 'written'}: {os.strerror(error.errno or errno.EACCES)}.",
                "Check its permissions." if reading else "Give a folder that you may write to.",
            ) from error
        if error.errno == errno.ENOENT and not reading:  # /proc, a broken link, a drive that is not there
            raise V2VError(
                "target-unwritable",
                f"{path} cannot be created: the system does not allow files there.",
                "Name another folder.",
            ) from error
        if error.errno == errno.ENAMETOOLONG:
            raise V2VError(
                "file-unreadable" if reading else "target-unwritable",
                f"The name {path} is too long.",
                "Give a shorter one.",
            ) from error
        if error.errno == errno.EISDIR:
            raise V2VError(
                "file-required", f"{path} is a folder.", "Give the name of a file, or move the folder away."
            ) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise V2VError(
                "folder-required",
                f"{path} cannot be reached: a part of the path is a file, and a folder is needed.",
                "Name another folder.",
            ) from error
        raise
