"""What a training run is going to do and what it will cost, measured before it starts."""

import resource
import sys
import time
from dataclasses import dataclass, replace

import torch

from v2vkit.models.generator import history_from_images
from v2vkit.training.build import build_trainer
from v2vkit.training.config import TrainConfig
from v2vkit.training.dataset import SequenceDataset, draw_windows, stack
from v2vkit.training.loop import chunks, epoch_batches, to_device
from v2vkit.training.precision import computes_in
from v2vkit.training.schedule import Phase, phases
from v2vkit.training.step import train_chunk
from v2vkit.training.window import begin_window

Kind = tuple[bool, int]
"""What epochs are like: whether only the newest scale trains, and how many video discriminators judge sequences so
short."""


@dataclass(frozen=True)
class Cost:
    """Measured on real steps with throw-away networks.

    Attributes:
        seconds_per_frame: of a generated frame, everything included.
        seconds_per_step: of an optimiser step.
        peak_bytes: of the process (CPU) or of the device's allocator (CUDA).
        frame_bytes: of one frame's image, maps and flow as tensors.
    """

    seconds_per_frame: float
    seconds_per_step: float
    peak_bytes: int
    frame_bytes: int


def measure(
    config: TrainConfig,
    dataset: SequenceDataset,
    device: torch.device,
    *,
    kind: Kind = (False, 0),
    processes: int = 1,
    num_steps: int = 2,
) -> Cost:
    """Time and memory of `num_steps` training steps of one of `processes`, after one to warm up; leaves nothing behind.

    Args:
        kind: what the epochs are like. Real frames stand in for those generated before the measured ones, as far as the
            clip reaches, so that video discriminators that look so far back have something to judge.
    """
    newest_only, judging = kind
    trainer = build_trainer(config, dataset.source, device)
    # The optimisers keep the others, which take memory all the time.
    trainer.networks = replace(trainer.networks, video=trainer.networks.video[:judging])
    past = config.spans[judging - 1] - 1 if judging else 0
    context = trainer.networks.generator.config.history
    windows = draw_windows(
        dataset.reader.clips,
        num_frames=past + config.chunk * (num_steps + 1),
        context=context,
        batch=config.batch_size // processes,
        seed=config.seed,
        epoch=0,
    )[0]
    sequence = to_device(stack([dataset.load(window) for window in windows]), device)
    state = begin_window(sequence, trainer.networks.generator, from_nothing=False)
    past = max(0, min(past, sequence.x.shape[1] - context - config.chunk))
    if past:
        state.x_fake = list(sequence.x[:, context : context + past].unbind(1))
        scales = len(state.history or ())
        state.history = history_from_images(sequence.x[:, past : past + context], scales)
    num_frames = sequence.x.shape[1]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    train_from = config.scale - 1 if newest_only else 0
    seconds, frames, steps = 0.0, 0, 0
    for number, chunk in enumerate(chunks(num_frames, context + past, config.chunk)):
        start = time.perf_counter()
        train_chunk(config, trainer, sequence, state, chunk, train_from=train_from)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number or num_frames - context - past <= config.chunk:
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
    return Cost(seconds / frames, seconds / steps, peak, per_frame)


def losses_text(config: TrainConfig) -> list[str]:
    """Which losses are on with which weight, and why the others are off."""
    lines = [f"GAN 1 ({config.gan}), feature matching {config.lambda_feature:g} (image discriminator)"]
    lines += ["no losses over time (images)"] if config.images else _over_time_text(config)
    if config.lambda_face:
        lines.append(f"discriminator of faces {config.lambda_face:g}")
    if config.lambda_style:
        lines.append(f"style {config.lambda_style:g}")
    if config.vgg_weights and config.lambda_vgg:
        lines.append(f"VGG {config.lambda_vgg:g} ({config.vgg_weights})")
    else:
        lines.append("VGG OFF (give --vgg-weights FILE to switch it on)")
    lines.append(f"pixel L1 {config.lambda_l1:g}" if config.lambda_l1 else "pixel L1 OFF (--lambda-l1)")
    return lines


def _over_time_text(config: TrainConfig) -> list[str]:
    lines = []
    if config.video_discriminators:
        lines.append(f"video discriminators x {config.video_discriminators}, weight {config.lambda_temporal:g}")
        longest = max(phase.num_frames for phase in phases(config.schedule))
        idle = [span for span in config.spans[: config.video_discriminators] if span > longest]
        if idle:
            lines[-1] += f"; {len(idle)} of them never judge: they need sequences of {min(idle)} frames (--max-frames)"
    else:
        lines.append("video discriminators OFF (--temporal-scales or --lambda-temporal is 0)")
    if config.flow and config.lambda_flow:
        lines.append(f"flow and warping {config.lambda_flow:g} (eq. 8, with confidence)")
    else:
        lines.append("flow and warping OFF (--no-flow or --lambda-flow 0)")
    if config.flow and config.first_frame == "self":
        lines.append(f"mask {config.lambda_mask:g}")
    return lines


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
    # The cheapest first, because memory once used by a process counts for all that are measured after it.
    kinds = sorted({_kind(config, phase) for phase in phases(config.schedule)}, key=lambda kind: (not kind[0], kind[1]))
    return {kind: measure(config, dataset, device, kind=kind, processes=processes) for kind in kinds}


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
        f"plan: {config.checkpoint}, {config.preset}, {dataset.source.domain}, {device}",
        f"  data      {sum(c.num_frames for c in clips)} frames in {len(clips)} clips"
        + (f" ({short} too short to use)" if short else ""),
    ]
    if not config.images and config.first_frame == "self" and not config.drop_history:
        lines.append("  data      no sequence begins from nothing (--drop-history 0), but every rendering will")
    for name, module in trainer.networks.named().items():
        lines.append(f"  network   {name}: {sum(p.numel() for p in module.parameters()):,} parameters")
    lines += [f"  start     {line}" for line in started]
    lines += [f"  loss      {line}" for line in losses_text(config)]
    total = 0.0
    for phase in phases(config.schedule):
        frames = sum(
            sum(window.num_frames - context for window in windows)
            for epoch in range(phase.first, phase.last + 1)
            for windows in epoch_batches(config, dataset, context, epoch)
        )
        cost = costs[_kind(config, phase)]
        seconds = frames * cost.seconds_per_frame
        total += seconds
        alone = f", scale {config.scale} alone" if phase.newest_only else ""
        lines.append(
            f"  phase     epochs {phase.first + 1}-{phase.last + 1}: up to {phase.num_frames} frames per sequence, "
            f"{frames} frames{alone}, {cost.seconds_per_step:.3f} s per step, {_duration(seconds)}"
        )
    precision = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[computes_in(config.precision, device)]
    cost = costs[_kind(config, phases(config.schedule)[-1])]
    lines.append(
        f"  cost      {cost.seconds_per_frame:.3f} s per frame in {precision}, "
        f"peak memory {max(cost.peak_bytes for cost in costs.values()) / 2**30:.2f} GiB, "
        f"{cost.frame_bytes / 2**20:.2f} MiB of tensors per frame, {_duration(total)} in all (measured on two steps)"
    )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
