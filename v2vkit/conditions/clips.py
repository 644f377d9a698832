"""Random access to the frames, maps and flow of clips, joined over several artifacts."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_gray, decode_image
from v2vkit.artifacts.manifest import MANIFEST, ClipInfo, Manifest, ShardEntry
from v2vkit.artifacts.reader import ArtifactReader
from v2vkit.artifacts.shard import load_shard, sample_key
from v2vkit.artifacts.shard_cache import cache_note
from v2vkit.classes.remap import final_table
from v2vkit.conditions.alignment import Placement, median_placement
from v2vkit.conditions.base import Bytes, Condition, Use
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.flow_io import decode_kitti
from v2vkit.conditions.labels import TRACKS
from v2vkit.conditions.regions import Regions
from v2vkit.config import IGNORE
from v2vkit.errors import V2VError, counted
from v2vkit.progress import tracked

_SAMPLE = 256  # frames read for the median placement


class ClipReader:
    """Random access to any frame of any clip of several artifacts that share their clips.

    Args:
        work: the workspace.
        manifests: artifact kind -> manifest.

    Raises:
        V2VError: the artifacts have different clips; from every method that reads: a missing or corrupt shard (checked
            at its first use).
    """

    def __init__(self, work: Folder, manifests: dict[str, Manifest]):
        first = next(iter(manifests.values()))
        for kind, manifest in manifests.items():
            if [c.name for c in manifest.clips] != [c.name for c in first.clips]:
                raise V2VError(
                    "artifacts-mismatch",
                    f"The artifact {kind} in {work.url} has other clips than {first.stage}'s.",
                    f"Make it again: `v2v {manifest.stage} --overwrite`.",
                )
        self.clips: tuple[ClipInfo, ...] = first.clips
        self._by_name = {clip.name: clip for clip in first.clips}
        self._artifacts = {kind: ArtifactReader(work / kind, manifest) for kind, manifest in manifests.items()}

    @property
    def shared(self) -> bool:
        """Whether other processes can read the same files (in `memory://` they cannot)."""
        return all(artifact.folder.shared for artifact in self._artifacts.values())

    @property
    def note(self) -> str | None:
        """How remote shards are read, as a sentence for a plan; None if all shards are on this machine."""
        remote = [artifact for artifact in self._artifacts.values() if artifact.folder.remote]
        return cache_note(entry for artifact in remote for entry in artifact.shards) if remote else None

    def has(self, kind: str, clip: str, t: int, extension: str) -> bool:
        return kind in self._artifacts and self._artifacts[kind].has(clip, t, extension)

    def read(self, kind: str, clip: str, t: int, extension: str) -> bytes:
        """The bytes of one file.

        Raises:
            V2VError: there is no such file.
        """
        try:
            return self._artifacts[kind].read(clip, t, extension)
        except KeyError:
            raise V2VError(
                "frame-file-missing",
                f"The artifact {kind} has no file {sample_key(clip, t)}.{extension}.",
                "Make that artifact again.",
            ) from None

    def frame(self, clip: str, t: int) -> NDArray[np.uint8]:
        """RGB uint8 [H, W, 3]."""
        extension = "jpg" if self.has("frames", clip, t, "jpg") else "png"
        return decode_image(self.read("frames", clip, t, extension), f"frame {sample_key(clip, t)}")

    def annotation_files(self, condition: Condition[Any], clip: str, t: int, *uses: Use) -> dict[str, bytes]:
        """The files of a frame that a condition needs for these uses, extension -> bytes.

        Raises:
            V2VError: a file is missing.
        """
        kinds = {name: self.kind_of(condition, name) for use in uses for name in condition.reads[use]}
        optional = condition.optional
        present = {name: at for name, at in kinds.items() if name not in optional or self.has(at, clip, t, name)}
        return {name: self.read(kind, clip, t, name) for name, kind in present.items()}

    def kind_of(self, condition: Condition[Any] | type[Condition[Any]], extension: str) -> str:
        """The artifact that a file of a condition is read from: instance maps come from `tracks`, if that is open."""
        better = condition.replaced.get(extension, "")
        return better if better in self._artifacts else condition.artifact

    def annotation(self, condition: Condition[Any], clip: str, t: int, *uses: Use) -> Any:
        """The annotation of a frame, from the files that a condition needs for these uses.

        Raises:
            V2VError: a file is missing or damaged.
        """
        info = self._by_name[clip]
        return condition.decode(self.annotation_files(condition, clip, t, *uses), size=(info.width, info.height))

    def annotations(self, conditioning: Conditioning, clip: str, t: int, *uses: Use) -> tuple[Any, ...]:
        """The annotations of a frame, one per condition; without `uses`, for channels."""
        return tuple(self.annotation(of, clip, t, *(uses or ("channels",))) for of in conditioning.conditions)

    def channels(self, conditioning: Conditioning, clip: str, t: int) -> Bytes:
        """What a network sees of a frame, uint8 [C, H, W], 255 = 1."""
        return conditioning.channels(self.annotations(conditioning, clip, t))

    def regions(self, conditioning: Conditioning, clip: str, t: int) -> Regions:
        """The regions of a frame, int32 [H, W]; only if a condition has regions."""
        found = conditioning.with_regions
        assert found is not None, f"{conditioning.names} has no regions"
        return found.regions(self.annotation(found, clip, t, "regions"))

    def flow(self, clip: str, t: int, stride: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Backward flow float32 [H, W, 2] and confidence [H, W] of frame t into t - stride; None at a clip's start."""
        if not self.has("flow", clip, t, f"flow{stride}.png"):
            return None
        data = self.read("flow", clip, t, f"flow{stride}.png")
        return decode_kitti(data, f"flow{stride} of {sample_key(clip, t)}")


