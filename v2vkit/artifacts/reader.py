"""Random access to the files of an artifact; each shard is read once and verified on first use."""

import hashlib
import threading
from dataclasses import dataclass

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, ShardEntry
from v2vkit.artifacts.shard import (
    Members,
    checksum_error,
    list_members,
    missing_shard_error,
    sample_key,
    wrong_size_error,
)
from v2vkit.artifacts.shard_cache import cached_shard, forget_shard, has_copy
from v2vkit.errors import V2VError

_BLOCK = 1 << 22
_OPENING = threading.Lock()
"""Held while a shard is opened, so that threads of one process open it once."""


@dataclass(frozen=True)
class OpenShard:
    """A verified shard as a local file, with the offset and size of each member."""

    folder: Folder
    name: str
    members: Members


class ArtifactReader:
    """The files of one artifact.

    A local shard is read in place. A remote shard is downloaded into the local cache, in one request, and read there.

    Args:
        folder: of the artifact.
        manifest: of the artifact.
    """

    def __init__(self, folder: Folder, manifest: Manifest):
        self.folder = folder
        self.shards = manifest.shards
        self._number = {clip.name: number for number, unit in enumerate(manifest.units) for clip in unit}
        self._open: dict[int, OpenShard] = {}

    def has(self, clip: str, t: int, extension: str) -> bool:
        """Whether the file exists.

        Raises:
            V2VError: the clip's shard is missing or corrupt.
        """
        return f"{sample_key(clip, t)}.{extension}" in self._shard(clip).members

    def read(self, clip: str, t: int, extension: str) -> bytes:
        """The bytes of one file.

        Raises:
            KeyError: there is no such file.
            V2VError: the clip's shard is missing or corrupt.
        """
        shard = self._shard(clip)
        offset, size = shard.members[f"{sample_key(clip, t)}.{extension}"]
        try:
            return shard.folder.read(shard.name, offset, offset + size)
        except FileNotFoundError:
            # Another process removed the cached copy; the second try names a shard that is gone itself.
            self._open.pop(self._number[clip], None)
            shard = self._shard(clip)
            return shard.folder.read(shard.name, offset, offset + size)

    def _shard(self, clip: str) -> OpenShard:
        number = self._number[clip]
        if number not in self._open:
            with _OPENING:
                if number not in self._open:
                    self._open[number] = open_shard(self.folder, self.shards[number])
        return self._open[number]


def open_shard(folder: Folder, entry: ShardEntry) -> OpenShard:
    """Verify a shard, downloading it first if it is remote.

    The offsets come from the verified tar, never from the index file beside it.

    Raises:
        V2VError: the shard is missing, truncated or altered, or holds unsafe members; names the shard.
    """
    where = f"{folder.url}/{entry.name}"
    try:
        return _verified(folder, entry.name, entry, where) if not folder.remote else _open_copy(folder, entry, where)
    except FileNotFoundError:
        raise missing_shard_error(where) from None


def _open_copy(folder: Folder, entry: ShardEntry, where: str) -> OpenShard:
    """Open a remote shard through the local cache; a damaged copy is downloaded again once."""
    known = has_copy(entry)
    try:
        return _verified(*cached_shard(folder, entry), entry, where)
    except V2VError:
        forget_shard(entry)
        if not known:  # what was just downloaded is damaged: the shard itself is
            raise
    return _open_copy(folder, entry, where)


def _verified(folder: Folder, name: str, entry: ShardEntry, where: str) -> OpenShard:
    sha256, size = hashlib.sha256(), 0
    with folder.open(name) as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            size += len(block)
        if size != entry.bytes:
            raise wrong_size_error(where, size, entry)
        if sha256.hexdigest() != entry.sha256:
            raise checksum_error(where)
        file.seek(0)
        return OpenShard(folder, name, list_members(file, where))
