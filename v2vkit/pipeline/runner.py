"""Generic stage runner: fingerprints, resume, locking, manifests.

A run: load the input manifests -> fingerprint -> refuse a stale artifact -> open the estimator -> first write -> map
the shards through the engine -> rename each into place -> write the manifest last. A kill loses at most the shards in
progress; rerunning the command resumes; changed settings and inputs are detected and named.
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
from v2vkit.pipeline.stage import Build, Command, RunOptions, Stage
from v2vkit.pipeline.staleness import CONTINUED, Decision, changes_text, decide, read_or_refuse, refuse_others, resolved


@dataclass(frozen=True)
class Outcome:
    """The result of a run: a message to print (empty for a command, which prints itself), and the problems behind exit
    code 3."""

    message: str
    problems: tuple[str, ...] = ()


def status(stage: Stage, config: StageConfig, options: RunOptions, pending: set[tuple[str, str]] | None = None) -> str:
    """`done`, `missing`, `unfinished`, or `stale: …` for a stage with these settings; writes nothing.

    Args:
        pending: (workspace, kind) of the artifacts that earlier stages will remake; this stage's own are added.
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
        config = resolved(stage, config, options)
        changing = [name for name in stage.inputs(config) if (options.work, name) in pending]
        if changing:
            return f"stale: {', '.join(changing)} will be remade first"
        found = decide(stage, config, options)
    except V2VError as error:
        return f"stale: {error.message}"
    if found.state == "stale":
        return f"stale: changed {changes_text(found.changes)}"
    return found.state


def execute(target: Stage | Command, config: StageConfig, options: RunOptions, *, checked: bool = False) -> Outcome:
    """Run a stage or another command with these settings.

    Args:
        checked: `Command.check` has passed already, before the first table of a recipe.

    Raises:
        V2VError: as `run`, or as the command.
    """
    if isinstance(target, Stage):
        return run(target, config, options)
    if target.check is not None and not checked:
        target.check(config)
    return Outcome("", tuple(target.call(config, options)))


def run(stage: Stage, config: StageConfig, options: RunOptions) -> Outcome:
    """Make or resume the artifact of a stage, or find it up to date.

    Raises:
        V2VError: inputs are missing, stale or corrupt; settings changed without `overwrite`; wrong set-up.
    """
    outcomes = []
    parts = stage.parts(config)
    if options.continue_ and options.overwrite:
        raise V2VError(
            "setting-conflict",
            "--continue resumes the artifact, and --overwrite replaces it.",
            "Leave one of them out.",
        )
    if options.continue_ and len(parts) > 1:
        names = ", ".join(stage.output(part) for part in parts)
        raise V2VError(
            "continue-unsupported",
            f"--continue resumes one artifact; this command makes several ({names}).",
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
    """Dry run of a part that cannot be made now: its plan, if only artifacts of earlier parts are missing."""
    work = Folder(options.work)
    kinds = stage.inputs(resolved(stage, part, options))
    ahead = stage.make.ahead
    if ahead is None or all((work / kind).exists(MANIFEST) for kind in kinds):
        return f"{stage.output(part)}: cannot be made now. {error}"
    return f"{ahead(part, options)}\n{stage.output(part)}: missing; nothing was done."


def _run(stage: Stage, config: StageConfig, options: RunOptions) -> Outcome:
    work, refusal = Folder(options.work), None
    found = decide(stage, resolved(stage, config, options), options)
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
    for name, manifest in found.inputs.items():  # before the old artifact is removed
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
    """The plan of a stage and its problems: opens everything that is needed and makes nothing."""
    started = _started(stage, found, told)
    text, problems = stage.make.rehearse(_build(found, options, {}, _nothing), started)
    return text, list(dict.fromkeys([*problems, *_problems(started)]))


def _refusal(stage: Stage, found: Decision) -> V2VError:
    assert found.old is not None
    changed = changes_text(found.changes)
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
    """The manifest without results: that of the run to resume, or a new one with its clips."""
    if found.state == "unfinished" and found.old is not None and found.old.units:
        skipped = {**found.old.skipped, **told}
        return found.old.model_copy(update={"shards": (), "missing": {}, "counts": {}, "skipped": skipped})
    plan = stage.make.units(found.config, found.inputs)
    return found.new.model_copy(update={"units": plan.units, "skipped": {**plan.skipped, **told}})


def _make(stage: Stage, found: Decision, options: RunOptions, told: Mapping[str, str]) -> Outcome:
    """Make or resume the artifact; `told` are the problems that the stage's check found."""
    work, folder, sides, kind = Folder(options.work), found.folder, found.sides, found.kind
    started = _started(stage, found, told)
    shared = stage.make.shared
    writes = not shared or launched_rank() == 0
    locks = contextlib.ExitStack()

    def begin() -> None:
        """The first write; all checks of the set-up have passed."""
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
                agree(True)  # all processes have read the folder before rank 0 changes it
            if writes:
                begin()

        folders = {name: work / name for name in found.inputs}
        done = stage.make.make(_build(found, options, folders, touch), started)
        if done is None:
            if not agree(True):
                raise V2VError(
                    "process-failed", f"The first process could not finish {folder.url}.", "Read its error message."
                )
            return Outcome(f"{kind}: made with the other processes.")
        finished = False
        try:
            write_manifest(folder, done)
            for target in (*sides, folder):
                target.remove(PARTIAL)
            finished = True
        finally:  # the other processes wait for this: their next part reads what rank 0 wrote
            if shared:
                agree(finished)
    return Outcome(f"{kind}: {_summary(done)}.", tuple(_problems(done)))


def _drop_damaged(folders: tuple[Folder, ...]) -> None:
    """Remove shards with a wrong checksum, so that they are remade."""
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
