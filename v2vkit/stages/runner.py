"""The one `run` that does for all stages what is not their own business.

run: load the input manifests -> fingerprint -> refuse what is stale -> open the estimator -> touch the disk -> map the
shards through the engine -> rename each into place -> write the manifest last. Killing it loses at most the shards in
flight; the same command again resumes; a changed setting or input is noticed and named.
"""

import contextlib
import os
from dataclasses import dataclass

from v2vkit import __version__
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import (
    MANIFEST,
    PARTIAL,
    Manifest,
    fingerprint,
    read_manifest,
    write_manifest,
)
from v2vkit.artifacts.shard import index_name, read_index, shard_name
from v2vkit.config import StageConfig, as_plain, extras, fingerprinted
from v2vkit.engine.launcher import launched_rank
from v2vkit.errors import V2VError
from v2vkit.stages.base import Build, Plan, RunOptions, Stage, load_input
from v2vkit.stages.mapping import map_units


@dataclass(frozen=True)
class Outcome:
    """What a run did: a sentence to print, and the problems that the exit code tells of."""

    message: str
    problems: tuple[str, ...] = ()


def _prepare(stage: Stage, config: StageConfig, work: Folder) -> tuple[dict[str, Manifest], Manifest]:
    """The input manifests and the manifest that a run with these settings would begin with."""
    manifests = {kind: load_input(work, kind) for kind in stage.inputs(config)}
    for kind, manifest in manifests.items():
        for parent, seen in manifest.inputs.items():
            if parent in manifests and manifests[parent].fingerprint != seen:
                raise V2VError(
                    f"The artifact {kind} was made from other {parent} than those in {work.url} now.",
                    f"Make it again: `v2v {manifest.stage} --overwrite` with its settings.",
                )
    inputs = {kind: manifest.fingerprint for kind, manifest in manifests.items()}
    if stage.sources is not None:
        inputs |= stage.sources(config)
    return manifests, Manifest(
        v2vkit=__version__,
        stage=stage.name,
        stage_version=stage.version,
        config=as_plain(config),
        inputs=inputs,
        fingerprint=fingerprint(stage.name, stage.version, fingerprinted(config), inputs),
    )


def _changes(old: Manifest, new: Manifest, config: type[StageConfig]) -> list[str]:
    """What differs between two runs, as phrases."""
    found = []
    if old.stage != new.stage:
        return [f"it was made by {old.stage}"]
    if old.stage_version != new.stage_version:
        found.append(f"the stage itself (version {old.stage_version}, now {new.stage_version})")
    for key in sorted(old.config.keys() | new.config.keys()):
        before, now = old.config.get(key), new.config.get(key)
        neutral = key in config.model_fields and extras(config, key).get("neutral", False)
        if before != now and not neutral:
            found.append(f"{key} (was {before}, now {now})")
    for key in sorted(old.inputs.keys() | new.inputs.keys()):
        if key not in old.inputs:
            found.append(f"input {key} (new)")
        elif key not in new.inputs:
            found.append(f"input {key} (gone)")
        elif old.inputs[key] != new.inputs[key]:
            found.append(f"the content of input {key}")
    return found


def _incomplete(folder: Folder, manifest: Manifest) -> list[str]:
    """Shards of a finished artifact that are gone or have another size."""
    present = set(folder.names())
    return [
        entry.name for entry in manifest.shards if entry.name not in present or folder.size(entry.name) != entry.bytes
    ]


def status(stage: Stage, config: StageConfig, options: RunOptions) -> str:
    """`done`, `missing`, `unfinished`, or `stale: …` for a stage with these settings; writes nothing."""
    for part in stage.parts(config):
        state = _status(stage, part, options)
        if state != "done":
            return state
    return "done"


def _status(stage: Stage, config: StageConfig, options: RunOptions) -> str:
    work = Folder(options.work)
    kind = stage.output(config)
    folder = work / kind
    old = read_manifest(folder) or read_manifest(folder, PARTIAL)
    if old is None:
        return "missing"
    try:
        if stage.resolve is not None:
            config = stage.resolve(config, work)
        _, new = _prepare(stage, config, work)
    except V2VError as error:
        return f"stale: {error.message}"
    if old.fingerprint != new.fingerprint:
        return "stale: changed " + ", ".join(_changes(old, new, stage.config))
    sides = [work / side for side in stage.side_outputs(config)]
    if not folder.exists(MANIFEST) or _incomplete(folder, old):
        return "unfinished"
    return "done" if all(_whole_side(side, old, kind) for side in sides) else "unfinished"


def _read(folder: Folder, name: str, *, overwrite: bool) -> Manifest | None:
    """The manifest; a damaged one is none where the artifact may be made again."""
    try:
        return read_manifest(folder, name)
    except V2VError:
        if overwrite:
            return None
        raise


def _whole_side(side: Folder, main: Manifest, kind: str) -> bool:
    """Whether a side output belongs to its main artifact and is all there; a damaged one is not."""
    manifest = _read(side, MANIFEST, overwrite=True)
    return manifest is not None and manifest.inputs.get(kind) == main.fingerprint and not _incomplete(side, manifest)


