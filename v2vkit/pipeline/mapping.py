"""Maps a stage's function over the clips of every shard."""

import contextlib
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import PARTIAL, ClipInfo, Manifest, ShardEntry, write_manifest
from v2vkit.artifacts.shard import Shard, ShardIndex, ShardWriter, load_shard, read_index, sample_key, shard_name
from v2vkit.artifacts.shots import continues
from v2vkit.engine.choice import Engine, EngineOptions, make_engine
from v2vkit.errors import V2VError
from v2vkit.pipeline.units import Unit, in_waves, units_of
from v2vkit.progress import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAME_EXTENSIONS = ("jpg", "png")


@dataclass(frozen=True)
class Sample:
    """A stage's result for one frame.

    Attributes:
        t: the frame's number in its clip.
        files: extension without the leading dot (`sketch.png`) -> bytes.
        missing: the reason why this frame has no proper result; counted in the manifest.
        counts: name -> number; summed in the manifest.
    """

    t: int
    files: dict[str, bytes]
    missing: str | None = None
    counts: dict[str, int] = field(default_factory=dict)


class Clip:
    """One clip as input of a stage's function: its `ClipInfo`, and the files of its frames from every input artifact.

    `before` has the files (extension -> bytes) that the stage made for the last frame of the previous clip of the shot;
    None at the start of a shot, and for a stage without `PerClip.carries_over`.
    """

    def __init__(self, info: ClipInfo, shards: dict[str, Shard], before: dict[str, bytes] | None = None):
        self.info, self._shards, self.before = info, shards, before

    def read(self, kind: str, extension: str, t: int) -> bytes:
        """The bytes of one file of frame `t`.

        Raises:
            V2VError: the artifact has no such file for this frame.
        """
        key = sample_key(self.info.name, t)
        try:
            return self._shards[kind].read(key, extension)
        except KeyError:
            raise V2VError(
                "frame-file-missing",
                f"{self._shards[kind].where} has no {extension} for frame {key}.",
                f"Remake the artifact {kind}.",
            ) from None

    def has(self, kind: str, extension: str, t: int) -> bool:
        return self._shards[kind].has(sample_key(self.info.name, t), extension)

    def frame(self, t: int) -> "NDArray[np.uint8]":
        """RGB uint8 [H, W, 3] of frame `t`.

        Raises:
            V2VError: the frame is missing, damaged or of another size than its clip.
        """
        from v2vkit.artifacts.images import decode_image

        key = sample_key(self.info.name, t)
        extension = next((e for e in FRAME_EXTENSIONS if self.has("frames", e, t)), FRAME_EXTENSIONS[0])
        image = decode_image(self.read("frames", extension, t), f"{self._shards['frames'].where}: {key}")
        height, width = image.shape[:2]
        if (width, height) != (self.info.width, self.info.height):
            raise V2VError(
                "size-mismatch",
                f"Frame {key} is {width}x{height} pixels; its clip is {self.info.width}x{self.info.height}.",
                "Remake the frames with `v2v ingest --overwrite`.",
            )
        return image


@dataclass(frozen=True)
class Opened:
    """A stage's function with its estimator opened, and the estimator's entry in the manifest."""

    function: Callable[[Clip], Iterable[Sample]]
    estimator: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """The parameters of all tasks, sent once to each worker process."""

    open: Callable[[Any], Opened]
    config: Any
    work: str
    kind: str
    side_outputs: dict[str, tuple[str, ...]]
    shards: dict[str, tuple[ShardEntry, ...]]
    fingerprint: str
    carries_over: bool
    may_be_elsewhere: bool
    """The worker may be on another machine, which must see the workspace."""


def _set_up(job: _Job) -> Callable[[Unit], ShardIndex]:
    opened = job.open(job.config)
    return lambda unit: _make_shard(job, opened, unit)


def _make_shard(job: _Job, opened: Opened, unit: Unit) -> ShardIndex:
    """One shard of the output (and of each side output) from the shards of the inputs with the same number."""
    work = Folder(job.work)
    if job.may_be_elsewhere and not (work / job.kind).exists(PARTIAL):
        raise V2VError(
            "workspace-unshared",
            f"A worker on {platform.node()} does not see the workspace {job.work}.",
            "Put it on a file system that every node mounts at the same path, or into an object store.",
        )
    shards = {kind: load_shard(work / kind, entries[unit.number]) for kind, entries in job.shards.items()}
    name = shard_name(unit.number)
    route = {extension: kind for kind, extensions in job.side_outputs.items() for extension in extensions}
    missing: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    before, files = unit.before, _last_files(work / job.kind, unit)
    with contextlib.ExitStack() as stack:
        kinds = (*job.side_outputs, job.kind)
        writers = {kind: stack.enter_context(ShardWriter(work / kind, name)) for kind in kinds}
        for info in unit.clips:
            last = -1
            carried = files if job.carries_over and continues(before, info) else None
            before, files = info, {}
            for sample in opened.function(Clip(info, shards, carried)):
                assert last < sample.t < info.num_frames, "samples must come in frame order, inside the clip"
                last = sample.t
                key = sample_key(info.name, sample.t)
                for extension, data in sample.files.items():
                    writers[route.get(extension, job.kind)].add(key, extension, data)
                if sample.missing is not None:
                    missing.setdefault(sample.missing, []).append(key)
                counts.update(sample.counts)
                if sample.t == info.num_frames - 1:
                    files = sample.files
        reasons = {reason: tuple(keys) for reason, keys in missing.items()}
        # The main shard is finished last: its index marks the whole unit as done.
        for kind in kinds:
            main = kind == job.kind
            index = writers[kind].finish(
                job.fingerprint,
                unit.clips,
                missing=reasons if main else None,
                counts=dict(counts) if main else None,
                estimator=opened.estimator,
            )
    return index


