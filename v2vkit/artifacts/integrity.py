"""Integrity of an artifact's folder: which shards are complete, which are damaged, what may be removed."""

import hashlib
from collections.abc import Iterator

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest, write_manifest
from v2vkit.artifacts.shard import checksum_error, index_name, read_index, shard_name
from v2vkit.errors import V2VError


def incomplete(folder: Folder, manifest: Manifest, *, read: bool = False) -> list[str]:
    """Shards of a finished artifact that are missing or have the wrong size or no index; with `read` also those with a
    wrong checksum or an unreadable index."""
    present = set(folder.names())

    def indexed(shard: str) -> bool:
        if not shard.endswith(".tar"):  # a single file such as a model
            return True
        return index_name(shard) in present and (not read or read_index(folder, shard) is not None)

    unreadable = {*_lost(folder, manifest), *(_altered(folder, manifest) if read else ())}
    return [entry.name for entry in manifest.shards if entry.name in unreadable or not indexed(entry.name)]


def _lost(folder: Folder, manifest: Manifest) -> list[str]:
    """Shards that are missing or have the wrong size."""
    present = set(folder.names())
    return [
        entry.name for entry in manifest.shards if entry.name not in present or folder.size(entry.name) != entry.bytes
    ]


def _altered(folder: Folder, manifest: Manifest) -> Iterator[str]:
    """Shards that exist and have a wrong checksum; reads every one."""
    present = set(folder.names())
    for entry in manifest.shards:
        if entry.name in present and hashlib.sha256(folder.read(entry.name)).hexdigest() != entry.sha256:
            yield entry.name


def refuse_incomplete(folder: Folder, manifest: Manifest, *, read: bool = False) -> None:
    """Check that every shard of a finished artifact exists and has its size; with `read` also its checksum. Indices are
    not checked: reading needs none.

    Raises:
        V2VError: a shard is missing or altered; names the first one and the command that makes it.
    """
    lost = _lost(folder, manifest)
    if lost:
        more = f"; so are {len(lost) - 1} more" if len(lost) > 1 else ""
        raise V2VError(
            "artifact-damaged",
            f"{folder.url}/{lost[0]} is missing or has not the size in its manifest{more}.",
            f"Rerun the `v2v {manifest.stage}` command that made it; complete shards are kept.",
        )
    for name in _altered(folder, manifest) if read else ():
        raise checksum_error(f"{folder.url}/{name}")


def clear(folder: Folder, before: Manifest, fingerprint: str) -> None:
    """Remove everything except finished shards with this fingerprint (left where only the manifest was lost).

    The partial manifest stays until the end, so that after a kill the folder still counts as an artifact.
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
    """Refuse to write into a folder that is not an artifact.

    Raises:
        V2VError: the folder holds files, but neither a manifest nor a shard index.
    """
    names = folder.names()
    if names and not {MANIFEST, PARTIAL, index_name(shard_name(0))} & set(names):
        raise V2VError(
            "folder-not-empty",
            f"{folder.url} exists and is not an artifact (it holds {names[0]}).",
            "Move it away or name another --work.",
        )
