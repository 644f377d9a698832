"""What a stage is, and what a command is that makes no artifact; `runner` runs them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest, read_manifest
from v2vkit.config import StageConfig
from v2vkit.errors import V2VError
from v2vkit.pipeline.makers import Build, Maker, PerClip, Plan, RunOptions, Whole
from v2vkit.pipeline.mapping import Clip, Opened, Sample

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
    """Finished artifacts in, one artifact out.

    Attributes:
        name: the command and the recipe table.
        config: the config model.
        version: raise it when the same settings give other results.
        output: config -> kind of the artifact (its folder in the workspace).
        make: how it is made.
        inputs: config -> kinds of the artifacts it reads; the first one gives clips and shards.
        sources: config -> {source: checksum} for what it reads besides artifacts.
        resolve: config, workspace -> config with what was left open filled in from the artifacts that are there.
        check: config, input manifests, workspace -> raises V2VError for what cannot work, before anything is written;
            gives the problems (source -> what is left out of it) with which it works all the same.
        parts: config -> the configs of several artifacts that one command makes one after another.
        stale_hint: what to do about an artifact that was made with other settings or inputs; or config, its manifest,
            `Decision.changes` -> that.
        migrate: a manifest of an earlier version -> as this one would have written it, so that it stays valid.
    """

    name: str
    config: type[StageConfig]
    version: int
    output: Callable[[Any], str]
    make: Maker
    inputs: Callable[[Any], tuple[str, ...]] = lambda config: ()
    sources: Callable[[Any], dict[str, str]] | None = None
    resolve: Callable[[Any, Folder], Any] | None = None
    check: Callable[[Any, dict[str, Manifest], Folder], Mapping[str, str] | None] | None = None
    parts: Callable[[Any], tuple[Any, ...]] = lambda config: (config,)
    stale_hint: str | Callable[[Any, Manifest, Mapping[str, str]], str] = (
        "Give the command with --overwrite to make it again, or with the old settings to keep it."
    )
    migrate: Callable[[Manifest], Manifest] = lambda manifest: manifest

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the `RunOptions` that have an effect."""
        return self.make.options

    def side_outputs(self, config: Any) -> dict[str, tuple[str, ...]]:
        """Kind -> extensions of the artifacts that are made beside the stage's own."""
        return self.make.side_outputs(config)


@dataclass(frozen=True)
class Command:
    """A subcommand beside the stages (render, show, check).

    Attributes:
        name: the command and the recipe table.
        config: the config model.
        call: does it, and gives the problems for the exit code.
        options: names of the `RunOptions` that `call` looks at; others are no flags of the command.
        check: raises V2VError for settings that cannot work, whatever other commands make before.
        status: `done`, `missing`, or `stale: …`, for a command that does nothing where its result is there already.
        resumes: stopped and called again, it goes on from what is finished.
    """

    name: str
    config: type[StageConfig]
    call: Callable[[Any, RunOptions], list[str]]
    options: tuple[str, ...] = ("work",)
    check: Callable[[Any], None] | None = None
    status: Callable[[Any, RunOptions], str] | None = None
    resumes: bool = False


def load_input(work: Folder, kind: str) -> Manifest:
    """The manifest of a finished input artifact.

    Raises:
        V2VError: absent or unfinished.
    """
    manifest = read_manifest(work / kind)
    if manifest is not None:
        return manifest
    maker = _MAKERS.get(kind, "train" if kind.startswith("checkpoints") else kind)
    if (work / kind).exists(PARTIAL):
        raise V2VError(
            "artifact-unfinished",
            f"The artifact {kind} in {work.url} is unfinished.",
            f"Give the `v2v {maker}` command again.",
        )
    raise V2VError(
        "artifact-missing",
        f"There is no artifact {kind} in {work.url}.",
        f"Run `v2v {maker}` first, or name another --work.",
    )


def load_inputs(work: Folder, kinds: Iterable[str]) -> dict[str, Manifest]:
    """The manifests of finished artifacts that belong together.

    Raises:
        V2VError: one is absent or unfinished, or was made from another version of one of the others.
    """
    manifests = {kind: load_input(work, kind) for kind in kinds}
    for kind, parent in made_from_others(manifests):
        raise V2VError(
            "artifact-stale",
            f"The artifact {kind} was made from other {parent} than those in {work.url} now.",
            f"Make it again: {make_again(kind, manifests[kind])}.",
        )
    return manifests


def made_from_others(manifests: dict[str, Manifest]) -> Iterator[tuple[str, str]]:
    """(kind, parent) wherever an artifact was made from another version of one of the others than the one here."""
    for kind, manifest in manifests.items():
        for parent, seen in manifest.inputs.items():
            if parent in manifests and manifests[parent].fingerprint != seen:
                yield kind, parent


def refuse_workspaces(sources: Iterable[str]) -> None:
    """A workspace has folders of pictures too (reports, samples), which nobody means as footage.

    Raises:
        V2VError: a source is the folder of a workspace, and holds no file itself.
    """
    for source in sources:
        try:
            inside = list(Path(source).iterdir())
            artifacts = any((path / name).is_file() for path in inside for name in (MANIFEST, PARTIAL))
        except OSError:
            continue  # no folder: whoever opens it tells what is the matter
        if artifacts and not any(path.is_file() for path in inside):
            raise V2VError(
                "source-is-workspace",
                f"{source} is a workspace, not footage.",
                "Give it with --work, to `render` with --maps; or name a folder of videos or images.",
            )


def make_again(kind: str, manifest: Manifest) -> str:
    """The command that makes an artifact from the inputs that are there now."""
    if kind in _BESIDE and manifest.stage == "ingest":  # which leaves them alone unless it is given others
        return f"`v2v ingest --overwrite` with --{_BESIDE[kind]} and its other settings; or remove that folder"
    return f"`v2v {manifest.stage} --overwrite` with its settings"


_BESIDE = {"labels": "labels", "depth": "depth", "densepose": "densepose", "pictures": "picture"}
"""Artifact that `ingest` makes beside the frames -> name of the setting."""
_MAKERS = {
    "frames": "ingest",
    "labels": "ingest --labels FOLDER` or `v2v segment",
    "depth": "ingest --depth FOLDER",
    "densepose": "ingest --densepose FOLDER",
    "pictures": "ingest --picture VIDEO",
    "sketches": "make-sketches",
    "edges": "make-edges",
    "poses": "estimate-pose",
    "flow": "extract-flow",
    "tracks": "track",
    "features": "encode-features",
    "styles": "sample-style",
}