def _last_files(folder: Folder, unit: Unit) -> dict[str, bytes]:
    """The files of the last frame before a unit, from the previous shard."""
    if unit.before is None:
        return {}
    index = read_index(folder, shard_name(unit.number - 1))
    assert index is not None, "units that continue a shot are made after the one before"
    shard = load_shard(folder, index.entry)
    key = sample_key(unit.before.name, unit.before.num_frames - 1)
    return {extension: shard.read(key, extension) for extension in shard.extensions(key)}


def map_units(
    started: Manifest,
    *,
    open: Callable[[Any], Opened],
    config: Any,
    work: Folder,
    kind: str,
    side_outputs: dict[str, tuple[str, ...]],
    inputs: dict[str, Manifest],
    engine: EngineOptions,
    begin: Callable[[], None],
    carries_over: bool = False,
) -> Manifest:
    """Make every missing shard, and return the finished manifest.

    Args:
        started: the manifest without results.
        engine: where the shards are made.
        begin: called once the estimator is open, before the first write.
        carries_over: as in `PerClip`.

    Raises:
        V2VError: wrong set-up, a corrupt input shard, a full disk; finished shards are kept.
    """
    units = units_of(started, carries_over)
    _refuse_other_shards(inputs, len(units))
    done = _done_before(work, kind, side_outputs, units, started.fingerprint)
    todo = [unit for unit in units if unit.number not in done]
    job = _Job(
        open=open,
        config=config,
        work=work.url,
        kind=kind,
        side_outputs=side_outputs,
        shards={name: manifest.shards for name, manifest in inputs.items()},
        fingerprint=started.fingerprint,
        carries_over=carries_over,
        may_be_elsewhere=engine.name == "ray",
    )
    total = sum(clip.num_frames for clip in started.clips)
    kept = sum(index.entry.num_samples for index in done.values())
    mapper: Engine[Unit, ShardIndex] = make_engine(engine, _set_up, job, num_tasks=len(todo), shared=work.shared)
    begun = False
    try:
        with mapper, progress(total, desc=kind, done=kept) as shown:
            begin()
            begun = True
            for wave in in_waves(units, todo):
                for unit, index in mapper.map(wave, tell=shown.write):
                    done[unit.number] = index
                    shown.update(index.entry.num_samples)
    except BaseException:
        # Remove the unfinished shards of the other workers, above all where the disk is full. Before `begin` has locked
        # the folder, its temporary files belong to another command.
        for written in (*side_outputs, kind) if begun else ():
            (work / written).clean()
        raise
    if engine.name == "ray":  # temporary files of workers that died
        for written in (*side_outputs, kind):
            (work / written).clean()
    _finish_sides(work, kind, side_outputs, units, started)
    return _with_results(started, [done[unit.number] for unit in units])


def _refuse_other_shards(inputs: dict[str, Manifest], number: int) -> None:
    """Refuse inputs that are not divided into as many shards as there are units."""
    for name, manifest in inputs.items():
        if len(manifest.shards) != number:
            raise V2VError(
                "shards-mismatch",
                f"The artifact {name} has {len(manifest.shards)} shards where {number} are expected.",
                f"Remake it: `v2v {manifest.stage} --overwrite`.",
            )


def _done_before(
    work: Folder, kind: str, side_outputs: dict[str, tuple[str, ...]], units: Sequence[Unit], fingerprint: str
) -> dict[int, ShardIndex]:
    """The finished shards by number: those of which the artifact and all side outputs are complete."""
    done: dict[int, ShardIndex] = {}
    for unit in units:
        index = _finished(work / kind, unit, fingerprint)
        sides = [_finished(work / side, unit, fingerprint) for side in side_outputs]
        if index is not None and None not in sides:
            done[unit.number] = index
    return done


def _finish_sides(
    work: Folder, kind: str, side_outputs: dict[str, tuple[str, ...]], units: Sequence[Unit], started: Manifest
) -> None:
    """Write the manifests of the side outputs, whose input is the artifact."""
    for side in side_outputs:
        entries = [_finished(work / side, unit, started.fingerprint) for unit in units]
        assert None not in entries
        finished = tuple(index.entry for index in entries if index is not None)
        update = {"shards": finished, "inputs": {kind: started.fingerprint}, "skipped": {}}
        write_manifest(work / side, started.model_copy(update=update))


def _with_results(started: Manifest, indices: list[ShardIndex]) -> Manifest:
    """The manifest with the entries of all shards, and what they miss and count in all."""
    missing: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for index in indices:
        missing.update({reason: len(keys) for reason, keys in index.missing.items()})
        counts.update(index.counts)
    return started.model_copy(
        update={
            "shards": tuple(index.entry for index in indices),
            "missing": dict(missing),
            "counts": dict(counts),
            "estimator": indices[0].estimator if indices else {},
        }
    )


def _finished(folder: Folder, unit: Unit, fingerprint: str) -> ShardIndex | None:
    """The index of a shard that an earlier run with the same fingerprint finished; None if there is none."""
    name = shard_name(unit.number)
    index = read_index(folder, name)
    if index is None or index.fingerprint != fingerprint or not folder.exists(name):
        return None
    return index if folder.size(name) == index.entry.bytes and index.clips == unit.clips else None
