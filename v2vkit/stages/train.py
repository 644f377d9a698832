"""`v2v train`: trains a model on finished artifacts and writes `checkpoints/<stage>` or `checkpoints/<method>`."""

import contextlib
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, Manifest, ShardEntry, entry_of
from v2vkit.classes.remap import final_table
from v2vkit.classes.table import ids_of
from v2vkit.conditions.domains import DOMAINS
from v2vkit.config import SPATIAL_STAGES
from v2vkit.engine.cores import Threads, choose_threads
from v2vkit.engine.devices import fitting, pick_device
from v2vkit.engine.interrupt import first_interrupt
from v2vkit.engine.launcher import launched_rank
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Build, RunOptions, Stage, Whole, load_input, load_inputs
from v2vkit.stages.train_plan import (
    artifact_of,
    check_training,
    not_used,
    open_dataset,
    start_folder,
    training_inputs,
    training_sources,
)
from v2vkit.stages.train_report import REPORTS
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import METHODS, method_spec
from v2vkit.training.perceptual import renew_perceptual, require_perceptual

if TYPE_CHECKING:
    import torch

    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.checkpoint.train_state import TrainState
    from v2vkit.training.data.dataset import VideoDataset
    from v2vkit.training.methods.base import Method
    from v2vkit.training.parallel import Parallel
    from v2vkit.training.schedule import Schedule


def _resolve(config: TrainConfig, work: Folder) -> TrainConfig:
    """Fill in the domain from the artifacts of the workspace, and what the method leaves open."""
    from v2vkit.training.check import refuse_unused

    spec = method_spec(config.method)
    refuse_unused(config, spec)
    return _with_tracks(_with_conditions(spec.resolve(_with_label_ids(config, work), work), work), work)


def _renew(config: TrainConfig) -> TrainConfig:
    """With --overwrite, `--perceptual auto` sees weights that came after the training that it replaces."""
    return config if "perceptual" in method_spec(config.method).unused else renew_perceptual(config)


def _with_tracks(config: TrainConfig, work: Folder) -> TrainConfig:
    """Tracks are read where the workspace has some, and conditions and method take them.

    Raises:
        V2VError: they are asked for, and nothing takes them.
    """
    from v2vkit.conditions.clips import tracks_beside
    from v2vkit.conditions.labels import TRACKS
    from v2vkit.conditions.registry import condition_class

    classes = [condition_class(name) for name in config.conditions]
    takes = method_spec(config.method).tracks and any(TRACKS in of.replaced.values() for of in classes)
    if config.model.tracks and not takes:
        raise V2VError("setting-unused", "--tracks is for models conditioned on labels.", "Leave it out.")
    if config.model.tracks is None and takes and tracks_beside(work, [of.artifact for of in classes]):
        return config.model_copy(update={"tracks": True})
    return config


def _with_conditions(config: TrainConfig, work: Folder) -> TrainConfig:
    """The domain from the artifacts of the workspace, where no conditions are given."""
    if config.condition:  # one spelling of one list
        return config.model_copy(update={"domain": None, "condition": config.conditions})
    if config.conditions:
        return config
    domains = {
        name: row.artifacts
        for name, row in DOMAINS.items()
        if all((work / kind).exists(MANIFEST) for kind in row.artifacts)
    }
    found = list(domains)
    if len(found) == 1:
        return config.model_copy(update={"domain": found[0]})
    if found:
        raise V2VError(
            "setting-required",
            f"{work.url} holds maps of several domains ({', '.join(map(' and '.join, domains.values()))}).",
            f"Choose one: --domain {' or '.join(found)}.",
        )
    wanted = {found.artifact: found.making for row in DOMAINS.values() for found in row.classes}
    raise V2VError(
        "artifact-missing",
        f"There are no source maps in {work.url}: neither {' nor '.join(wanted)}.",
        f"Make some with {', '.join(wanted.values())}.",
    )


def _with_label_ids(config: TrainConfig, work: Folder) -> TrainConfig:
    """Names of classes in --foreground as ids, by the class table of the labels.

    Raises:
        V2VError: the labels have no class table, or it has no such class.
    """
    if all(isinstance(label, int) for label in config.model.foreground):
        return config
    labels = load_input(work, "labels")
    return config.model_copy(
        update={"foreground": ids_of(config.model.foreground, final_table(labels.config), "--foreground")}
    )