def _refuse_others(side: Folder, stage: Stage) -> None:
    """Never take the place of what another stage has made."""
    manifest = read_manifest(side)
    if manifest is not None and manifest.stage != stage.name:
        raise V2VError(
            f"{side.url} was made by {manifest.stage}, and {stage.name} would write there.",
            "Give the command with --overwrite to replace it, or use another --work.",
        )


def run(stage: Stage, config: StageConfig, options: RunOptions) -> Outcome:
    """Make, resume or recognise the artifact of a stage.

    Raises:
        V2VError: inputs missing, stale or corrupt; settings changed without `overwrite`; wrong set-up.
    """
    outcomes = []
    for part in stage.parts(config):
        try:
            outcomes.append(_run(stage, part, options))
        except V2VError as error:
            if not (options.dry_run and outcomes):
                raise
            outcomes.append(Outcome(f"{stage.output(part)}: cannot be planned yet. {error}"))
    return Outcome(
        "\n".join(outcome.message for outcome in outcomes), tuple(p for outcome in outcomes for p in outcome.problems)
    )


def _run(stage: Stage, config: StageConfig, options: RunOptions) -> Outcome:
    work = Folder(options.work)
    if stage.resolve is not None:
        config = stage.resolve(config, work)
    kind = stage.output(config)
    folder = work / kind
    sides = [work / side for side in stage.side_outputs(config)]
    manifests, new = _prepare(stage, config, work)
    finished, partial = (_read(folder, name, overwrite=options.overwrite) for name in (MANIFEST, PARTIAL))
    before = old = partial or finished
    same = old is not None and old.fingerprint == new.fingerprint
    if not options.overwrite:
        for side in sides:
            _refuse_others(side, stage)
    if (
        finished is not None
        and same
        and partial is None
        and not _incomplete(folder, finished)
        and all(_whole_side(side, finished, kind) for side in sides)
    ):
        return Outcome(f"{kind}: up to date, nothing to do ({_summary(finished)}).", tuple(_problems(finished)))
    if old is not None and not same and not options.overwrite:
        changed = ", ".join(_changes(old, new, stage.config))
        raise V2VError(
            f"The artifact {folder.url} was made with other settings or inputs; changed: {changed}.",
            "Give the command with --overwrite to make it again, or with the old settings to keep it.",
        )
    if old is not None and not same:
        finished = partial = old = None
    if stage.check is not None:
        stage.check(config, manifests, work)
    if options.dry_run:
        state = "missing" if old is None else "unfinished" if same else "stale"
        text = stage.preview(Build(config, options, folder, manifests, {}, new.fingerprint)) if stage.preview else ""
        return Outcome(f"{text}\n{kind}: {state}; nothing was done.".lstrip())
    if old is not None and (old.units or stage.build is not None):
        started = old.model_copy(update={"shards": (), "missing": {}})
    else:
        if stage.build is not None:
            plan = Plan(())
        elif stage.plan is not None:
            plan = stage.plan(config)
        else:
            first = next(iter(manifests.values()), None)
            plan = Plan(first.units if first is not None else ())
        started = new.model_copy(update={"units": plan.units, "skipped": plan.skipped})

    locks = contextlib.ExitStack()

    def begin() -> None:
        """First touch of the disk: everything that could be wrong with the set-up has been raised by now."""
        for target in (folder, *sides):
            _refuse_foreign(target)
        locks.enter_context(folder.locked())
        if finished is None and partial is None:
            for target in (folder, *sides):
                _clear(target, before or started, new.fingerprint)
        folder.clean()
        for target in (*sides, folder):
            write_manifest(target, started, PARTIAL)
        folder.remove(MANIFEST)

    with locks:
        if stage.build is not None:
            writes = launched_rank() == 0
            if writes:
                begin()
            folders = {name: work / name for name in manifests}
            shards = stage.build(Build(config, options, folder, manifests, folders, new.fingerprint))
            if not writes:
                return Outcome(f"{kind}: made with the other processes.")
            done = started.model_copy(update={"shards": shards})
        else:
            assert stage.open is not None
            done = map_units(
                started,
                open=stage.open,
                config=config,
                work=work,
                kind=kind,
                side_outputs=stage.side_outputs(config),
                inputs=manifests,
                workers=options.workers or os.cpu_count() or 1,
                begin=begin,
            )
        write_manifest(folder, done)
        for target in (*sides, folder):
            target.remove(PARTIAL)
    return Outcome(f"{kind}: {_summary(done)}.", tuple(_problems(done)))


def _clear(folder: Folder, before: Manifest, fingerprint: str) -> None:
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


def _refuse_foreign(folder: Folder) -> None:
    """Never clear a folder that is not an artifact's."""
    names = folder.names()
    if names and not {MANIFEST, PARTIAL, index_name(shard_name(0))} & set(names):
        raise V2VError(
            f"{folder.url} exists and is not an artifact (it holds {names[0]}).", "Move it away or name another --work."
        )


def _summary(manifest: Manifest) -> str:
    if not manifest.units:
        return f"made by {manifest.stage}"
    text = f"{manifest.num_frames} frames in {len(manifest.clips)} clips, {len(manifest.shards)} shards"
    for reason, count in manifest.missing.items():
        text += f"; {count} frames: {reason}"
    return text


def _problems(manifest: Manifest) -> list[str]:
    return [f"{source}: {reason}" for source, reason in manifest.skipped.items()]
