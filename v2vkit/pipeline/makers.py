"""How a stage makes its artifact: clip by clip in processes, or as a whole. `runner` calls either in the same way."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, Manifest, ShardEntry
from v2vkit.engine.launcher import launched_rank
from v2vkit.errors import counted
from v2vkit.pipeline.mapping import Opened, map_units


@dataclass(frozen=True)
class RunOptions:
    """How to run, as opposed to what to make: only `continue_` changes the result, by what training begins from.

    Attributes:
        work: the workspace, a local folder or an fsspec URL.
        workers: processes; 0 = one per core.
        overwrite: throw away an artifact made with other settings.
        continue_: go on from one made with other settings, where the stage can.
        dry_run: check everything, say what would be done and what it costs, and do nothing.
    """

    work: str = "work"
    workers: int = 0
    overwrite: bool = False
    continue_: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Plan:
    """The clips of each shard, decided once (by `ingest`), and the sources that could not be used."""

    units: tuple[tuple[ClipInfo, ...], ...]
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Build:
    """What a stage is given to make its artifact.

    Attributes:
        folder: the artifact's folder, to write into; `kind` is its name in the workspace.
        inputs: artifact kind -> its manifest; `folders` has the folders.
        fingerprint: of this run; whatever the stage left there before under the same fingerprint may be continued.
        begin: to be called once when everything that could be wrong with the set-up has been raised, before the first
            write: what an earlier run with other settings left in the folder is gone then.
        continued: what `Maker.continued` said, where this run goes on from one with other settings.
    """

    config: Any
    options: RunOptions
    folder: Folder
    inputs: dict[str, Manifest]
    folders: dict[str, Folder]
    fingerprint: str
    begin: Callable[[], None]
    continued: str | None = None
    kind: str = ""


Continued = Callable[[Any, Manifest, Mapping[str, str], Folder], str]
"""Config, manifest of the artifact that is there, `Decision.changes`, its folder -> checksum of what a run with the new
settings goes on from (`--continue`); raises V2VError where it cannot."""


class Maker(Protocol):
    """How a stage makes its artifact: clip by clip, or as a whole.

    Attributes:
        options: names of the `RunOptions` that have an effect.
        shared: several processes that a launcher started make it together, and the first one writes.
        previews: a dry run can say what would be made even where the artifact that is there is stale.
        continued: what a run with other settings goes on from; None where it cannot.
        ahead: config, run options -> what `rehearse` would say of a part whose inputs the parts before it have still to
            make; None where nothing can be said.
    """

    @property
    def options(self) -> tuple[str, ...]: ...
    @property
    def shared(self) -> bool: ...
    @property
    def previews(self) -> bool: ...
    @property
    def continued(self) -> Continued | None: ...
    @property
    def ahead(self) -> Callable[[Any, RunOptions], str] | None: ...
    @property
    def side_outputs(self) -> Callable[[Any], dict[str, tuple[str, ...]]]:
        """Config -> {kind: extensions} for files that go into an artifact of their own (ingested labels)."""

    def units(self, config: Any, inputs: Mapping[str, Manifest]) -> Plan:
        """The clips of each shard, before anything is made."""

    def rehearse(self, build: Build, started: Manifest) -> tuple[str, list[str]]:
        """What would be made, as text, and its problems; everything that it needs is opened, nothing made."""

    def make(self, build: Build, started: Manifest) -> Manifest | None:
        """Make it: the manifest `started` with the results; None where another process writes it."""


@dataclass(frozen=True)
class PerClip:
    """Makes an artifact clip by clip, in processes.

    Attributes:
        open: config -> the function over clips. Runs once per process, so it must be a module-level function.
        plan: config -> clips and shards, for a stage that starts from files; else they are those of the first input.
        side_outputs: config -> {kind: extensions} for files that go into an artifact of their own (ingested labels).
        carries_over: the clips of a shot are made in order, each with the last result of the one before
            (`Clip.before`). Shots are still made in parallel, and a killed run goes on from its last shard.
    """

    open: Callable[[Any], Opened]
    plan: Callable[[Any], Plan] | None = None
    side_outputs: Callable[[Any], dict[str, tuple[str, ...]]] = lambda config: {}
    carries_over: bool = False

    options: ClassVar[tuple[str, ...]] = ("work", "workers", "overwrite", "dry_run")
    shared: ClassVar[bool] = False
    previews: ClassVar[bool] = False
    continued: ClassVar[None] = None
    ahead: ClassVar[None] = None

    def units(self, config: Any, inputs: Mapping[str, Manifest]) -> Plan:
        """Those of `plan`, or of the first input."""
        if self.plan is not None:
            return self.plan(config)
        first = next(iter(inputs.values()), None)
        return Plan(first.units if first is not None else ())

    def rehearse(self, build: Build, started: Manifest) -> tuple[str, list[str]]:
        """Open the function, and count what it would be called with."""
        self.open(build.config)
        frames, clips = counted(started.num_frames, "frame"), counted(len(started.clips), "clip")
        shards = counted(len(started.units), "shard")
        problems = [f"{source}: {reason}" for source, reason in started.skipped.items()]
        return f"{build.kind}: {frames} in {clips}, {shards} to make", problems

    def make(self, build: Build, started: Manifest) -> Manifest | None:
        """Map the clips through the engine."""
        return map_units(
            started,
            open=self.open,
            config=build.config,
            work=Folder(build.options.work),
            kind=build.kind,
            side_outputs=self.side_outputs(build.config),
            inputs=build.inputs,
            workers=build.options.workers or os.cpu_count() or 1,
            begin=build.begin,
            carries_over=self.carries_over,
        )


@dataclass(frozen=True)
class Whole:
    """Makes an artifact as a whole, in this process (training).

    Attributes:
        build: makes it; gives the files it consists of.
        preview: what `build` would do and cost, as text.
        ahead, continued: as in `Maker`.
    """

    build: Callable[[Build], tuple[ShardEntry, ...]]
    preview: Callable[[Build], str] | None = None
    ahead: Callable[[Any, RunOptions], str] | None = None
    continued: Continued | None = None

    shared: ClassVar[bool] = True

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the `RunOptions` that have an effect."""
        return ("work", "overwrite", *("continue_",) * (self.continued is not None), "dry_run")

    @property
    def previews(self) -> bool:
        """Whether there is a preview."""
        return self.preview is not None

    def side_outputs(self, config: Any) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def units(self, config: Any, inputs: Mapping[str, Manifest]) -> Plan:
        """It has no clips."""
        return Plan(())

    def rehearse(self, build: Build, started: Manifest) -> tuple[str, list[str]]:
        """The preview."""
        return "" if self.preview is None else self.preview(build), []

    def make(self, build: Build, started: Manifest) -> Manifest | None:
        """Build it; the first process has the result."""
        shards = self.build(build)
        return started.model_copy(update={"shards": shards}) if launched_rank() == 0 else None
