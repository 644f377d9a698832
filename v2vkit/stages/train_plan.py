"""The inputs of `v2v train`, and the checks that they fit together."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, Manifest
from v2vkit.conditions.registry import CONDITIONS, condition_class
from v2vkit.config import IGNORE, check_foreground
from v2vkit.errors import V2VError
from v2vkit.pipeline.commands import commands_text
from v2vkit.pipeline.stage import load_inputs
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import method_spec
from v2vkit.weights import file_digest, require

if TYPE_CHECKING:
    import torch

    from v2vkit.conditions.conditioning import Conditioning
    from v2vkit.training.data.dataset import VideoDataset


def training_inputs(config: TrainConfig) -> tuple[str, ...]:
    spec = method_spec(config.method)
    artifacts = tuple(artifact_of(config, condition_class(name).artifact) for name in config.conditions)
    coarser = None if config.start_from else spec.coarser(config)
    below = () if coarser is None else (f"checkpoints/{config.named(coarser)}",)
    tracks = ("tracks",) if config.model.tracks else ()
    return ("frames", *artifacts, *tracks, *(("flow",) if spec.strides(config) else ()), *below)


def making(config: TrainConfig, kind: str) -> str:
    """The command that makes an input, for messages, with the settings that a coarser stage must share."""
    coarser = method_spec(config.method).coarser(config)
    if coarser is None or kind != f"checkpoints/{config.named(coarser)}":
        return commands_text(kind)
    variant = "" if config.output.variant is None else f" --variant {config.output.variant}"
    return f"`v2v train --stage {coarser}{variant} --num-scales {config.num_scales or config.scale}`"


def artifact_of(config: TrainConfig, kind: str) -> str:
    """The artifact that is read for a condition whose annotations are of that kind."""
    return method_spec(config.method).artifacts(config).get(kind, kind)


def start_folder(config: TrainConfig, work: Folder) -> Folder | None:
    """The folder of the model that training starts from; None = random weights."""
    if config.start_from:
        return Folder(config.start_from)
    coarser = method_spec(config.method).coarser(config)
    return None if coarser is None else work / f"checkpoints/{config.named(coarser)}"


def training_sources(config: TrainConfig) -> dict[str, str]:
    """The model of --start-from and the VGG weights as inputs, by their content and not by their paths."""
    from v2vkit.checkpoint.model_file import MODEL, read_info

    sources = {}
    if config.start_from:
        start = Folder(config.start_from)
        if not start.exists(MODEL):
            raise V2VError(
                "model-missing",
                f"--start-from {config.start_from} holds no model.",
                "Give the folder of a checkpoint, or of a copy.",
            )
        sources["--start-from"] = read_info(start).identity
    files = {"perceptual weights": config.losses.perceptual_weights, "weights": config.segmenter.network_weights}
    if config.model.edge_network in ("vgg16", "hed"):
        files["edge network weights"] = str(require(config.model.edge_network))
    return sources | {name: file_digest(path) for name, path in files.items() if path}


def check_training(config: TrainConfig, manifests: dict[str, Manifest], work: Folder) -> dict[str, str]:
    """Refuse what would fail hours later; returns the problems that do not stop training (source -> text)."""
    from v2vkit.conditions.presence import check_presence
    from v2vkit.training.check import check_settings

    check_settings(config, manifests)
    if (start := start_folder(config, work)) is not None:
        _check_start(config, manifests, work, start)
        if os.path.realpath(start.path) == os.path.realpath((work / f"checkpoints/{config.checkpoint}").path):
            raise V2VError(
                "target-is-source",
                f"--start-from {start.url} is the folder that this training writes to.",
                "Copy that folder, and start from the copy.",
            )
    return check_presence(work, maps_only(manifests), foreground=config.model.foreground_ids)


def _check_start(config: TrainConfig, manifests: dict[str, Manifest], work: Folder, start: Folder) -> None:
    """Check that the model to start from has the layers and the size that this stage needs."""
    from v2vkit.checkpoint.model_info import downsampled_size

    clip = manifests["frames"].clips[0]
    size = downsampled_size(clip.width, clip.height, config.downsamplings)
    method_spec(config.method).check_start(config, source_config(config, manifests, work), size, start)


def _check_depth(config: TrainConfig, manifests: dict[str, Manifest]) -> None:
    """Check that --depth-near and --depth-far can be used and are in order."""
    from v2vkit.video.depth_values import FAR, NEAR

    given = config.given("depth_near", "depth_far")
    if given and manifests["depth"].config.get("depth_scale") is None:
        raise V2VError(
            "depth-scale-missing",
            f"{' and '.join(given)} are metres, but the unit of this depth is not known.",
            f"Leave out {' and '.join(given)}, or ingest with --depth-scale.",
        )
    near, far = config.model.depth_near or NEAR, config.model.depth_far or FAR
    if near >= far:
        raise V2VError(
            "depth-range-invalid",
            f"--depth-near {near:g} is not below --depth-far {far:g}.",
            "Give a smaller --depth-near or a larger --depth-far.",
        )


def not_used(config: TrainConfig, work: Folder) -> str:
    """A line for the plan: artifacts of the workspace that the model is not conditioned on; empty if none."""
    artifacts = {condition_class(name).artifact: name for name in CONDITIONS if name not in config.conditions}
    found = [f"{kind} (--condition {name})" for kind, name in artifacts.items() if (work / kind).exists(MANIFEST)]
    return f"\n  not used  {', '.join(found)}" if found else ""


def maps_only(manifests: dict[str, Manifest]) -> dict[str, Manifest]:
    """The inputs that have clips."""
    return {kind: manifest for kind, manifest in manifests.items() if not kind.startswith("checkpoints")}


def source_config(config: TrainConfig, manifests: dict[str, Manifest], work: Folder) -> "Conditioning":
    """The conditions with their settings; without --num-labels the number of labels is counted in the maps.

    Raises:
        V2VError: they do not fit the settings, or the maps hold more labels.
    """
    from v2vkit.conditions.clips import count_labels
    from v2vkit.conditions.conditioning import configure

    own = {name: config.value(name) for name in ("edges", "num_labels", "depth_near", "depth_far")}
    own = {name: value for name, value in own.items() if value is not None}
    _check_depth(config, manifests)
    names = config.conditions
    artifacts = [condition_class(name).artifact for name in names]
    found = configure(
        names,
        {kind: manifests[artifact_of(config, kind)].config | own for kind in artifacts},
        count_labels=lambda kind: count_labels(work, manifests[artifact_of(config, kind)], artifact_of(config, kind)),
    )
    if config.data.flip and not found.mirrors:
        raise V2VError(
            "setting-conflict", f"--flip mirrors frames, which {found.names} does not allow.", "Leave it out."
        )
    if found.has("foreground"):
        check_foreground(config.model.foreground_ids, found.num_labels)
        _refuse_larger_ids(found, config, manifests, work)
    return found


def _refuse_larger_ids(
    source: "Conditioning", config: TrainConfig, manifests: dict[str, Manifest], work: Folder
) -> None:
    """Check that the model has a channel for every label in the maps."""
    from v2vkit.conditions.clips import refuse_larger_ids

    kind = artifact_of(config, next(of.artifact for of in source.conditions if of.foreground))
    hint = f"Give --num-labels above the highest id, or ingest with --ids FROM={IGNORE} (ignore) for larger ones."
    refuse_larger_ids(work, manifests[kind], source.num_labels, hint, kind)


def open_dataset(
    config: TrainConfig, inputs: dict[str, Manifest], work: Folder, device: "torch.device"
) -> "VideoDataset":
    """The footage that a training reads; `config` is resolved."""
    from v2vkit.training.data.dataset import VideoDataset

    spec = method_spec(config.method)
    return VideoDataset(
        spec.open_reader(config, work, maps_only(inputs)),
        source_config(config, inputs, work),
        strides=spec.strides(config),
        flip=config.data.flip,
        downsample=config.downsamplings,
        compact=device.type != "cpu",
        regions=spec.regions(config),
    )


@dataclass(frozen=True)
class TrainingTime:
    """Measured time of a training.

    Attributes:
        device: where it was measured.
        seconds: that the whole schedule takes on this footage; a `--budget` is not applied.
        num_frames: frames of this footage.
        peak_bytes: peak memory of a step.
    """

    device: str
    seconds: float
    num_frames: int
    peak_bytes: int


def time_training(config: TrainConfig, work: Folder) -> TrainingTime:
    """Measure a training on the artifacts of a workspace, as the plan does, and extrapolate to its whole schedule.

    Checkpoints that it starts from need not exist. `config` is resolved.

    Raises:
        V2VError: artifacts are missing, or the training does not fit into memory.
    """
    from v2vkit.engine.devices import pick_device
    from v2vkit.training.plan import measure_phases, phase_times

    inputs = load_inputs(work, tuple(kind for kind in training_inputs(config) if not kind.startswith("checkpoints/")))
    device = pick_device(config.hardware.device)
    dataset = open_dataset(config, inputs, work, device)
    costs = measure_phases(config, dataset, device)
    times = phase_times(config, dataset, device, costs, method_spec(config.method).schedule(config))
    return TrainingTime(
        str(device),
        sum(found.seconds for found in times),
        sum(clip.num_frames for clip in dataset.reader.clips),
        max(cost.peak_bytes for cost in costs.values()),
    )
