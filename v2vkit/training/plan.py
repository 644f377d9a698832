"""The plan of a training run: what it does, and its time and memory, measured before it starts."""

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from v2vkit.conditions.conditioning import Conditioning
from v2vkit.engine.devices import fitting
from v2vkit.engine.precision import resolve_precision
from v2vkit.errors import counted
from v2vkit.training.budget import epochs_within, time_text
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import to_device
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import clip_sampler, load_batch, num_loader_workers
from v2vkit.training.data.sampler import BatchPlan, Window
from v2vkit.training.methods.base import MethodSpec, StepContext
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.schedule import Phase, Schedule, phases, shortened
from v2vkit.training.terms import losses_on, losses_text
from v2vkit.training.trainer import new_state, take_step

SMALLER = "Use --gradient-checkpointing, a smaller --chunk, --batch-size or --max-frames, or narrower networks."
"""Hint on how to reduce the memory of training."""

_NUM_STEPS = 2  # steps that are measured, after one to warm up

Kind = tuple[bool, int]
"""Kind of an epoch: whether only the newest scale trains, and how many losses its sequences are long enough for."""


@dataclass(frozen=True)
class Cost:
    """Time and memory of training, measured on real steps with networks that are then discarded.

    Attributes:
        seconds_per_frame: of training on a generated frame.
        seconds_per_step: of an optimiser step.
        seconds_to_load: of reading and augmenting a frame of a sequence (context included) that is not cached, for the
            share of the batch that one process loads.
        num_steps: number of steps measured; fewer than `_NUM_STEPS` if the clips are short.
        peak_bytes: peak memory of the process (CPU; 0 where the system does not report it) or of the device's
            allocator (CUDA).
        frame_bytes: of one frame's image, maps and flow as tensors.
    """

    seconds_per_frame: float
    seconds_per_step: float
    seconds_to_load: float
    num_steps: int
    peak_bytes: int
    frame_bytes: int


def measure(
    config: TrainConfig,
    dataset: VideoDataset,
    device: torch.device,
    *,
    phase: Phase | None = None,
    processes: int = 1,
) -> Cost:
    """Measures time and memory of up to `_NUM_STEPS` steps of one process, after one step to warm up.

    Args:
        phase: the epochs to measure; None = the last ones. The steps are those at the end of a sequence of that length,
            as far as the clips allow, because windows are loaded whole and video discriminators look far back. Real
            frames replace the frames generated before.
        processes: number of processes that share a batch.
    """
    spec = method_spec(config.method)
    phase = phase or phases(spec.schedule(config))[-1]
    config = config.model_copy(update={"chunk": min(config.schedule.chunk, phase.num_frames)})
    method = spec.build(config, dataset.source, device, ALONE)
    state = new_state(config, method, device)
    chunk_frames = config.schedule.chunk
    context, measured = spec.context(config), chunk_frames * (_NUM_STEPS + 1)
    in_phase = [term.num_frames for term in method.losses() if term.counts_at(phase.full_first, phase.num_frames)]
    seen_before = max(in_phase, default=1) - 1
    windows = _longest_windows(
        dataset, context + max(phase.num_frames, seen_before + measured), config.data.batch_size // processes
    )
    start = time.perf_counter()
    loaded = load_batch(config, dataset, BatchPlan(0, tuple(windows), tuple(range(len(windows)))))
    loading = (time.perf_counter() - start) / loaded.x.shape[1]
    sequence = to_device(loaded, device)
    generated = sequence.x.shape[1] - context
    past = max(0, generated - measured, min(seen_before, generated - chunk_frames))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    at = StepContext(phase.first, phase.last + 1.0, phase.num_frames, state.scaler.scale)
    seconds, frames, steps = 0.0, 0, 0
    for number, chunk in enumerate(method.chunks(sequence, skip=past)):
        start = time.perf_counter()
        take_step(method, state, chunk, at)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number or generated - past <= chunk_frames:
            seconds += time.perf_counter() - start
            frames += method.num_frames(chunk)
            steps += 1
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = _peak_of_process()
    tensors = [sequence.x, sequence.s, *sequence.flow.values(), *sequence.confidence.values()]
    tensors += [] if sequence.regions is None else [sequence.regions]
    per_frame = sum(tensor.nbytes for tensor in tensors) // (sequence.x.shape[0] * sequence.x.shape[1])
    return Cost(seconds / frames, seconds / steps, loading, steps, peak, per_frame)


