"""What an earlier run left in an artifact's folder: what is whole, what is damaged, what may be cleared away."""

import hashlib

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest, ShardEntry, write_manifest
from v2vkit.artifacts.shard import index_name, read_index, shard_name
from v2vkit.errors import V2VError


def incomplete(folder: Folder, manifest: Manifest, *, read: bool = False) -> list[str]:
    """Shards of a finished artifact that are gone or have another size; with `read` also those of another content."""
    present = set(folder.names())

    def whole(entry: ShardEntry) -> bool:
        if entry.name not in present or folder.size(entry.name) != entry.bytes:
            return False
        return not read or hashlib.sha256(folder.read(entry.name)).hexdigest() == entry.sha256

    return [entry.name for entry in manifest.shards if not whole(entry)]


def refuse_incomplete(folder: Folder, manifest: Manifest) -> None:
    """Find out by names and sizes, before any work, that a finished artifact cannot be read to its end.

    Raises:
        V2VError: a shard is gone or has another size; names the first one and the stage that makes it again.
    """
    lost = incomplete(folder, manifest)
    if lost:
        more = f", and {len(lost) - 1} more with it" if len(lost) > 1 else ""
        raise V2VError(
            f"{folder.url}/{lost[0]} is missing or does not have the size that its manifest says{more}.",
            f"Give the `v2v {manifest.stage}` command that made it again; what is whole is kept.",
        )


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
            f"{folder.url} exists and is not an artifact (it holds {names[0]}).", "Move it away or name another --work."
        )
