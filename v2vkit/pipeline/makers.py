"""How a stage makes its artifact: clip by clip in processes, or as a whole. The runner treats both alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, Manifest, ShardEntry
from v2vkit.engine.choice import EngineName, EngineOptions
from v2vkit.engine.launcher import launched_rank
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.mapping import Opened, map_units

ENGINE_OPTIONS = ("workers", "engine", "address", "worker_gpus")
"""Fields of `RunOptions` that say where shards are made."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that are not settings. Only `continue_` affects the result: training starts from another state.

    Attributes:
        work: the workspace, a local folder or an fsspec URL.
        workers, engine, address, worker_gpus: where shards are made; as in `EngineOptions`.
        overwrite: replace an artifact made with other settings.
        continue_: resume an artifact made with other settings, where the stage can.
        dry_run: check everything and print the plan and its cost, without doing it.
    """

    work: str = "work"
    workers: int = 0
    engine: EngineName = "local"
    address: str = ""
    worker_gpus: float = 0.0
    overwrite: bool = False
    continue_: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not self.work.strip():  # usually an unset shell variable
            raise V2VError("folder-unsupported", "--work has an empty name.", "Name a folder, such as `--work work`.")

    @property
    def engine_options(self) -> EngineOptions:
        """The options of the engine."""
        return EngineOptions(self.engine, self.workers, self.address, self.worker_gpus)


@dataclass(frozen=True)
class Plan:
    """The clips of each shard, decided once by `ingest`, and the sources that could not be used."""

    units: tuple[tuple[ClipInfo, ...], ...]
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Build:
    """Everything that a maker needs to make an artifact.

    Attributes:
        folder: the artifact's folder; `kind` is its name in the workspace.
        inputs: artifact kind -> its manifest; `folders` has the folders.
        fingerprint: of this run; parts left by an earlier run with the same fingerprint may be kept.
        begin: to be called once after all checks and before the first write; removes what an earlier run with other
            settings left in the folder.
        continued: result of `Maker.continued`, where this run resumes one with other settings.
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
"""Config, manifest of the existing artifact, `Decision.changes`, its folder -> checksum of the state that a run with
the new settings resumes from (`--continue`); raises V2VError where it cannot."""


class Maker(Protocol):
    """How a stage makes its artifact: clip by clip, or as a whole.

    Attributes:
        options: names of the `RunOptions` that have an effect.
        shared: processes of a launcher make the artifact together, and rank 0 writes it.
        previews: a dry run prints the plan even where the existing artifact is stale.
        continued: finds the state that a run with other settings resumes from; None where the stage cannot resume.
        ahead: config, run options -> the plan of a part whose inputs do not exist yet, because earlier parts make them;
            None where there is no such plan.
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
        """The clips of each shard."""

    def rehearse(self, build: Build, started: Manifest) -> tuple[str, list[str]]:
        """The plan as text, and its problems: opens everything that is needed and makes nothing."""

    def make(self, build: Build, started: Manifest) -> Manifest | None:
        """Make the artifact: the manifest `started` with the results; None where another process writes it."""


@dataclass(frozen=True)
class PerClip:
    """Makes an artifact clip by clip, in processes.

    Attributes:
        open: config -> the function over clips. Runs once per process, so it must be a module-level function.
        plan: config -> clips and shards, for a stage that starts from files; else they are those of the first input.
        side_outputs: config -> {kind: extensions} for files that go into an artifact of their own (ingested labels).
        carries_over: the clips of a shot are made in order, each with the last result of the previous clip
            (`Clip.before`). Shots are still made in parallel, and a killed run resumes after its last shard.
    """

    open: Callable[[Any], Opened]
    plan: Callable[[Any], Plan] | None = None
    side_outputs: Callable[[Any], dict[str, tuple[str, ...]]] = lambda config: {}
    carries_over: bool = False

    options: ClassVar[tuple[str, ...]] = ("work", *ENGINE_OPTIONS, "overwrite", "dry_run")
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
        """Open the function, and count its clips and frames."""
        build.options.engine_options.check()
        self.open(build.config)
        frames, clips = counted(started.num_frames, "frame"), counted(len(started.clips), "clip")
        shards = counted(len(started.units), "shard")
        problems = [f"{source}: {reason}" for source, reason in started.skipped.items()]
        return f"{build.kind}: {frames} in {clips}, {shards} to make", problems

    def make(self, build: Build, started: Manifest) -> Manifest | None:
        """Map the clips through the engine."""
        build.options.engine_options.check()
        return map_units(
            started,
            open=self.open,
            config=build.config,
            work=Folder(build.options.work),
            kind=build.kind,
            side_outputs=self.side_outputs(build.config),
            inputs=build.inputs,
            engine=build.options.engine_options,
            begin=build.begin,
            carries_over=self.carries_over,
        )


@dataclass(frozen=True)
class Whole:
    """Makes an artifact as a whole, in this process (training).

    Attributes:
        build: makes the artifact and returns its files.
        preview: the plan of `build` and its cost, as text.
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
        """Build it; rank 0 returns the result."""
        shards = self.build(build)
        return started.model_copy(update={"shards": shards}) if launched_rank() == 0 else None
