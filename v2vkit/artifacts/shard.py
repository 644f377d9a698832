"""One shard: a plain tar of whole clips in the WebDataset convention, with an index for random access beside it.

A sample's files share the key `clip/000012`; what follows the first dot of the base name is the extension. Shards are
byte-reproducible: fixed owner, mode and time, members in frame order. The standard library writes them: it gives the
bytes of `webdataset.TarWriter(encoder=False, mtime=0)` without importing torch into every worker.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from v2vkit.artifacts.folder import Folder, NewFile
from v2vkit.artifacts.manifest import ClipInfo, ShardEntry
from v2vkit.errors import V2VError

Members = dict[str, tuple[int, int]]


class ShardIndex(BaseModel):
    """The contents of a shard and their offsets; written after the shard, so its presence means the shard is complete.

    Attributes:
        fingerprint: of the run that wrote it; a resumed run keeps only shards with its own fingerprint.
        entry: name, size and checksum of the tar.
        clips: the clips in it.
        members: file name -> (offset, size) in bytes.
        missing: reason -> keys of the frames without a result.
        counts: name -> number over these frames, where the stage counts something.
        estimator: name and version of the third-party estimator that was used, if any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    entry: ShardEntry
    clips: tuple[ClipInfo, ...]
    members: dict[str, tuple[int, int]] = Field(repr=False)
    missing: dict[str, tuple[str, ...]] = {}
    counts: dict[str, int] = {}
    estimator: dict[str, str] = {}


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.tar"


def index_name(shard: str) -> str:
    return shard.removesuffix(".tar") + ".index.json"


def sample_key(clip: str, t: int) -> str:
    return f"{clip}/{t:06d}"


class ShardWriter:
    """Writes one shard; a context manager that removes the shard unless `finish` was called."""

    def __init__(self, folder: Folder, name: str):
        self.folder, self.name = folder, name
        self._creation = folder.create(name)
        self._file = _HashingFile(self._creation.__enter__())
        self._tar = tarfile.open(fileobj=self._file, mode="w|", format=tarfile.USTAR_FORMAT)  # type: ignore[call-overload]  # noqa: SIM115
        self.members: Members = {}
        self._open = True

    def add(self, key: str, extension: str, data: bytes) -> None:
        """Add one file of one sample."""
        info = tarfile.TarInfo(f"{key}.{extension}")
        info.size, info.mode, info.mtime = len(data), 0o444, 0
        info.uname = info.gname = "v2v"
        start = self._tar.offset
        self._tar.addfile(info, io.BytesIO(data))
        self.members[info.name] = (start + 512, len(data))

    def finish(
        self,
        fingerprint: str,
        clips: tuple[ClipInfo, ...],
        *,
        missing: dict[str, tuple[str, ...]] | None = None,
        counts: dict[str, int] | None = None,
        estimator: dict[str, str] | None = None,
    ) -> ShardIndex:
        """Close the tar, rename it into place, then write the index."""
        self._tar.close()
        self._open = False
        self._creation.__exit__(None, None, None)
        entry = ShardEntry(
            name=self.name,
            bytes=self._file.size,
            sha256=self._file.sha256.hexdigest(),
            num_samples=sum(clip.num_frames for clip in clips),
        )
        index = ShardIndex(
            fingerprint=fingerprint,
            entry=entry,
            clips=clips,
            members=self.members,
            missing=missing or {},
            counts=counts or {},
            estimator=estimator or {},
        )
        self.folder.write(index_name(self.name), index.model_dump_json().encode())
        return index

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open = False
            failure = error or AssertionError("the block ended well without finish()")
            # Close both without writing, or the garbage collector would make them write to a closed file later.
            self._file.abandoned = True
            self._tar.close()
            if self._tar.fileobj is not None:
                self._tar.fileobj.close()
            # The creation context removes the temporary file and raises the error again; ours is already being raised.
            try:
                self._creation.__exit__(type(failure), failure, trace)
            except BaseException as raised:
                if error is None or raised is not error:
                    raise


