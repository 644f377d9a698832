"""Opens a training of `v2v train`: footage, schedule, networks and the plan that is printed before it starts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.engine.cores import Threads, choose_threads
from v2vkit.engine.devices import pick_device
from v2vkit.errors import counted
from v2vkit.pipeline.stage import Build, RunOptions, load_inputs
from v2vkit.stages.train_plan import artifact_of, not_used, open_dataset, start_folder, training_inputs
from v2vkit.stages.train_settings import resolve
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import method_spec

if TYPE_CHECKING:
    import torch

    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.checkpoint.snapshot import TrainingPosition
    from v2vkit.checkpoint.train_state import TrainState
    from v2vkit.training.data.dataset import VideoDataset
    from v2vkit.training.methods.base import Method
    from v2vkit.training.parallel import Parallel
    from v2vkit.training.schedule import Schedule


@dataclass(frozen=True)
class OpenedTraining:
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


def open_training(build: Build, parallel: "Parallel") -> OpenedTraining:
    """Open the footage, measure the costs, decide the schedule, and build the networks with their first weights."""
    from v2vkit.training.continuing import fitted_epochs, refuse_finished
    from v2vkit.training.plan import measure_phases, phase_times, plan_text, schedule_within_budget
    from v2vkit.training.trainer import new_state

    config: TrainConfig = build.config
    assert config.conditions
    threads = choose_threads(config.hardware.threads)
    device = parallel.device or pick_device(config.hardware.device)
    work = Folder(build.options.work)
    dataset = open_dataset(config, build.inputs, work, device)
    info = _describe(build, dataset)
    snapshot = _snapshot(build)
    first = parallel.rank == 0
    measured = first and config.output.measure
    costs = measure_phases(config, dataset, device, processes=parallel.num_processes) if measured else {}
    decided = None if snapshot is None else fitted_epochs(config, snapshot)
    schedule, budget = schedule_within_budget(config, dataset, device, costs, decided=decided, parallel=parallel)
    if build.continued and snapshot is not None:
        refuse_finished(config, snapshot, build.folder, epochs=schedule.epochs)
    method = method_spec(config.method).build(config, dataset.source, device, parallel)
    state = new_state(config, method, device, parallel)
    started = _inherit(config, work, state, info)
    if build.continued and snapshot is not None:
        started = [
            f"this training's snapshot after {counted(snapshot.epoch, 'epoch')}, {counted(snapshot.steps, 'step')}"
        ]
    times = phase_times(config, dataset, device, costs, schedule) if costs else None
    planned = None if times is None else sum(found.seconds for found in times)
    plan = ""
    if first:
        plan = plan_text(config, dataset, device, costs, started, schedule=schedule, budget=budget)
        plan += not_used(config, work)
    if plan and device.type == "cpu":
        plan += f"\n  threads   {threads}"
    return OpenedTraining(method, state, dataset, info, device, threads, schedule, planned, plan)


def _snapshot(build: Build) -> "TrainingPosition | None":
    """The position from which --continue or --budget go on; None = there is none, or that of a replaced training."""
    from v2vkit.checkpoint.snapshot import read_progress

    found = read_progress(build.folder) if build.config.schedule.budget or build.continued else None
    if found is not None and found.fingerprint != build.fingerprint and found.sha256 != build.continued:
        return None
    return found


def _inherit(config: TrainConfig, work: Folder, state: "TrainState", info: "ModelInfo") -> list[str]:
    """Copy the weights that training starts from; returns lines for the plan."""
    from v2vkit.checkpoint.model_file import MODEL

    start = start_folder(config, work)
    if start is None:
        return []
    if not start.exists(MODEL):  # only where `preview_ahead` plans
        return [f"{start.url}, which is not trained yet"]
    return method_spec(config.method).inherit(state, start, info.output_size)


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


def preview(build: Build) -> str:
    """The plan, with costs measured on steps whose results are discarded."""
    from v2vkit.training.parallel import ALONE

    return open_training(build, ALONE).plan


def preview_ahead(config: TrainConfig, options: RunOptions) -> str:
    """The plan of a finer stage of `--stage all` whose coarser model does not exist yet."""
    from v2vkit.training.check import check_settings
    from v2vkit.training.parallel import ALONE

    work = Folder(options.work)
    config = resolve(config, work)
    inputs = load_inputs(work, tuple(kind for kind in training_inputs(config) if not kind.startswith("checkpoints/")))
    check_settings(config, inputs)
    build = Build(config, options, work / f"checkpoints/{config.checkpoint}", inputs, {}, "planned", lambda: None)
    return open_training(build, ALONE).plan
