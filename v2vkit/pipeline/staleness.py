"""Compares an existing artifact with what a run with these settings would make; writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from v2vkit import __version__
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.integrity import incomplete
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest, fingerprint, read_manifest
from v2vkit.config import StageConfig, as_plain, extras, fingerprinted, settings_of
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import RunOptions, Stage, load_inputs
from v2vkit.video.sources import natural_key

State = Literal["missing", "unfinished", "done", "stale"]
"""`stale`: made with other settings or inputs. `unfinished`: can be resumed; with `--continue`, other settings too."""

CONTINUED = "--continue"
"""Input of an artifact that was resumed with other settings: checksum of the state that it was resumed from."""


@dataclass(frozen=True)
class Decision:
    """How an existing artifact compares to what a run with these settings would make.

    Attributes:
        state: the state of the artifact.
        changes: why it is stale, or what a continued run changes: setting or input -> phrase.
        config: the resolved settings.
        kind, folder, sides: the artifact, its folder, and those of its side outputs.
        inputs: artifact kind -> manifest.
        old: the existing manifest, the partial one if there are both; None = none that can be read.
        new: the manifest that a run would start with.
    """

    state: State
    changes: dict[str, str]
    config: StageConfig
    kind: str
    folder: Folder
    sides: tuple[Folder, ...]
    inputs: dict[str, Manifest]
    old: Manifest | None
    new: Manifest


def resolved(stage: Stage, config: StageConfig, options: RunOptions) -> StageConfig:
    """The settings, with defaults that depend on the workspace filled in."""
    if options.overwrite:
        config = stage.renew(config)
    return config if stage.resolve is None else stage.resolve(config, Folder(options.work))


def decide(stage: Stage, config: StageConfig, options: RunOptions) -> Decision:
    """Compare the existing artifact with what a run would make.

    Args:
        config: `resolved` settings.

    Raises:
        V2VError: inputs are missing or do not belong together, a manifest is damaged, or `--continue` is not possible.
    """
    work, kind = Folder(options.work), stage.output(config)
    folder, sides = work / kind, tuple(work / side for side in stage.side_outputs(config))
    inputs = load_inputs(work, stage.inputs(config), making=lambda kind: stage.making(config, kind))
    sources = {kind: manifest.fingerprint for kind, manifest in inputs.items()}
    sources |= {} if stage.sources is None else stage.sources(config)
    finished, partial = (read_or_refuse(folder, name, overwrite=options.overwrite) for name in (MANIFEST, PARTIAL))
    old = partial or finished

    def whole(manifest: Manifest) -> bool:
        return not incomplete(folder, manifest, read=options.overwrite) and all(
            _whole_side(side, manifest, kind, read=options.overwrite) for side in sides
        )

    changes: dict[str, str] = {}
    new = _planned(stage, config, sources)
    state: State = "missing"
    if old is not None:
        # The state it was resumed from is not a setting: rerunning the command means the existing artifact.
        same = _planned(stage, config, sources | {k: v for k, v in old.inputs.items() if k == CONTINUED})
        if same.fingerprint in (old.fingerprint, (migrated := stage.migrate(old)).fingerprint):
            new, state = same, "done" if not folder.exists(PARTIAL) and whole(old) else "unfinished"
        else:
            state, changes = "stale", describe_changes(migrated, same, stage.config)
        continued = stage.make.continued
        if changes and options.continue_ and continued is not None:
            state = "unfinished"
            new = _planned(stage, config, sources | {CONTINUED: continued(config, old, changes, folder)})
    return Decision(state, changes, config, kind, folder, sides, inputs, old, new)


def _planned(stage: Stage, config: StageConfig, inputs: dict[str, str]) -> Manifest:
    """The manifest that a run with these settings would start with."""
    return Manifest(
        v2vkit=__version__,
        stage=stage.name,
        stage_version=stage.version,
        config=as_plain(config),
        inputs=inputs,
        fingerprint=fingerprint(stage.name, stage.version, fingerprinted(config), inputs),
    )


def describe_changes(old: Manifest, new: Manifest, config: type[StageConfig]) -> dict[str, str]:
    """What differs between two runs: setting or input -> phrase."""
    found = {}
    if old.stage != new.stage:
        return {"version": f"it was made by {old.stage}"}
    if old.stage_version != new.stage_version:
        found["version"] = f"the stage itself (version {old.stage_version}, now {new.stage_version})"
    settings = settings_of(config)
    for key in sorted(old.config.keys() | new.config.keys()):
        extra = extras(config, key) if key in settings else {}
        # An artifact older than the setting was made with its default.
        default = settings[key].default if extra.get("since") else None
        before, now = old.config.get(key, default), new.config.get(key)
        if before != now and extra.get("affects_output", True):
            found[key] = f"{key} (was {before}, now {now})"
    for key in sorted(old.inputs.keys() | new.inputs.keys(), key=natural_key):
        if key not in old.inputs:
            found[f"input {key}"] = f"input {key} (new)"
        elif key not in new.inputs:
            found[f"input {key}"] = f"input {key} (gone)"
        elif old.inputs[key] != new.inputs[key]:
            found[f"input {key}"] = f"the content of input {key}"
    return found


_MOST_INPUTS = 4
"""Changed inputs that a message names; the others are counted."""


def changes_text(changes: Mapping[str, str]) -> str:
    """The changes of `describe_changes` as a list: every setting, and the first inputs."""
    inputs = [phrase for key, phrase in changes.items() if key.startswith("input ")]
    phrases = [phrase for key, phrase in changes.items() if not key.startswith("input ")] + inputs[:_MOST_INPUTS]
    if more := inputs[_MOST_INPUTS:]:
        phrases.append(f"and {counted(len(more), 'more input')}")
    return ", ".join(phrases)


def read_or_refuse(folder: Folder, name: str, *, overwrite: bool) -> Manifest | None:
    """The manifest of a folder; with `overwrite`, None for a damaged one."""
    try:
        return read_manifest(folder, name)
    except V2VError as error:
        if overwrite:
            return None
        if error.code != "manifest-damaged":  # the store cannot be reached
            raise
        raise V2VError(error.code, error.message, "Add --overwrite to make it again.") from None


def _whole_side(side: Folder, main: Manifest, kind: str, *, read: bool = False) -> bool:
    """Whether a side output belongs to its main artifact and is complete; False for a damaged one."""
    manifest = read_or_refuse(side, MANIFEST, overwrite=True)
    if manifest is None or manifest.inputs.get(kind) != main.fingerprint:
        return False
    return not incomplete(side, manifest, read=read)


def refuse_others(side: Folder, stage: Stage) -> None:
    """Refuse to replace a side output that another stage made."""
    manifest = read_or_refuse(side, MANIFEST, overwrite=False)
    if manifest is not None and manifest.stage != stage.name:
        raise V2VError(
            "artifact-conflict",
            f"{side.url} was made by {manifest.stage}; {stage.name} would replace it.",
            "Add --overwrite to replace it, or use another --work.",
        )
