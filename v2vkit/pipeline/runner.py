"""Generic stage runner: fingerprints, resume, locking, manifests.

run: load the input manifests -> fingerprint -> refuse what is stale -> open the estimator -> touch the disk -> map the
shards through the engine -> rename each into place -> write the manifest last. Killing it loses at most the shards in
flight; the same command again resumes; a changed setting or input is noticed and named.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.integrity import clear, incomplete, refuse_foreign, refuse_incomplete
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest, write_manifest
from v2vkit.config import StageConfig
from v2vkit.engine.launcher import agree, launched_rank
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Build, RunOptions, Stage
from v2vkit.pipeline.staleness import CONTINUED, Decision, decide, read_or_refuse, refuse_others, resolved


@dataclass(frozen=True)
class Outcome:
    """What a run did: a sentence to print, and the problems that the exit code tells of."""

    message: str
    problems: tuple[str, ...] = ()


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
    folder = work / stage.output(config)
    if not folder.exists(MANIFEST) and not folder.exists(PARTIAL):
        return "missing"
    try:
        config = resolved(stage, config, work)
        changing = [name for name in stage.inputs(config) if (options.work, name) in pending]
        if changing:
            return f"stale: {', '.join(changing)} will be made before"
        found = decide(stage, config, options)
    except V2VError as error:
        return f"stale: {error.message}"
    if found.state == "stale":
        return f"stale: changed {', '.join(found.changes.values())}"
    return found.state


def run(stage: Stage, config: StageConfig, options: RunOptions) -> Outcome:
    """Make, resume or recognise the artifact of a stage.

    Raises:
        V2VError: inputs missing, stale or corrupt; settings changed without `overwrite`; wrong set-up.
    """
    outcomes = []
    parts = stage.parts(config)
    if options.continue_ and options.overwrite:
        raise V2VError(
            "setting-conflict",
            "--continue keeps what is there, and --overwrite throws it away.",
            "Leave one of them out.",
        )
    if options.continue_ and len(parts) > 1:
        names = ", ".join(stage.output(part) for part in parts)
        raise V2VError(
            "continue-unsupported",
            f"--continue goes on with one artifact; this makes several ({names}).",
            "Name one of them.",
        )
    for part in parts:
        try:
            outcomes.append(_run(stage, part, options))
        except V2VError as error:
            if not (options.dry_run and outcomes):
                raise
            outcomes.append(Outcome(_planned_ahead(stage, part, options, error)))
    return Outcome(
        "\n".join(outcome.message for outcome in outcomes), tuple(p for outcome in outcomes for p in outcome.problems)
    )


def _planned_ahead(stage: Stage, part: StageConfig, options: RunOptions, error: V2VError) -> str:
    """What can be said of a part that cannot be made now: its plan, where it only waits for the parts before it."""
    work = Folder(options.work)
    kinds = stage.inputs(resolved(stage, part, work))
    ahead = stage.make.ahead
    if ahead is None or all((work / kind).exists(MANIFEST) for kind in kinds):
        return f"{stage.output(part)}: cannot be made now. {error}"
    return f"{ahead(part, options)}\n{stage.output(part)}: missing; nothing was done."


def _run(stage: Stage, config: StageConfig, options: RunOptions) -> Outcome:
    work, refusal = Folder(options.work), None
    found = decide(stage, resolved(stage, config, work), options)
    if not options.overwrite:
        for side in found.sides:
            refuse_others(side, stage)
        if found.state == "stale":
            refusal = _refusal(stage, found)
            if not (options.dry_run and stage.make.previews):
                raise refusal
    if found.state == "done":
        assert found.old is not None
        text = f"{found.kind}: up to date, nothing to do ({_summary(found.old)})."
        return Outcome(text, tuple(_problems(found.old)))
    for name, manifest in found.inputs.items():  # reading would find out when the old artifact is gone
        refuse_incomplete(work / name, manifest, read=found.state == "stale")
    told = None if stage.check is None else stage.check(found.config, found.inputs, work)
    if options.dry_run:
        text, problems = _rehearsed(stage, found, options, told or {})
        state = f"{found.state}; nothing was done." if refusal is None else f"cannot be made now. {refusal}"
        return Outcome(f"{text}\n{found.kind}: {state}".lstrip(), tuple(problems))
    for target in (found.folder, *found.sides):
        refuse_foreign(target)
    return _make(stage, found, options, told or {})


def _rehearsed(stage: Stage, found: Decision, options: RunOptions, told: Mapping[str, str]) -> tuple[str, list[str]]:
    """What a stage would do, and the problems that it would name; everything that it needs is opened, nothing made."""
    started = _started(stage, found, told)
    text, problems = stage.make.rehearse(_build(found, options, {}, _nothing), started)
    return text, list(dict.fromkeys([*problems, *_problems(started)]))


def _refusal(stage: Stage, found: Decision) -> V2VError:
    assert found.old is not None
    changed = ", ".join(found.changes.values())
    return V2VError(
        "artifact-stale",
        f"The artifact {found.folder.url} was made with other settings or inputs; changed: {changed}.",
        stage.stale_hint
        if isinstance(stage.stale_hint, str)
        else stage.stale_hint(found.config, found.old, found.changes),
    )


def _build(found: Decision, options: RunOptions, folders: dict[str, Folder], begin: Callable[[], None]) -> Build:
    fingerprint, continued = found.new.fingerprint, found.new.inputs.get(CONTINUED)
    return Build(found.config, options, found.folder, found.inputs, folders, fingerprint, begin, continued, found.kind)


def _started(stage: Stage, found: Decision, told: Mapping[str, str]) -> Manifest:
    """The manifest without results: that of the run to resume, or one with the clips of the plan or first input."""
    if found.state == "unfinished" and found.old is not None and found.old.units:
        skipped = {**found.old.skipped, **told}
        return found.old.model_copy(update={"shards": (), "missing": {}, "counts": {}, "skipped": skipped})
    plan = stage.make.units(found.config, found.inputs)
    return found.new.model_copy(update={"units": plan.units, "skipped": {**plan.skipped, **told}})


def _make(stage: Stage, found: Decision, options: RunOptions, told: Mapping[str, str]) -> Outcome:
    """Make or resume what was decided upon; `told` are the problems that its check found."""
    work, folder, sides, kind = Folder(options.work), found.folder, found.sides, found.kind
    started = _started(stage, found, told)
    shared = stage.make.shared
    writes = not shared or launched_rank() == 0
    locks = contextlib.ExitStack()

    def begin() -> None:
        """First touch of the disk: everything that could be wrong with the set-up has been raised by now."""
        if found.old is None:  # locking makes the folder
            locks.enter_context(folder.locked())
        if found.state != "unfinished":
            for target in (folder, *sides):
                clear(target, found.old or started, found.new.fingerprint)
        for target in (*sides, folder):
            target.clean()
            write_manifest(target, started, PARTIAL)
        folder.remove(MANIFEST)

    with locks:
        if found.old is not None and writes:
            locks.enter_context(folder.locked())
            if found.state == "unfinished" and options.overwrite:
                _drop_damaged((folder, *sides))

        def touch() -> None:
            if shared:
                agree(True)  # all have seen what is there before the first process changes it
            if writes:
                begin()

        folders = {name: work / name for name in found.inputs}
        done = stage.make.make(_build(found, options, folders, touch), started)
        if done is None:
            if not agree(True):
                raise V2VError(
                    "process-failed", f"The first process could not finish {folder.url}.", "Its message says why."
                )
            return Outcome(f"{kind}: made with the other processes.")
        finished = False
        try:
            write_manifest(folder, done)
            for target in (*sides, folder):
                target.remove(PARTIAL)
            finished = True
        finally:  # the other processes wait for this: their next part reads what this one wrote
            if shared:
                agree(finished)
    return Outcome(f"{kind}: {_summary(done)}.", tuple(_problems(done)))


def _drop_damaged(folders: tuple[Folder, ...]) -> None:
    """Remove shards whose content is no longer what was written, so that they are made again."""
    for folder in folders:
        manifest = read_or_refuse(folder, MANIFEST, overwrite=True)
        for name in [] if manifest is None else incomplete(folder, manifest, read=True):
            folder.remove(name)


def _nothing() -> None:
    """No-op commit for dry runs."""


def _summary(manifest: Manifest) -> str:
    if not manifest.units:
        return f"made by {manifest.stage}"
    frames, clips = counted(manifest.num_frames, "frame"), counted(len(manifest.clips), "clip")
    text = f"{frames} in {clips}, {counted(len(manifest.shards), 'shard')}"
    for reason, number in manifest.missing.items():
        text += f"; {counted(number, 'frame')}: {reason}"
    return text + "".join(f"; {what}: {number}" for what, number in manifest.counts.items())


def _problems(manifest: Manifest) -> list[str]:
    return [f"{source}: {reason}" for source, reason in manifest.skipped.items()]