class _HashingFile:
    """Counts and hashes the bytes written through it; after `abandoned` is set it writes nothing."""

    def __init__(self, file: NewFile):
        self.file, self.sha256, self.size, self.abandoned = file, hashlib.sha256(), 0, False

    def write(self, data: bytes) -> int:
        if self.abandoned:
            return len(data)
        self.sha256.update(data)
        self.size += len(data)
        return self.file.write(data)


def read_index(folder: Folder, shard: str) -> ShardIndex | None:
    """The index of a shard; None when it is missing or cannot be parsed."""
    try:
        return ShardIndex.model_validate_json(folder.read(index_name(shard)))
    except (FileNotFoundError, ValidationError):
        return None


def list_members(file: IO[bytes], where: str) -> Members:
    """Offset and size of each file in a tar, from the tar's own headers.

    Args:
        file: the tar, positioned at its start.
        where: the shard's name, for messages.

    Returns:
        file name -> (offset, size) in bytes.

    Raises:
        V2VError: not a complete uncompressed tar, or a member that could escape its folder (absolute name, `..`) or is
            not a plain file (link, device).
    """
    members: Members = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                parts = member.name.split("/")
                if member.name.startswith("/") or ".." in parts or "\\" in member.name:
                    raise V2VError(
                        "shard-unsafe",
                        f"{where} holds a file with the unsafe name {member.name!r}.",
                        "Do not use this shard. Remake the artifact from its source.",
                    )
                if not member.isreg():
                    raise V2VError(
                        "shard-unsafe",
                        f"{where} holds {member.name!r}, which is a link, folder or device.",
                        "Do not use this shard. Remake the artifact from its source.",
                    )
                members[member.name] = (member.offset_data, member.size)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise V2VError("shard-damaged", f"{where} is not a readable tar ({error}).", _DELETE_AND_REMAKE) from None
    return members


_REMAKE = "Rerun the `v2v` command that made it; the other shards are kept."
_DELETE_AND_REMAKE = "Delete it and rerun the `v2v` command that made it; complete shards are kept."
"""Without `--overwrite` commands check sizes only: a shard of the right size with wrong content has to be deleted."""


def checksum_error(where: str) -> V2VError:
    """The error for a file of an artifact with the right size and a wrong checksum."""
    return V2VError(
        "shard-damaged", f"{where} is corrupt: its checksum does not match the manifest.", _DELETE_AND_REMAKE
    )


def missing_shard_error(where: str) -> V2VError:
    """The error for a missing shard."""
    return V2VError("shard-missing", f"Shard {where} is missing.", _REMAKE)


def wrong_size_error(where: str, size: int, entry: ShardEntry) -> V2VError:
    """The error for a shard that is truncated or too long."""
    return V2VError("shard-damaged", f"Shard {where} has {size} bytes instead of {entry.bytes}.", _REMAKE)


def load_shard(folder: Folder, entry: ShardEntry) -> "Shard":
    """Read a shard into memory and verify its size and checksum.

    Raises:
        V2VError: the shard is missing, truncated or altered, or holds unsafe members; names the shard.
    """
    where = f"{folder.url}/{entry.name}"
    try:
        data = folder.read(entry.name)
    except FileNotFoundError:
        raise missing_shard_error(where) from None
    if len(data) != entry.bytes:
        raise wrong_size_error(where, len(data), entry)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise checksum_error(where)
    return Shard(where, data, list_members(io.BytesIO(data), where))


class Shard:
    """The files of one shard held in memory; `members` has the offset and size of each in `data`."""

    def __init__(self, where: str, data: bytes, members: Members):
        self.where, self.data, self.members = where, data, members

    def read(self, key: str, extension: str) -> bytes:
        """The bytes of one file.

        Raises:
            KeyError: the sample has no such file.
        """
        offset, size = self.members[f"{key}.{extension}"]
        return self.data[offset : offset + size]

    def has(self, key: str, extension: str) -> bool:
        return f"{key}.{extension}" in self.members

    def files(self, extension: str) -> Iterator[tuple[str, bytes]]:
        """(name, bytes) of every file with this extension."""
        for name, (offset, size) in self.members.items():
            if name.endswith(f".{extension}"):
                yield name, self.data[offset : offset + size]

    def extensions(self, key: str) -> list[str]:
        """The extensions of a sample's files."""
        return [name.removeprefix(key + ".") for name in self.members if name.startswith(key + ".")]
