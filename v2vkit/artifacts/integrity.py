"""What an earlier run left in an artifact's folder: what is whole, what is damaged, what may be cleared away."""

import hashlib
from collections.abc import Iterator

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest, write_manifest
from v2vkit.artifacts.shard import corrupt, index_name, read_index, shard_name
from v2vkit.errors import V2VError


def incomplete(folder: Folder, manifest: Manifest, *, read: bool = False) -> list[str]:
    """Shards of a finished artifact that are not as they were written: gone, of another size, or without their index;
    with `read` also those of another content, or with an index that cannot be read."""
    present = set(folder.names())

    def indexed(shard: str) -> bool:
        if not shard.endswith(".tar"):  # a file that a stage made as a whole
            return True
        return index_name(shard) in present and (not read or read_index(folder, shard) is not None)

    unreadable = {*_lost(folder, manifest), *(_altered(folder, manifest) if read else ())}
    return [entry.name for entry in manifest.shards if entry.name in unreadable or not indexed(entry.name)]


def _lost(folder: Folder, manifest: Manifest) -> list[str]:
    """Shards that are gone or have another size."""
    present = set(folder.names())
    return [
        entry.name for entry in manifest.shards if entry.name not in present or folder.size(entry.name) != entry.bytes
    ]


def _altered(folder: Folder, manifest: Manifest) -> Iterator[str]:
    """Shards that are there with another content; every one is read."""
    present = set(folder.names())
    for entry in manifest.shards:
        if entry.name in present and hashlib.sha256(folder.read(entry.name)).hexdigest() != entry.sha256:
            yield entry.name


def refuse_incomplete(folder: Folder, manifest: Manifest, *, read: bool = False) -> None:
    """Find out before any work that a finished artifact cannot be read to its end, by names and sizes; with `read` also
    by checksums. (Reading needs no index.)

    Raises:
        V2VError: a shard is gone, has another size or another content; names the first one and what makes it again.
    """
    lost = _lost(folder, manifest)
    if lost:
        more = f", and {len(lost) - 1} more with it" if len(lost) > 1 else ""
        raise V2VError(
            "artifact-damaged",
            f"{folder.url}/{lost[0]} is missing or does not have the size that its manifest says{more}.",
            f"Give the `v2v {manifest.stage}` command that made it again; what is whole is kept.",
        )
    for name in _altered(folder, manifest) if read else ():
        raise corrupt(f"{folder.url}/{name}")


def clear(folder: Folder, before: Manifest, fingerprint: str) -> None:
    """Remove everything but finished shards of this very artifact, which are there where only its manifest is lost.

    Until the end the folder says that it was an artifact, so that a kill leaves it one.
    """
    names = folder.names()
    if not names:
        return
    write_manifest(folder, before, PARTIAL)
    indices = {name: read_index(folder, name) for name in names if name.endswith(".tar")}
    shards = [name for name, index in indices.items() if index is not None and index.fingerprint == fingerprint]
    keep = {PARTIAL, *shards, *map(index_name, shards)}
    for name in names:
        if name not in keep:
            folder.remove(name)


def refuse_foreign(folder: Folder) -> None:
    """Never clear a folder that is not an artifact's.

    Raises:
        V2VError: it holds files, and none that says that it is an artifact.
    """
    names = folder.names()
    if names and not {MANIFEST, PARTIAL, index_name(shard_name(0))} & set(names):
        raise V2VError(
            "folder-not-empty",
            f"{folder.url} exists and is not an artifact (it holds {names[0]}).",
            "Move it away or name another --work.",
        )