def _peak_of_process() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _longest_windows(dataset: VideoDataset, num_frames: int, number: int) -> list[Window]:
    """`number` windows of `num_frames` frames of the longest clip (or all of it), spread evenly over it."""
    clips = dataset.reader.clips
    longest = max(range(len(clips)), key=lambda number: clips[number].num_frames)
    length = min(num_frames, clips[longest].num_frames)
    last = clips[longest].num_frames - length
    return [Window(longest, last * n // max(1, number - 1), length) for n in range(number)]


def _kind(config: TrainConfig, spec: MethodSpec, phase: Phase) -> Kind:
    on = losses_on(spec.losses(config), config)
    return phase.newest_only, sum(term.counts_at(phase.full_first, phase.num_frames) for term in on)


def measure_phases(
    config: TrainConfig, dataset: VideoDataset, device: torch.device, *, processes: int = 1
) -> dict[Kind, Cost]:
    """The cost of every kind of epoch in the schedule.

    Has to be called before the networks to train are built: their memory would be counted, too.

    Args:
        processes: number of processes that share a batch; one of them is measured.
    """
    spec = method_spec(config.method)
    longest: dict[Kind, Phase] = {}
    for phase in phases(spec.schedule(config)):
        kind = _kind(config, spec, phase)
        longest[kind] = max(phase, longest.get(kind, phase), key=lambda phase: phase.num_frames)
    costs: dict[Kind, Cost] = {}
    # The cheapest first, because a process's peak memory counts for all kinds that are measured after it.
    for kind in sorted(longest, key=lambda kind: (not kind[0], kind[1])):
        with fitting("This training", device, SMALLER):
            costs[kind] = measure(config, dataset, device, phase=longest[kind], processes=processes)
    return costs


@dataclass(frozen=True)
class PhaseTime:
    """The generated frames of a phase, and the seconds that training on them takes, loading included."""

    phase: Phase
    frames: int
    seconds: float


def phase_times(
    config: TrainConfig, dataset: VideoDataset, device: torch.device, costs: dict[Kind, Cost], schedule: Schedule
) -> list[PhaseTime]:
    """What the phases of a schedule take, by what was measured on the full one; 0 s where nothing was measured."""
    spec = method_spec(config.method)
    sampler = clip_sampler(config, dataset.reader.clips, schedule=schedule, context=spec.context(config))
    workers = num_loader_workers(config, dataset, device)
    # What one kind has loaded, the next one finds in memory.
    loading = max((cost.seconds_to_load for cost in costs.values()), default=0.0)
    # Without workers the step and loading take turns.
    both = max if workers else sum
    found = []
    for phase in phases(schedule):
        batches = [batch for epoch in range(phase.first, phase.last + 1) for batch in sampler.batches(epoch)]
        frames = sum(map(sampler.num_generated, batches))
        per_frame = costs[_kind(config, spec, phase)].seconds_per_frame if costs else 0.0
        to_load = loading / max(1, workers) * sum(batch.num_frames for batch in batches)
        found.append(PhaseTime(phase, frames, both((frames * per_frame, to_load))))
    return found


def schedule_within_budget(
    config: TrainConfig,
    dataset: VideoDataset,
    device: torch.device,
    costs: dict[Kind, Cost],
    *,
    decided: int | None = None,
    parallel: Parallel = ALONE,
) -> tuple[Schedule, str]:
    """The method's schedule, shortened where `--budget` leaves fewer epochs, and a line for the plan.

    Args:
        costs: as the first process measured them.
        decided: the epochs that the budget left when this training began, if it began before.
    """
    full, budget = method_spec(config.method).schedule(config), config.schedule.budget
    if budget is None:
        return full, ""
    if decided is not None:
        return shortened(full, decided), f"{budget}: {decided} of {full.epochs} epochs, as when this training began"

    def seconds(schedule: Schedule) -> float:
        return sum(found.seconds for found in phase_times(config, dataset, device, costs, schedule))

    found = 0 if parallel.rank else epochs_within(full, budget.seconds, time_of=seconds)
    schedule = shortened(full, parallel.first_number(found))
    text = f"{budget}: {schedule.epochs} of {full.epochs} epochs"
    if not parallel.rank and seconds(schedule) > budget.seconds:
        text += f", the fewest that are trained ({time_text(seconds(schedule))})"
    return schedule, text


def memory_of(device: torch.device) -> int:
    """Memory of the device in bytes; of a CPU, that of the machine or of this process's container, 0 if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if not hasattr(os, "sysconf"):  # Windows
        return 0
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no control groups, or "max"
        return min(machine, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return machine


def _sizes(config: TrainConfig, source: Conditioning) -> list[str]:
    """One line per trained network: its name and number of parameters."""
    with torch.device("meta"):
        networks = method_spec(config.method).build(config, source, torch.device("meta"), ALONE).networks()
    counts = {name: sum(p.numel() for p in network.module.parameters()) for name, network in networks.items()}
    return [f"{name}: {number:,} parameters" for name, number in counts.items()]


def plan_text(
    config: TrainConfig,
    dataset: VideoDataset,
    device: torch.device,
    costs: dict[Kind, Cost],
    started: list[str],
    *,
    schedule: Schedule | None = None,
    budget: str = "",
) -> str:
    """The plan as text: data, networks, their initial weights (`started`), losses, phases, `costs`.

    Args:
        costs: as measured; {} = not measured.
        schedule: where it is not the full one.
        budget: what the time budget leaves of it, in words.
    """
    spec = method_spec(config.method)
    schedule, context = schedule or spec.schedule(config), spec.context(config)
    longest = max(clip.num_frames for clip in dataset.reader.clips) - context
    times = phase_times(config, dataset, device, costs, schedule)
    costs_of = [costs[_kind(config, spec, time_of.phase)] if costs else None for time_of in times]
    lines = [
        f"plan: {config.checkpoint}, {config.model.preset}, {dataset.source.names}, {device}",
        *(f"  data      {line}" for line in _data_lines(config, dataset, device, context)),
        *(f"  network   {line}" for line in _sizes(config, dataset.source)),
        *(f"  start     {line}" for line in started),
        *(f"  loss      {line}" for line in losses_text(spec.losses(config), config, schedule, longest)),
        f"  rate      {_rate_text(config, schedule.epochs, schedule.decay_epochs)}",
        *([f"  budget    {budget}"] if budget else []),
        *(f"  phase     {_phase_text(config, *of)}" for of in zip(times, costs_of, strict=True)),
    ]
    if config.hardware.compile:
        lines.append(
            f"  compile   the networks are compiled for the {device.type} in the first steps, which takes minutes"
        )
    precision = resolve_precision(config.hardware.precision, device)
    last = costs_of[-1]
    if last is None:
        return "\n".join([*lines, f"  cost      in {precision}; time and memory not measured (--no-measure)"])
    total, per_frame = sum(found.seconds for found in times), times[-1].seconds / times[-1].frames
    steps = " or ".join(map(str, sorted({cost.num_steps for cost in costs.values()})))
    peak, memory = max(cost.peak_bytes for cost in costs.values()), memory_of(device)
    used = f"peak memory {peak / 2**30:.2f} of {memory / 2**30:.1f} GiB, " if peak and memory else ""
    lines.append(
        f"  cost      {per_frame:.3f} s per frame in {precision}, loading included, {used}"
        f"{last.frame_bytes / 2**20:.2f} MiB of tensors per frame, {time_text(total)} in all (measured on {steps} step"
        f"{'s' * (steps != '1')})"
    )
    return "\n".join(lines)


def _data_lines(config: TrainConfig, dataset: VideoDataset, device: torch.device, context: int) -> list[str]:
    clips = dataset.reader.clips
    short = sum(clip.num_frames <= context for clip in clips)
    lines = [
        f"{counted(sum(clip.num_frames for clip in clips), 'frame')} in {counted(len(clips), 'clip')}"
        + (f" ({short} too short to use)" if short else "")
    ]
    if dataset.reader.note is not None:
        lines.append(dataset.reader.note)
    if workers := num_loader_workers(config, dataset, device):
        lines.append(f"batches are loaded in advance by {workers} process{'es' * (workers > 1)}")
    if context and config.data.first_frame == "self" and not config.data.drop_history:
        lines.append("no sequence begins without past frames (--drop-history 0), but every rendering does")
    return lines


def _phase_text(config: TrainConfig, time_of: PhaseTime, cost: Cost | None) -> str:
    phase = time_of.phase
    named = f" ({phase.name})" if phase.name else ""
    alone = f", scale {config.scale} alone" if phase.newest_only else ""
    text = (
        f"epochs {phase.first + 1}-{phase.last + 1}{named}: up to {counted(phase.num_frames, 'frame')} per sequence, "
        f"{counted(time_of.frames, 'frame')}{alone}"
    )
    if cost is None:
        return text
    memory = f", {cost.peak_bytes / 2**30:.2f} GiB" if cost.peak_bytes else ""
    return f"{text}, {cost.seconds_per_step:.3f} s per step{memory}, {time_text(time_of.seconds)}"


def _rate_text(config: TrainConfig, epochs: int, decay_epochs: int) -> str:
    text = f"{config.schedule.learning_rate:g} for {counted(epochs - decay_epochs, 'epoch')}"
    return text + (f", then {counted(decay_epochs, 'epoch')} falling to zero" if decay_epochs else "")
