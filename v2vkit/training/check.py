"""Checks of the training settings, before any work starts."""

from v2vkit.artifacts.manifest import Manifest
from v2vkit.checkpoint.model_info import downsampled_size
from v2vkit.engine.launcher import launched_processes
from v2vkit.errors import V2VError, counted
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.base import MethodSpec
from v2vkit.training.methods.registry import METHODS, method_spec
from v2vkit.training.schedule import flow_strides
from v2vkit.training.terms import losses_on, settings_without_effect


def check_settings(config: TrainConfig, manifests: dict[str, Manifest]) -> None:
    """Check that the settings fit together and fit the artifacts.

    Args:
        manifests: kind -> manifest of the artifacts that training reads.

    Raises:
        V2VError: they do not; the message names the settings.
    """
    spec = method_spec(config.method)
    refuse_unused(config, spec)
    spec.check(config)
    _refuse_without_effect(config, spec)
    frames = manifests["frames"]
    longest = max((clip.num_frames for clip in frames.clips), default=0)
    if longest <= spec.context(config):
        raise V2VError(
            "clip-too-short",
            f"The longest clip has {counted(longest, 'frame')}; training needs at least {spec.context(config) + 1}.",
            "Ingest longer shots, or raise --max-frames or --duration of `v2v ingest`.",
        )
    sizes = {(clip.width, clip.height) for clip in frames.clips}
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)[:4])
        raise V2VError(
            "size-mismatch", f"The frames have several sizes ({listed}).", "Ingest again with one --size WIDTHxHEIGHT."
        )
    _check_flow(config, spec, manifests)
    if config.model.feature_dims and not config.conditions_have("has_regions"):
        raise V2VError(
            "setting-conflict",
            f"--feature-dims is for labels and faces: {'+'.join(config.conditions)} has no regions.",
            "Leave it out.",
        )
    if config.model.feature_dims and config.data.first_frame == "image":
        raise V2VError(
            "setting-conflict",
            "--feature-dims excludes --first-frame image: the image model does not take these features.",
            "Train with --first-frame self or real.",
        )
    if config.schedule.budget is not None and not config.output.measure:
        raise V2VError(
            "setting-conflict",
            "--budget needs measured steps, and --no-measure forbids them.",
            "Leave one of them out.",
        )
    _check_processes(config)
    _check_sides(config, spec, *next(iter(sizes)))


def refuse_unused(config: TrainConfig, spec: MethodSpec) -> None:
    """Check that the method uses all settings that were given.

    Raises:
        V2VError: it does not use one.
    """
    others = [method_spec(name) for name in METHODS if name != spec.name]
    own = {term.weight for term in spec.losses(config)}
    weights = {term.weight: None for other in others for term in other.losses(config) if term.weight is not None}
    foreign = [weight for weight in weights if weight not in own]
    foreign += [name for other in others for name in other.own if name not in spec.own]
    if given := config.given(*spec.unused, *foreign):
        raise V2VError(
            "setting-unused",
            f"--method {spec.name} does not use {' and '.join(given)}.",
            f"Leave out {' and '.join(given)}.",
        )


def _refuse_without_effect(config: TrainConfig, spec: MethodSpec) -> None:
    """Refuse settings that would have no effect in this training.

    Raises:
        V2VError: there is one.
    """
    for refusal, flags, given in settings_without_effect(spec.losses(config), config):
        listed = f"{', '.join(flags[:-1])} and {flags[-1]}" if len(flags) > 1 else flags[0]
        raise V2VError("setting-unused", f"{listed} {refusal}.", f"Leave out {' and '.join(given)}.")


def _check_flow(config: TrainConfig, spec: MethodSpec, manifests: dict[str, Manifest]) -> None:
    stride = config.data.max_frame_stride
    need = set(flow_strides(spec.strides(config), stride))
    have = set(manifests["flow"].config.get("strides", ())) if need else set()
    if not need <= have:
        flags = " ".join(f"--strides {stride}" for stride in sorted(need))
        raise V2VError(
            "flow-stride-missing",
            f"The flow has strides {sorted(have)}; --temporal-scales {config.adversaries.temporal_scales} "
            f"and --max-frame-stride {stride} need {sorted(need)}.",
            f"Run `v2v extract-flow {flags} --overwrite`, or lower --temporal-scales or --max-frame-stride.",
        )


def _check_processes(config: TrainConfig) -> None:
    processes, batch_size, of = launched_processes(), config.data.batch_size, config.hardware
    if batch_size % processes:
        raise V2VError(
            "batch-size-mismatch",
            f"--batch-size {batch_size} cannot be divided among {processes} processes.",
            f"Give a multiple of {processes}.",
        )
    shared = {"--zero shards the optimiser states": of.zero, "--shard shards the generator": of.shard}
    for what in [what for what, on in shared.items() if on and processes == 1]:
        raise V2VError(
            "setting-conflict",
            f"{what} over several processes; this command is one process.",
            f"Start it with `torchrun --nproc-per-node 2 -m v2vkit train …`, or leave out {what.split()[0]}.",
        )
    if of.shard:
        _check_sharding(config)
    if config.model.norm == "batch" and batch_size > processes:
        raise V2VError(
            "setting-conflict",
            "--norm batch with several sequences per process uses statistics over them, which rendering does not have.",
            "Give --batch-size 1, or the number of processes.",
        )


def _check_sharding(config: TrainConfig) -> None:
    of = config.hardware
    excluded = {"--zero": of.zero, "--compile": of.compile, "--channels-last": of.channels_last}
    if given := [flag for flag, on in excluded.items() if on]:
        raise V2VError(
            "setting-conflict",
            f"--shard excludes {' and '.join(given)}.",
            f"Leave out --shard or {' and '.join(given)}.",
        )


def _check_sides(config: TrainConfig, spec: MethodSpec, width: int, height: int) -> None:
    side = min(downsampled_size(width, height, config.downsamplings))
    for term in losses_on(spec.losses(config), config):
        if side < term.min_side:
            raise V2VError(
                "frame-too-small",
                f"The {term.name} loss needs frames whose shorter side has at least {term.min_side} pixels; in "
                f"{config.checkpoint} it has {side}.",
                "Turn the loss off, use larger frames, or lower --num-scales.",
            )
