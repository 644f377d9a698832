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
from v2vkit.artifacts.remains import clear, incomplete, refuse_foreign
from v2vkit.config import StageConfig, as_plain, extras, fingerprinted
from v2vkit.engine.launcher import launched_rank
from v2vkit.errors import V2VError
from v2vkit.stages.base import Build, Plan, RunOptions, Stage, load_inputs
from v2vkit.stages.mapping import map_units


@dataclass(frozen=True)
class Outcome:
    """What a run did: a sentence to print, and the problems that the exit code tells of."""

    message: str
    problems: tuple[str, ...] = ()


def _prepare(stage: Stage, config: StageConfig, work: Folder) -> tuple[dict[str, Manifest], Manifest]:
    """The input manifests and the manifest that a run with these settings would begin with."""
    manifests = load_inputs(work, stage.inputs(config))
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


def status(stage: Stage, config: StageConfig, options: RunOptions, pending: set[tuple[str, str]] | None = None) -> str:
    """`done`, `missing`, `unfinished`, or `stale: …` for a stage with these settings; writes nothing.

    Args:
        pending: (workspace, kind) of what stages before this one will make anew; what this one would, is added.
    """
    pending = set() if pending is None else pending
    states = []
    for part in stage.parts(config):
        states.append(_status(stage, part, options, pending))
        if states[-1] != "done":
            pending |= {(options.work, kind) for kind in (stage.output(part), *stage.side_outputs(part))}
    return next((state for state in states if state != "done"), "done")


def _status(stage: Stage, config: StageConfig, options: RunOptions, pending: set[tuple[str, str]]) -> str:
    work = Folder(options.work)
    kind = stage.output(config)
    folder = work / kind
    old = read_manifest(folder) or read_manifest(folder, PARTIAL)
    if old is None:
        return "missing"
    try:
        if stage.resolve is not None:
            config = stage.resolve(config, work)
        changing = [name for name in stage.inputs(config) if (options.work, name) in pending]
        if changing:
            return f"stale: {', '.join(changing)} will be made before"
        _, new = _prepare(stage, config, work)
    except V2VError as error:
        return f"stale: {error.message}"
    if old.fingerprint != new.fingerprint:
        return "stale: changed " + ", ".join(_changes(old, new, stage.config))
    sides = [work / side for side in stage.side_outputs(config)]
    if not folder.exists(MANIFEST) or incomplete(folder, old):
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


def _whole_side(side: Folder, main: Manifest, kind: str, *, read: bool = False) -> bool:
    """Whether a side output belongs to its main artifact and is all there; a damaged one is not."""
    manifest = _read(side, MANIFEST, overwrite=True)
    if manifest is None or manifest.inputs.get(kind) != main.fingerprint:
        return False
    return not incomplete(side, manifest, read=read)


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
        and not incomplete(folder, finished, read=options.overwrite)
        and all(_whole_side(side, finished, kind, read=options.overwrite) for side in sides)
    ):
        return Outcome(f"{kind}: up to date, nothing to do ({_summary(finished)}).", tuple(_problems(finished)))
    if old is not None and not same and not options.overwrite:
        changed = ", ".join(_changes(old, new, stage.config))
        raise V2VError(
            f"The artifact {folder.url} was made with other settings or inputs; changed: {changed}.",
            stage.again,
        )
    if old is not None and not same:
        finished = partial = old = None
    if stage.check is not None:
        stage.check(config, manifests, work)
    if options.dry_run:
        state = "missing" if before is None else "unfinished" if same else "stale"
        build = Build(config, options, folder, manifests, {}, new.fingerprint, _nothing)
        text = stage.preview(build) if stage.preview else ""
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

    for target in (folder, *sides):
        refuse_foreign(target)
    writes = stage.build is None or launched_rank() == 0
    locks = contextlib.ExitStack()

    def begin() -> None:
        """First touch of the disk: everything that could be wrong with the set-up has been raised by now."""
        if before is None:  # locking makes the folder
            locks.enter_context(folder.locked())
        if finished is None and partial is None:
            for target in (folder, *sides):
                clear(target, before or started, new.fingerprint)
        folder.clean()
        for target in (*sides, folder):
            write_manifest(target, started, PARTIAL)
        folder.remove(MANIFEST)

    with locks:
        if before is not None and writes:
            locks.enter_context(folder.locked())
            if same and options.overwrite:
                _drop_damaged((folder, *sides))
        if stage.build is not None:
            folders = {name: work / name for name in manifests}
            touch = begin if writes else _nothing
            shards = stage.build(Build(config, options, folder, manifests, folders, new.fingerprint, touch))
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


def _drop_damaged(folders: tuple[Folder, ...]) -> None:
    """Remove shards whose content is no longer what was written, so that they are made again."""
    for folder in folders:
        manifest = _read(folder, MANIFEST, overwrite=True)
        for name in [] if manifest is None else incomplete(folder, manifest, read=True):
            folder.remove(name)


def _nothing() -> None:
    """What a process does that leaves the writing to another."""


def _summary(manifest: Manifest) -> str:
    if not manifest.units:
        return f"made by {manifest.stage}"
    text = f"{manifest.num_frames} frames in {len(manifest.clips)} clips, {len(manifest.shards)} shards"
    for reason, count in manifest.missing.items():
        text += f"; {count} frames: {reason}"
    return text


def _problems(manifest: Manifest) -> list[str]:
    return [f"{source}: {reason}" for source, reason in manifest.skipped.items()]
