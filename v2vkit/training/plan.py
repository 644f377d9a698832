"""What a training run is going to do and what it will cost, measured before it starts."""

import contextlib
import os
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from v2vkit.engine.devices import fitting
from v2vkit.engine.precision import computes_in
from v2vkit.models.generator import history_from_images
from v2vkit.training.build import build_trainer
from v2vkit.training.config import TrainConfig, flag_of
from v2vkit.training.dataset import SequenceDataset, Window
from v2vkit.training.loop import chunks, epoch_batches, load_batch, to_device
from v2vkit.training.schedule import Phase, phases
from v2vkit.training.step import train_chunk
from v2vkit.training.window import begin_window

SMALLER = "Use --checkpointing, a smaller --chunk, --batch-size or --max-frames, or narrower networks."
"""What makes a training need less memory."""

Kind = tuple[bool, int]
"""What epochs are like: whether only the newest scale trains, and how many video discriminators judge sequences so
short."""


@dataclass(frozen=True)
class Cost:
    """Measured on real steps with throw-away networks.

    Attributes:
        seconds_per_frame: of training on a generated frame.
        seconds_per_step: of an optimiser step.
        seconds_to_load: of reading and changing a frame of a sequence (context too) that is not in memory yet, for the
            share of the batch that one process loads.
        num_steps: that were measured; fewer than asked for where the clips are short.
        peak_bytes: of the process (CPU) or of the device's allocator (CUDA).
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
    dataset: SequenceDataset,
    device: torch.device,
    *,
    kind: Kind = (False, 0),
    num_frames: int = 1,
    processes: int = 1,
    num_steps: int = 2,
) -> Cost:
    """Time and memory of up to `num_steps` steps of one of `processes`, after one to warm up; leaves nothing behind.

    Args:
        kind: what the epochs are like.
        num_frames: the most generated frames of a sequence in them. The steps are those at the end of a sequence of
            that length, as far as the clips reach: a window is loaded whole, and video discriminators look far back.
            Real frames stand in for those generated before.
    """
    newest_only, judging = kind
    trainer = build_trainer(config, dataset.source, device)
    # The optimisers keep the others, which take memory all the time.
    trainer.networks = replace(trainer.networks, video=trainer.networks.video[:judging])
    context, measured = trainer.networks.generator.config.history, config.chunk * (num_steps + 1)
    looked_at = config.spans[judging - 1] - 1 if judging else 0
    windows = _longest_windows(dataset, context + max(num_frames, looked_at + measured), config.batch_size // processes)
    start = time.perf_counter()
    loaded, _ = load_batch(config, dataset, windows, epoch=0, batch=0)
    loading = (time.perf_counter() - start) / loaded.x.shape[1]
    sequence = to_device(loaded, device)
    state = begin_window(sequence, trainer.networks.generator, from_nothing=False)
    generated = sequence.x.shape[1] - context
    past = max(0, generated - measured, min(looked_at, generated - config.chunk))
    if past:
        state.x_fake = [x.clone() for x in sequence.x[:, context : context + past].unbind(1)]
        if state.history is not None:
            state.history = history_from_images(sequence.x[:, past : past + context], len(state.history))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    train_from = config.scale - 1 if newest_only else 0
    seconds, frames, steps = 0.0, 0, 0
    for number, chunk in enumerate(chunks(context + generated, context + past, config.chunk)):
        start = time.perf_counter()
        train_chunk(config, trainer, sequence, state, chunk, train_from=train_from)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number or generated - past <= config.chunk:
            seconds += time.perf_counter() - start
            frames += len(chunk) * config.batch_size
            steps += 1
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    tensors = [sequence.x, sequence.s, *sequence.flow.values(), *sequence.confidence.values()]
    tensors += [] if sequence.regions is None else [sequence.regions]
    per_frame = sum(tensor.nbytes for tensor in tensors) // (sequence.x.shape[0] * sequence.x.shape[1])
    return Cost(seconds / frames, seconds / steps, loading, steps, peak, per_frame)


def _longest_windows(dataset: SequenceDataset, num_frames: int, number: int) -> list[Window]:
    """So many frames of the longest clip, or all of it; windows as far apart as it allows."""
    clips = dataset.reader.clips
    longest = max(range(len(clips)), key=lambda number: clips[number].num_frames)
    length = min(num_frames, clips[longest].num_frames)
    last = clips[longest].num_frames - length
    return [Window(longest, last * n // max(1, number - 1), length) for n in range(number)]


def losses_text(config: TrainConfig) -> list[str]:
    """One line per loss: its weight and what it computes, or why it is off."""
    no_past = "an image generator has no losses over time" if config.images else ""
    no_flow = no_past or ("" if config.flow else "--no-flow")
    no_mask = no_flow or ("" if config.first_frame == "self" else f"--first-frame {config.first_frame}")
    no_video = no_past or ("" if config.temporal_scales else "--temporal-scales 0")
    no_face = "" if config.conditions_have("has_bodies") else "only for poses"
    no_vgg = "" if config.vgg_weights else "give --vgg-weights FILE"
    video = f"video discriminators x {config.video_discriminators}"
    return [
        f"GAN 1 ({config.gan})",
        _loss(config, "lambda_feature", "feature matching", "of every discriminator, eq. 4 of pix2pixHD"),
        _loss(config, "lambda_temporal", "video discriminators", f"{video}{_idle(config)}", no_video),
        _loss(config, "lambda_flow", "predicted flow", "eq. 8, with confidence", no_flow),
        _loss(config, "lambda_warp", "steadiness", "generated frames under the real flow, as published", no_flow),
        _loss(config, "lambda_mask", "mask", "mean |c m|, as published", no_mask),
        _loss(config, "lambda_face", "discriminator of faces", config.gan, no_face),
        _loss(config, "lambda_vgg", "VGG", f"five maps of {config.vgg_weights}", no_vgg),
        _loss(config, "lambda_style", "style", "Gram matrices of the VGG maps", no_vgg),
        _loss(config, "lambda_l1", "pixel L1", "mean |x_fake - x|"),
    ]


def _loss(config: TrainConfig, setting: str, name: str, what: str, off: str = "") -> str:
    """The line of one loss; `off` says why it cannot be on, whatever its weight."""
    weight = getattr(config, setting)
    if not off and not weight:
        off = f"{flag_of(setting)} 0"
    return f"{name} OFF ({off})" if off else f"{name} {weight:g} ({what})"


def _idle(config: TrainConfig) -> str:
    """How many video discriminators look further than the longest sequence reaches."""
    longest = max((phase.num_frames for phase in phases(config.schedule)), default=0)
    idle = [span for span in config.spans[: config.video_discriminators] if span > longest]
    if not idle:
        return ""
    return f"; {len(idle)} of them never judge: they need sequences of {min(idle)} frames (--max-frames)"


def _kind(config: TrainConfig, phase: Phase) -> Kind:
    spans = config.spans[: config.video_discriminators]
    return phase.newest_only, sum(span <= phase.num_frames for span in spans)


def measure_phases(
    config: TrainConfig, dataset: SequenceDataset, device: torch.device, *, processes: int = 1
) -> dict[Kind, Cost]:
    """What every kind of epochs of the schedule costs.

    To be asked before the networks that will be trained exist: theirs would count as memory of the throw-away ones.

    Args:
        processes: that share a batch; one of them is measured.
    """
    lengths: dict[Kind, int] = {}
    for phase in phases(config.schedule):
        kind = _kind(config, phase)
        lengths[kind] = max(phase.num_frames, lengths.get(kind, 1))
    costs: dict[Kind, Cost] = {}
    # The cheapest first, because memory once used by a process counts for all that are measured after it.
    for kind in sorted(lengths, key=lambda kind: (not kind[0], kind[1])):
        with fitting("This training", device, SMALLER):
            costs[kind] = measure(config, dataset, device, kind=kind, num_frames=lengths[kind], processes=processes)
    return costs


def memory_of(device: torch.device) -> int:
    """Bytes that the device has; of a CPU, those of the machine or of the container that this process runs in."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no control groups, or "max"
        return min(machine, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return machine


def plan_text(
    config: TrainConfig,
    dataset: SequenceDataset,
    device: torch.device,
    costs: dict[Kind, Cost],
    started: list[str],
) -> str:
    """The plan as it is printed: data, networks, what they start from (`started`), losses, phases, `costs`."""
    with torch.device("meta"):
        trainer = build_trainer(config.model_copy(update={"vgg_weights": None}), dataset.source, torch.device("meta"))
    context = trainer.networks.generator.config.history
    clips = dataset.reader.clips
    short = sum(clip.num_frames <= context for clip in clips)
    lines = [
        f"plan: {config.checkpoint}, {config.preset}, {dataset.source.names}, {device}",
        f"  data      {sum(c.num_frames for c in clips)} frames in {len(clips)} clips"
        + (f" ({short} too short to use)" if short else ""),
    ]
    if not config.images and config.first_frame == "self" and not config.drop_history:
        lines.append("  data      no sequence begins from nothing (--drop-history 0), but every rendering will")
    for name, module in trainer.networks.named().items():
        lines.append(f"  network   {name}: {sum(p.numel() for p in module.parameters()):,} parameters")
    lines += [f"  start     {line}" for line in started]
    lines += [f"  loss      {line}" for line in losses_text(config)]
    total, per_frame = 0.0, 0.0
    # What one kind has loaded, the next one finds in memory.
    loading = max(cost.seconds_to_load for cost in costs.values())
    for phase in phases(config.schedule):
        epochs = range(phase.first, phase.last + 1)
        batches = [windows for epoch in epochs for windows in epoch_batches(config, dataset, context, epoch)]
        frames = sum(window.num_frames - context for windows in batches for window in windows)
        cost = costs[_kind(config, phase)]
        # A loading thread works beside a GPU; on a CPU the two take turns.
        both = max if device.type == "cuda" else sum
        seconds = both((frames * cost.seconds_per_frame, loading * sum(windows[0].num_frames for windows in batches)))
        total, per_frame = total + seconds, seconds / frames
        alone = f", scale {config.scale} alone" if phase.newest_only else ""
        lines.append(
            f"  phase     epochs {phase.first + 1}-{phase.last + 1}: up to {phase.num_frames} frames per sequence, "
            f"{frames} frames{alone}, {cost.seconds_per_step:.3f} s per step, "
            f"{cost.peak_bytes / 2**30:.2f} GiB, {_duration(seconds)}"
        )
    precision = computes_in(config.precision, device)
    cost = costs[_kind(config, phases(config.schedule)[-1])]
    steps = " or ".join(map(str, sorted({cost.num_steps for cost in costs.values()})))
    lines.append(
        f"  cost      {per_frame:.3f} s per frame in {precision}, loading included, "
        f"peak memory {max(cost.peak_bytes for cost in costs.values()) / 2**30:.2f} of "
        f"{memory_of(device) / 2**30:.1f} GiB, "
        f"{cost.frame_bytes / 2**20:.2f} MiB of tensors per frame, {_duration(total)} in all (measured on {steps} step"
        f"{'s' * (steps != '1')})"
    )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
