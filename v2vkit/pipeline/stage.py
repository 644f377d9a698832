"""Stages (commands that make an artifact) and other commands, as values; and loading of their inputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest, read_manifest
from v2vkit.config import StageConfig
from v2vkit.errors import V2VError
from v2vkit.pipeline.commands import commands_text, ingest_flag
from v2vkit.pipeline.makers import Build, Maker, PerClip, Plan, RunOptions, Whole
from v2vkit.pipeline.mapping import Clip, Opened, Sample
from v2vkit.video.file_kinds import IMAGE_ENDINGS, VIDEO_ENDINGS

__all__ = [
    "Build",
    "Clip",
    "Command",
    "Maker",
    "Opened",
    "PerClip",
    "Plan",
    "RunOptions",
    "Sample",
    "Stage",
    "Whole",
    "load_input",
    "load_inputs",
]


@dataclass(frozen=True)
class Stage:
    """A command that makes one artifact from finished artifacts.

    Attributes:
        name: the command and the recipe table.
        config: the config model.
        version: to be raised when the same settings give other results.
        output: config -> kind of the artifact (its folder in the workspace).
        make: makes the artifact.
        inputs: config -> kinds of the artifacts that it reads; the first one decides clips and shards.
        making: config, kind of an input -> the commands that make it, for messages.
        sources: config -> {source: checksum} of other files that it reads.
        precheck: raises V2VError for settings that can never work, before a recipe's first stage runs.
        resolve: config, workspace -> config with defaults that depend on the workspace filled in.
        renew: config -> config with those defaults decided that `resolve` takes from an existing artifact; called with
            `--overwrite`.
        check: config, input manifests, workspace -> problems (source -> what is left out); raises V2VError for what
            cannot work, before anything is written.
        parts: config -> the configs of several artifacts that one command makes one after another.
        stale_hint: the hint for an artifact made with other settings or inputs; or a function of config, its manifest
            and `Decision.changes` that gives it.
        migrate: a manifest of an earlier version -> the manifest that this version would have written.
    """

    name: str
    config: type[StageConfig]
    version: int
    output: Callable[[Any], str]
    make: Maker
    inputs: Callable[[Any], tuple[str, ...]] = lambda config: ()
    making: Callable[[Any, str], str] = lambda config, kind: commands_text(kind)
    sources: Callable[[Any], dict[str, str]] | None = None
    precheck: Callable[[Any], None] | None = None
    resolve: Callable[[Any, Folder], Any] | None = None
    renew: Callable[[Any], Any] = lambda config: config
    check: Callable[[Any, dict[str, Manifest], Folder], Mapping[str, str] | None] | None = None
    parts: Callable[[Any], tuple[Any, ...]] = lambda config: (config,)
    stale_hint: str | Callable[[Any, Manifest, Mapping[str, str]], str] = (
        "Add --overwrite to remake it, or use the old settings to keep it."
    )
    migrate: Callable[[Manifest], Manifest] = lambda manifest: manifest

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the `RunOptions` that have an effect."""
        return self.make.options

    def side_outputs(self, config: Any) -> dict[str, tuple[str, ...]]:
        """Kind -> extensions of the additional artifacts that the stage makes."""
        return self.make.side_outputs(config)


@dataclass(frozen=True)
class Command:
    """A command that makes no artifact (render, show, check).

    Attributes:
        name: the command and the recipe table.
        config: the config model.
        call: runs the command and returns the problems (exit code 3).
        options: names of the `RunOptions` that `call` uses; only these are flags of the command.
        check: raises V2VError for settings that can never work, whatever earlier commands of a recipe make.
        status: config, options, artifacts that will be remade first (as in `runner.status`) -> `done`, `missing`, or
            `stale: …`; for a command that skips an existing result.
        resumes: a rerun after a stop resumes from the finished parts.
    """

    name: str
    config: type[StageConfig]
    call: Callable[[Any, RunOptions], list[str]]
    options: tuple[str, ...] = ("work",)
    check: Callable[[Any], None] | None = None
    status: Callable[[Any, RunOptions, set[tuple[str, str]]], str] | None = None
    resumes: bool = False


def load_input(work: Folder, kind: str, *, making: Callable[[str], str] = commands_text) -> Manifest:
    """The manifest of a finished input artifact.

    Args:
        making: kind -> the commands that make it, for messages.

    Raises:
        V2VError: missing, unfinished or damaged.
    """
    try:
        manifest = read_manifest(work / kind)
    except V2VError as error:
        if error.code != "manifest-damaged":  # the store cannot be reached
            raise
        raise V2VError(
            error.code, error.message, f"Make {kind} again: {making(kind)}, with its settings and --overwrite."
        ) from None
    if manifest is not None:
        return manifest
    if (work / kind).exists(PARTIAL):
        raise V2VError(
            "artifact-unfinished",
            f"The artifact {kind} in {work.url} is unfinished.",
            f"Rerun the {making(kind)} command.",
        )
    raise V2VError(
        "artifact-missing",
        f"There is no artifact {kind} in {work.url}{'' if work.there else ', which does not exist'}.",
        f"Run {making(kind)} first, or name another --work.",
    )


def load_inputs(
    work: Folder, kinds: Iterable[str], *, making: Callable[[str], str] = commands_text
) -> dict[str, Manifest]:
    """The manifests of finished artifacts that belong together; `making` as in `load_input`.

    Raises:
        V2VError: one is missing or unfinished, or was made from another version of one of the others.
    """
    manifests = {kind: load_input(work, kind, making=making) for kind in kinds}
    for kind, parent in stale_inputs(manifests):
        raise V2VError(
            "artifact-stale",
            f"The artifact {kind} was made from another version of {parent} than the one in {work.url}.",
            f"Remake it: {make_again(kind, manifests[kind])}.",
        )
    return manifests


def stale_inputs(manifests: dict[str, Manifest]) -> Iterator[tuple[str, str]]:
    """(kind, parent) wherever an artifact was made from another version of a parent than the given one."""
    for kind, manifest in manifests.items():
        for parent, seen in manifest.inputs.items():
            if parent in manifests and manifests[parent].fingerprint != seen:
                yield kind, parent


def refuse_workspaces(sources: Iterable[str]) -> None:
    """Refuse workspaces as footage, although they hold folders of pictures (reports, samples).

    Raises:
        V2VError: a source is a workspace folder without footage of its own.
    """
    for source in sources:
        try:
            inside = list(Path(source).iterdir())
            artifacts = any((path / name).is_file() for path in inside for name in (MANIFEST, PARTIAL))
        except OSError:
            continue  # not a folder: reading it later raises a better error
        if artifacts and not any(path.suffix.lower() in VIDEO_ENDINGS | IMAGE_ENDINGS for path in inside):
            raise V2VError(
                "source-is-workspace",
                f"{source} is a workspace, not footage.",
                "Give it with --work, to `render` with --maps; or name a folder of videos or images.",
            )


def make_again(kind: str, manifest: Manifest) -> str:
    """The command that remakes an artifact from the current inputs."""
    flag = ingest_flag(kind)
    if flag and manifest.stage == "ingest":  # which keeps side outputs unless their settings are given
        return f"`v2v ingest --overwrite` with {flag} and its other settings; or remove that folder"
    return f"`v2v {manifest.stage} --overwrite` with its settings"