def _parts(config: TrainConfig) -> tuple[TrainConfig, ...]:
    """The stages of `--stage all`, coarse to fine."""
    if config.stage != "all" or not METHODS[config.method].staged:
        return (config,)
    total = config.num_scales
    if total is None:
        raise V2VError(
            "setting-required",
            "--stage all needs the number of scales.",
            f"Give --num-scales 2 or 3, or --stage {SPATIAL_STAGES[0]}.",
        )
    stages = [config.model_copy(update={"stage": name, "num_scales": total}) for name in SPATIAL_STAGES[:total]]
    # The first stage has no coarser generator to freeze; the others start from the stage before, not from start_from.
    return (
        stages[0].model_copy(update={"fix_epochs": 0}),
        *(stage.model_copy(update={"start_from": None}) for stage in stages[1:]),
    )


def _precheck(config: TrainConfig) -> None:
    """Refuse what can be seen from the settings alone."""
    from v2vkit.training.check import refuse_unused

    for part in _parts(config):
        refuse_unused(part, method_spec(part.method))
        require_perceptual(part)


@dataclass(frozen=True)
class _Run:
    """Everything that training needs; `plan` is printed before it starts, `planned` is its time in seconds."""

    method: "Method"
    state: "TrainState"
    dataset: "VideoDataset"
    info: "ModelInfo"
    device: "torch.device"
    threads: Threads
    schedule: "Schedule"
    planned: float | None
    plan: str


def _open(build: Build, parallel: "Parallel") -> _Run:
    from v2vkit.checkpoint.model_file import MODEL
    from v2vkit.checkpoint.snapshot import read_progress
    from v2vkit.training.continuing import fitted_epochs, refuse_finished
    from v2vkit.training.plan import measure_phases, phase_times, plan_text, schedule_within_budget
    from v2vkit.training.trainer import new_state

    config: TrainConfig = build.config
    assert config.conditions
    spec = method_spec(config.method)
    threads = choose_threads(config.hardware.threads)
    device = parallel.device or pick_device(config.hardware.device)
    work = Folder(build.options.work)
    dataset = open_dataset(config, build.inputs, work, device)
    info = _describe(build, dataset)
    start = start_folder(config, work)
    first = parallel.rank == 0
    snapshot = read_progress(build.folder) if config.schedule.budget or build.continued else None
    if snapshot is not None and snapshot.fingerprint != build.fingerprint and snapshot.sha256 != build.continued:
        snapshot = None  # of a training that this one replaces
    measured = first and config.output.measure
    costs = measure_phases(config, dataset, device, processes=parallel.num_processes) if measured else {}
    decided = None if snapshot is None else fitted_epochs(config, snapshot)
    schedule, budget = schedule_within_budget(config, dataset, device, costs, decided=decided, parallel=parallel)
    if build.continued and snapshot is not None:
        refuse_finished(config, snapshot, build.folder, epochs=schedule.epochs)
    method = spec.build(config, dataset.source, device, parallel)
    state = new_state(config, method, device, parallel)
    if start is None:
        started = []
    elif start.exists(MODEL):
        started = spec.inherit(state, start, info.output_size)
    else:  # only where `_ahead` plans
        started = [f"{start.url}, which is not trained yet"]
    if build.continued and snapshot is not None:
        started = [f"this training's snapshot after {snapshot.epoch} epochs, {snapshot.steps} steps"]
    times = phase_times(config, dataset, device, costs, schedule) if costs else None
    planned = None if times is None else sum(found.seconds for found in times)
    plan = ""
    if first:
        plan = plan_text(config, dataset, device, costs, started, schedule=schedule, budget=budget)
        plan += not_used(config, work)
    if plan and device.type == "cpu":
        plan += f"\n  threads   {threads}"
    return _Run(method, state, dataset, info, device, threads, schedule, planned, plan)


def _describe(build: Build, dataset: "VideoDataset") -> "ModelInfo":
    """The description of the model that will be trained."""
    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.conditions.clips import subject_placement
    from v2vkit.conditions.proportions import typical_proportions
    from v2vkit.conditions.settings import Origin

    config: TrainConfig = build.config
    source, reader = dataset.source, dataset.reader
    clip, maps = reader.clips[0], [build.inputs[artifact_of(config, kind)] for kind in source.artifacts]
    tracks = build.inputs.get("tracks")
    return ModelInfo(
        method=config.method,
        stage=config.checkpoint,
        fingerprint=build.fingerprint,
        **method_spec(config.method).describe(config, source),
        conditioning=source,
        origins=tuple(Origin(stage=of.stage, settings=of.config, estimator=of.estimator) for of in maps),
        tracks=None if tracks is None else Origin(stage=tracks.stage, settings=tracks.config),
        width=clip.width,
        height=clip.height,
        downsamplings=config.downsamplings,
        frames={**build.inputs["frames"].config, "fps": clip.fps},
        placement=subject_placement(reader, source),
        proportions=typical_proportions(reader, source),
    )


def _preview(build: Build) -> str:
    """The plan, with costs measured on steps whose results are discarded."""
    from v2vkit.training.parallel import ALONE

    return _open(build, ALONE).plan


