"""The plan of a training run: what it does, and its time and memory, measured before it starts."""

import contextlib
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from v2vkit.conditions.conditioning import Conditioning
from v2vkit.engine.devices import fitting
from v2vkit.engine.precision import computes_in
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import to_device
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import clip_sampler, load_batch, num_loader_workers
from v2vkit.training.data.sampler import BatchPlan, Window
from v2vkit.training.methods.base import MethodSpec, StepContext
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.parallel import ALONE
from v2vkit.training.schedule import Phase, phases
from v2vkit.training.terms import losses_on, losses_text
from v2vkit.training.trainer import new_state, take_step

SMALLER = "Use --gradient-checkpointing, a smaller --chunk, --batch-size or --max-frames, or narrower networks."
"""Hint on how to reduce the memory of training."""

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
        num_steps: number of steps measured; fewer than asked for if the clips are short.
        peak_bytes: peak memory of the process (CPU) or of the device's allocator (CUDA).
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
    num_steps: int = 2,
) -> Cost:
    """Measures time and memory of up to `num_steps` steps of one process, after one step to warm up.

    Args:
        phase: the epochs to measure; None = the last ones. The steps are those at the end of a sequence of that length,
            as far as the clips allow, because windows are loaded whole and video discriminators look far back. Real
            frames replace the frames generated before.
        processes: number of processes that share a batch.
        num_steps: number of steps to measure.
    """
    spec = method_spec(config.method)
    phase = phase or phases(spec.schedule(config))[-1]
    method = spec.build(config, dataset.source, device, ALONE)
    state = new_state(config, method, device)
    chunk_frames = config.schedule.chunk
    context, measured = spec.context, chunk_frames * (num_steps + 1)
    in_phase = [term.num_frames for term in method.losses() if term.counts_at(phase.first, phase.num_frames)]
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
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    tensors = [sequence.x, sequence.s, *sequence.flow.values(), *sequence.confidence.values()]
    tensors += [] if sequence.regions is None else [sequence.regions]
    per_frame = sum(tensor.nbytes for tensor in tensors) // (sequence.x.shape[0] * sequence.x.shape[1])
    return Cost(seconds / frames, seconds / steps, loading, steps, peak, per_frame)


def _longest_windows(dataset: VideoDataset, num_frames: int, number: int) -> list[Window]:
    """`number` windows of `num_frames` frames of the longest clip (or all of it), spread evenly over it."""
    clips = dataset.reader.clips
    longest = max(range(len(clips)), key=lambda number: clips[number].num_frames)
    length = min(num_frames, clips[longest].num_frames)
    last = clips[longest].num_frames - length
    return [Window(longest, last * n // max(1, number - 1), length) for n in range(number)]


def _kind(config: TrainConfig, spec: MethodSpec, phase: Phase) -> Kind:
    on = losses_on(spec.losses(config), config)
    return phase.newest_only, sum(term.counts_at(phase.first, phase.num_frames) for term in on)


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


def memory_of(device: torch.device) -> int:
    """Memory of the device in bytes; of a CPU, that of the machine or of this process's container."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
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
) -> str:
    """The plan as text: data, networks, their initial weights (`started`), losses, phases, `costs`."""
    spec = method_spec(config.method)
    schedule, context = spec.schedule(config), spec.context
    clips = dataset.reader.clips
    sampler = clip_sampler(config, clips, schedule=schedule, context=context)
    short = sum(clip.num_frames <= context for clip in clips)
    lines = [
        f"plan: {config.checkpoint}, {config.model.preset}, {dataset.source.names}, {device}",
        f"  data      {sum(c.num_frames for c in clips)} frames in {len(clips)} clips"
        + (f" ({short} too short to use)" if short else ""),
    ]
    workers = num_loader_workers(config, dataset, device)
    if dataset.reader.note is not None:
        lines.append(f"  data      {dataset.reader.note}")
    if workers:
        lines.append(f"  data      batches are loaded in advance by {workers} process{'es' * (workers > 1)}")
    if context and config.data.first_frame == "self" and not config.data.drop_history:
        lines.append("  data      no sequence begins without past frames (--drop-history 0), but every rendering does")
    lines += [f"  network   {line}" for line in _sizes(config, dataset.source)]
    lines += [f"  start     {line}" for line in started]
    lines += [f"  loss      {line}" for line in losses_text(spec.losses(config), config, schedule)]
    lines.append(f"  rate      {_rate_text(config, schedule.epochs, schedule.decay_epochs)}")
    total, per_frame = 0.0, 0.0
    # What one kind of epoch has loaded is in the cache for the next.
    loading = max(cost.seconds_to_load for cost in costs.values())
    for phase in phases(schedule):
        epochs = range(phase.first, phase.last + 1)
        batches = [batch for epoch in epochs for batch in sampler.batches(epoch)]
        frames = sum(map(sampler.num_generated, batches))
        cost = costs[_kind(config, spec, phase)]
        # Without workers, steps and loading alternate.
        both = max if workers else sum
        to_load = loading / max(1, workers) * sum(batch.num_frames for batch in batches)
        seconds = both((frames * cost.seconds_per_frame, to_load))
        total, per_frame = total + seconds, seconds / frames
        named = f" ({phase.name})" if phase.name else ""
        alone = f", scale {config.scale} alone" if phase.newest_only else ""
        lines.append(
            f"  phase     epochs {phase.first + 1}-{phase.last + 1}{named}: up to {phase.num_frames} frames per "
            f"sequence, {frames} frames{alone}, {cost.seconds_per_step:.3f} s per step, "
            f"{cost.peak_bytes / 2**30:.2f} GiB, {_duration(seconds)}"
        )
    precision = computes_in(config.hardware.precision, device)
    cost = costs[_kind(config, spec, phases(schedule)[-1])]
    steps = " or ".join(map(str, sorted({cost.num_steps for cost in costs.values()})))
    lines.append(
        f"  cost      {per_frame:.3f} s per frame in {precision}, loading included, "
        f"peak memory {max(cost.peak_bytes for cost in costs.values()) / 2**30:.2f} of "
        f"{memory_of(device) / 2**30:.1f} GiB, "
        f"{cost.frame_bytes / 2**20:.2f} MiB of tensors per frame, {_duration(total)} in all (measured on {steps} step"
        f"{'s' * (steps != '1')})"
    )
    return "\n".join(lines)


def _rate_text(config: TrainConfig, epochs: int, decay_epochs: int) -> str:
    text = f"{config.schedule.learning_rate:g} for {epochs - decay_epochs} epochs"
    return text + (f", then {decay_epochs} epochs falling to zero" if decay_epochs else "")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