def tracks_beside(work: Folder, kinds: Iterable[str]) -> tuple[str, ...]:
    """The artifacts of a workspace that replace files of these kinds: `tracks`, if there are labels and it is finished.

    An unfinished one is left out.
    """
    return (TRACKS,) if "labels" in kinds and (work / TRACKS).exists(MANIFEST) else ()


def count_labels(work: Folder, labels: Manifest, kind: str = "labels") -> int:
    """The highest id in the label maps of a workspace, plus one; `kind` is that of their artifact.

    Raises:
        V2VError: a missing or corrupt shard.
    """
    count = len(labels.shards)
    shards = tracked(label_ids(work, labels, kind), total=count, desc="counting labels", unit="shard", leave=False)
    return 1 + max((max(ids - {IGNORE}, default=0) for ids in shards), default=0)


def refuse_larger_ids(work: Folder, labels: Manifest, num_labels: int, hint: str, kind: str = "labels") -> None:
    """Check that the label maps of a workspace hold only labels that a model of `num_labels` labels has.

    Maps are read only where the stage that made them allowed larger ids. `hint` is the error's; `kind` as above.

    Raises:
        V2VError: a larger id; a missing or corrupt shard.
    """
    table, limit = final_table(labels.config), labels.config.get("num_labels")
    if limit is None and table is not None:
        limit = table.num_labels
    if (limit is None or limit > num_labels) and (found := count_labels(work, labels, kind)) > num_labels:
        raise V2VError(
            "label-id-out-of-range",
            f"The label maps in {work.url}/{kind} go up to id {found - 1}, but the model has "
            f"{counted(num_labels, 'label')}.",
            hint,
        )


def label_ids(work: Folder, labels: Manifest, kind: str = "labels") -> Iterator[frozenset[int]]:
    """The ids that occur in each shard of the label maps of a workspace, including 255 (ignore).

    Raises:
        V2VError: a missing or corrupt shard.
    """
    return (_shard_label_ids(f"{work.url}/{kind}", entry) for entry in labels.shards)


@cache  # by the shard's checksum: one command asks several times
def _shard_label_ids(url: str, entry: ShardEntry) -> frozenset[int]:
    shard = load_shard(Folder(url), entry)
    maps = (decode_gray(data, f"{shard.where}, {name}") for name, data in shard.files("label.png"))
    # np.unique would sort, which is slower.
    return frozenset[int]().union(*(np.flatnonzero(np.bincount(ids.ravel())).tolist() for ids in maps))


def subject_placement(reader: ClipReader, conditioning: Conditioning) -> Placement | None:
    """The median placement of the clips' subject over evenly spread frames; None if there is no subject."""
    found = conditioning.with_subject
    if found is None:
        return None
    frames = [(clip.name, t) for clip in reader.clips for t in range(clip.num_frames)]
    chosen = np.unique(np.linspace(0, len(frames) - 1, _SAMPLE).round().astype(int))
    return median_placement(found.align(reader.annotation(found, *frames[number], "align")) for number in chosen)