def _ahead(config: TrainConfig, options: RunOptions) -> str:
    """The plan of a finer stage of `--stage all` whose coarser model does not exist yet."""
    from v2vkit.training.check import check_settings
    from v2vkit.training.parallel import ALONE

    work = Folder(options.work)
    config = _resolve(config, work)
    inputs = load_inputs(work, tuple(kind for kind in training_inputs(config) if not kind.startswith("checkpoints/")))
    check_settings(config, inputs)
    build = Build(config, options, work / f"checkpoints/{config.checkpoint}", inputs, {}, "planned", lambda: None)
    return _open(build, ALONE).plan


def _build(build: Build) -> tuple[ShardEntry, ...]:
    """Print the plan, train, and return the checkpoint's files.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the first one in training leaves a snapshot and has a message.
    """
    from v2vkit.checkpoint.model_file import MODEL, save_model
    from v2vkit.checkpoint.snapshot import remove_damaged_snapshot
    from v2vkit.training.parallel import open_parallel
    from v2vkit.training.plan import SMALLER
    from v2vkit.training.trainer import Trainer

    config: TrainConfig = build.config
    # Before the processes synchronise, so that none of them reads it later.
    if build.options.overwrite and launched_rank() == 0 and remove_damaged_snapshot(build.folder):
        print(f"The training snapshot in {build.folder.url} cannot be used; training starts over.", flush=True)
    parallel = open_parallel(config.hardware.device)
    opened = _open(build, parallel)
    build.begin()
    parallel.wait()  # until rank 0 has removed the files of an earlier training
    first = parallel.rank == 0
    if first:
        print(opened.plan, flush=True)
    spec, stop = method_spec(config.method), Event()
    trainer = Trainer(
        config=config,
        dataset=opened.dataset,
        schedule=opened.schedule,
        context=spec.context(config),
        folder=build.folder,
        fingerprint=build.fingerprint,
        save_model=lambda state: save_model(
            build.folder, state.ema, opened.info.model_copy(update={"epochs": state.epoch, "steps": state.steps})
        ),
        device=opened.device,
        writer=_open_tensorboard(config, Folder(build.options.work)) if first else None,
        parallel=parallel,
        threads=opened.threads,
        planned=opened.planned,
        continued=build.continued,
        stop_after=lambda state: stop.is_set(),
    )
    # Several processes would have to agree on the batch, while their launcher already ends them.
    alone = parallel.num_processes == 1
    handled = first_interrupt(_STOPPING, stop, signals=_STOP_SIGNALS) if alone else contextlib.nullcontext()
    try:
        with fitting("This training", opened.device, SMALLER), handled:
            trainer.fit(opened.method, opened.state)
    finally:
        if trainer.writer is not None:
            trainer.writer.close()
    if stop.is_set():
        raise KeyboardInterrupt(_stopped(config, opened.state, opened.schedule))
    if not first:
        return ()
    report = REPORTS.get(config.method)
    measured = () if report is None else report(build.folder, opened.dataset.reader, config.hardware.device)
    return (entry_of(MODEL, build.folder.read(MODEL)), *measured)


_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STOPPING = "Stopping after this batch, with a snapshot to resume from. Ctrl-C again stops at once."


def _stopped(config: TrainConfig, state: "TrainState", schedule: "Schedule") -> str:
    epoch = min(state.epoch + 1, schedule.epochs)
    at = f"after {counted(state.steps, 'step')}, in epoch {epoch} of {schedule.epochs}"
    return f"{config.checkpoint}: stopped {at}; rerunning the command resumes there."


def _open_tensorboard(config: TrainConfig, work: Folder) -> Any:
    """A SummaryWriter in <work>/logs; None if switched off, not installed, or the workspace is remote."""
    if not config.output.tensorboard or "://" in work.url:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed; no logs are written. Install it with: pip install 'v2vkit[tensorboard]'")
        return None
    return SummaryWriter(f"{work.path}/logs/{config.checkpoint}")


def _continued(config: TrainConfig, old: Manifest, changed: Mapping[str, str], folder: Folder) -> str:
    from v2vkit.training.continuing import continued_snapshot

    return continued_snapshot(config, old, changed, folder)


def _advice(config: TrainConfig, old: Manifest, changed: Mapping[str, str]) -> str:
    from v2vkit.training.continuing import advice

    return advice(config, old, changed)


STAGE = Stage(
    name="train",
    config=TrainConfig,
    version=1,
    output=lambda config: f"checkpoints/{config.checkpoint}",
    make=Whole(_build, _preview, _ahead, _continued),
    inputs=training_inputs,
    sources=training_sources,
    parts=_parts,
    precheck=_precheck,
    resolve=_resolve,
    renew=_renew,
    check=check_training,
    stale_hint=_advice,
)
