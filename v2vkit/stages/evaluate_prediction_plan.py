"""Opens the models and the footage of `v2v evaluate DATA --prediction`, and checks that they fit together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, ClipInfo, Manifest
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import load_inputs

if TYPE_CHECKING:
    import torch
    from torch import nn

    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.conditions.labels import LabelsCondition
    from v2vkit.evaluation.metrics.contract import Metric
    from v2vkit.models.any_generator import AnyGenerator
    from v2vkit.stages.evaluate import EvaluateConfig

CHECKPOINTS = ("predictor", "prednet", "mcnet")
"""Checkpoints of models of prediction, all of which are measured if none is named."""
_USUAL = ("ms_ssim", "ssim", "psnr", "lpips", "lite0_distance", "vfid_i3d", "fvd")
"""Metrics of prediction boards; the report says why one of them is left out."""


@dataclass(frozen=True)
class PredictionPlan:
    """The opened models and footage.

    Attributes:
        label_models, frame_models: checkpoint -> network that predicts label maps, or frames.
        video: the generator that makes frames of predicted labels, and its description; None = none.
        condition: of the label maps; None = there are none.
        reader: the held-out footage.
        flow: whether it has flow of stride 1.
        shots: its shots as (clip, number of the frame), those that are long enough.
        observe, frames, every: as in `admissible_starts`.
        metrics: of predicted frames, by their headings; empty = there are no frames.
        left_out: why usual metrics are left out.
    """

    label_models: "dict[str, nn.Module]"
    frame_models: "dict[str, nn.Module]"
    video: "tuple[AnyGenerator, ModelInfo] | None"
    condition: "LabelsCondition | None"
    reader: "ClipReader"
    flow: bool
    shots: list[list[tuple[str, int]]]
    observe: int
    frames: int
    every: int
    metrics: "Mapping[str, Metric]"
    left_out: list[str]


def open_prediction(config: "EvaluateConfig", work: Folder) -> tuple[PredictionPlan, list[str]]:
    """Open models and footage, with the shots that are too short as problems."""
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.engine.devices import pick_device
    from v2vkit.evaluation.prediction import admissible_starts, predicted_places
    from v2vkit.inference.prediction import predicts_labels
    from v2vkit.inference.workspace import shots_of

    assert config.data is not None, "checked by the command"
    data, frames, every, device = config.data, config.frames, config.every, pick_device(config.device)
    models = _models(work, config.checkpoint)
    infos = [info for _, info in models.values()]
    observe = _observed_by(models)
    label_models = {name: net.to(device) for name, (net, info) in models.items() if predicts_labels(info)}
    frame_models = {name: net.to(device) for name, (net, info) in models.items() if not predicts_labels(info)}
    video = None if config.video is None else _open_video(work, config.video, device, label_models, infos[0])
    needing = ["--video"] * (video is not None) + ["--metrics"] * bool(config.metrics)
    manifests = _footage(Folder(data), labels=bool(label_models), frames=bool(frame_models), needing_frames=needing)
    reader = ClipReader(Folder(data), manifests)
    _refuse_other_footage(infos, reader, data, manifests)
    shots, short = _long_shots(shots_of(reader.clips), observe + frames)
    if not shots:
        raise V2VError(
            "clip-too-short",
            f"No shot in {data} has {observe} frames to observe and {frames} to predict.",
            "Give fewer --frames, or ingest longer shots; a cut ends a shot.",
        )
    metrics: dict[str, Metric] = {}
    left_out: list[str] = []
    if "frames" in manifests:
        starts = [admissible_starts(len(shot), observe=observe, frames=frames, every=every) for shot in shots]
        predicted = (frames,) * sum(map(len, starts))
        real = tuple(predicted_places(of_shot, frames) for of_shot in starts)
        metrics, left_out = _frame_metrics(config.metrics, reader.clips[0], predicted, real, str(device))
    condition: Any = next((info.conditioning.conditions[0] for info in infos if predicts_labels(info)), None)
    plan = PredictionPlan(
        label_models=label_models,
        frame_models=frame_models,
        video=video,
        condition=condition,
        reader=reader,
        flow=_has_flow(manifests),
        shots=shots,
        observe=observe,
        frames=frames,
        every=every,
        metrics=metrics,
        left_out=left_out,
    )
    return plan, short


def _open_video(
    work: Folder, name: str, device: "torch.device", label_models: "Mapping[str, nn.Module]", predictor: "ModelInfo"
) -> "tuple[AnyGenerator, ModelInfo]":
    """The model that makes frames of predicted labels, and its description."""
    from v2vkit.checkpoint.find_model import find_model
    from v2vkit.checkpoint.model_file import load_model

    generator, info = load_model(find_model(work, name))
    _refuse_video(info, label_models, predictor)
    return generator.to(device), info


def _observed_by(models: "Mapping[str, tuple[nn.Module, ModelInfo]]") -> int:
    """The number of frames that the models observe.

    Raises:
        V2VError: they observe different numbers.
    """
    from v2vkit.inference.prediction import num_observed

    numbers = {name: num_observed(info) for name, (_, info) in models.items()}
    if len(set(numbers.values())) > 1:
        listed = ", ".join(f"{name} {number}" for name, number in numbers.items())
        raise V2VError(
            "model-mismatch",
            f"The models observe different numbers of frames: {listed}.",
            "Name one of them with --checkpoint, or train them with one --observe.",
        )
    return next(iter(numbers.values()))


def _footage(folder: Folder, *, labels: bool, frames: bool, needing_frames: list[str]) -> dict[str, Manifest]:
    """The manifests of what is read: labels and frames as models need them, frames and flow where there are some.

    Args:
        needing_frames: settings that need frames.

    Raises:
        V2VError: something is missing or not finished.
    """
    wanted = {
        "labels": labels,
        "frames": frames or (folder / "frames").exists(MANIFEST),
        "flow": (folder / "flow").exists(MANIFEST),
    }
    if needing_frames and not wanted["frames"]:
        raise V2VError(
            "artifact-missing",
            f"{' and '.join(needing_frames)}: {folder.url} has no frames to compare with.",
            "Name a workspace with frames, or measure the labels alone.",
        )
    return load_inputs(folder, [kind for kind, used in wanted.items() if used])


def _refuse_other_footage(
    infos: "Sequence[ModelInfo]", reader: "ClipReader", data: str, manifests: dict[str, Manifest]
) -> None:
    """Refuse footage of another size or with other classes than the models were trained on."""
    from v2vkit.checkpoint.model_file import refuse_other_sizes
    from v2vkit.inference.prediction import predicts_labels, refuse_other_classes

    for info in infos:
        refuse_other_sizes(info, reader.clips, data)
        if predicts_labels(info):
            refuse_other_classes(info, Folder(data), manifests["labels"])


def _frame_metrics(
    names: tuple[str, ...], clip: ClipInfo, predicted: tuple[int, ...], real: tuple[int, ...], device: str
) -> "tuple[dict[str, Metric], list[str]]":
    """The metrics of predicted frames by their headings, and why others are left out.

    Args:
        names: those that were asked for; none = all whose needs are met.
        clip: whose frames have the common size.
        predicted: number of predicted frames of each start.
        real: number of different real frames beside them, of each shot.
    """
    from v2vkit.evaluation.choose import Available, choose
    from v2vkit.evaluation.metrics.registry import Need, open_metric
    from v2vkit.evaluation.metrics.setup import Setup

    others: tuple[Need, ...] = ("flow", "landmarks", "irises", "people", "labels")
    hint = "Choose other metrics."
    missing: dict[Need, tuple[str, str]] = dict.fromkeys(others, ("it does not measure predictions", hint))
    choice = choose(names, Available(missing, clip.height, clip.width, predicted, real))
    setup = Setup(clip.height, clip.width, dict(choice.weights), device)
    found = {row.heading: open_metric(row, setup) for row in choice.rows}
    return found, [f"{name} is left out: {error}" for name, error in choice.left_out.items() if name in _USUAL]


def _has_flow(manifests: dict[str, Manifest]) -> bool:
    return "flow" in manifests and 1 in manifests["flow"].config.get("strides", ())


def _models(work: Folder, checkpoint: str | None) -> "dict[str, tuple[nn.Module, ModelInfo]]":
    """The models of prediction to measure, by checkpoint."""
    from v2vkit.inference.prediction import load_prediction

    return {folder.url.rpartition("/")[2]: load_prediction(folder) for folder in find_predictors(work, checkpoint)}


def find_predictors(work: Folder, checkpoint: str | None) -> list[Folder]:
    """The checkpoints of the models of prediction to measure: the one that is named, else all of them.

    Raises:
        V2VError: there is none.
    """
    from v2vkit.checkpoint.find_model import find_model
    from v2vkit.checkpoint.model_file import MODEL

    if checkpoint is not None:
        return [find_model(work, checkpoint)]
    present = [name for name in CHECKPOINTS if (work / f"checkpoints/{name}").exists(MODEL)]
    if not present:
        raise V2VError(
            "model-missing",
            f"There is no model of prediction in {work.url}.",
            "Run `v2v train --method predictor` first, or name another --work.",
        )
    return [work / f"checkpoints/{name}" for name in present]


def _refuse_video(info: "ModelInfo", label_models: Mapping[str, Any], predictor: "ModelInfo") -> None:
    """Check that a video model can be driven by predicted labels alone."""
    from v2vkit.inference.prediction import num_observed

    if (
        info.conditioning.names != "labels"
        or info.generator.takes_flow
        or info.encoder is not None
        or info.downsamplings
    ):
        raise V2VError(
            "model-mismatch",
            f"--video {info.stage}: a video of predicted labels needs a full-size model of labels without features.",
            "Name another checkpoint, or leave out --video.",
        )
    if not label_models:
        raise V2VError("setting-unused", "--video makes frames of predicted labels; there are none.", "Leave it out.")
    labels = next(network.config.num_labels for network in label_models.values())
    sizes = [(of.width, of.height) for of in (info, predictor)]
    for what, own, needed in (
        ("labels", info.conditioning.num_labels, labels),
        ("frames", "x".join(map(str, sizes[0])), "x".join(map(str, sizes[1]))),
    ):
        if own != needed:
            raise V2VError(
                "model-mismatch",
                f"--video {info.stage} was trained with {own} {what}, and the predictor with {needed}.",
                "Name a checkpoint that was trained on the same footage.",
            )
    if info.generator.history > num_observed(predictor):
        raise V2VError(
            "model-mismatch",
            f"--video {info.stage} begins from {info.generator.history} frames, more than the predictor observes.",
            "Train the predictor with a larger --observe.",
        )


def _long_shots(shots: Sequence[Sequence[ClipInfo]], length: int) -> tuple[list[list[tuple[str, int]]], list[str]]:
    """The frames of the shots of at least `length` frames, and a line for each of the others."""
    long, short = [], []
    for shot in shots:
        frames = [(clip.name, t) for clip in shot for t in range(clip.num_frames)]
        if len(frames) >= length:
            long.append(frames)
        else:
            short.append(f"{shot[0].name}: left out, its shot has {counted(len(frames), 'frame')}")
    return long, short
