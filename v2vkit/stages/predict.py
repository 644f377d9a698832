"""`v2v predict`: the future of observed label maps (or frames), as a workspace of its own."""

import os
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.clip_source import ClipSource
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import ClipInfo, Manifest
from v2vkit.config import StageConfig, setting
from v2vkit.engine.devices import DEVICES, pick_device
from v2vkit.errors import V2VError, counted
from v2vkit.models.prediction import OBSERVE
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Plan, Sample, Stage, load_inputs

if TYPE_CHECKING:
    from torch import nn

    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.conditions.clips import ClipReader


class PredictConfig(StageConfig):
    """Predict the next label maps of every shot from its observed ones.

    SOURCE is a workspace with labels. The first maps of every shot are observed (with --last, the last ones) and the
    next ones predicted. --work is the workspace to write: its labels are the observed maps, then the predicted ones;
    `v2v render WORKSPACE --maps` makes the video. Objects keep their instance ids, which move with the predicted flow.
    With a checkpoint of --method prednet or mcnet, frames are observed and predicted instead. Shots that are too short
    are left out.
    """

    source: str = setting(..., "Workspace with the label maps to observe.", argument=True, affects_output=False)
    checkpoint: str | None = setting(
        None,
        "Checkpoint folder of `v2v train --method predictor`; default: checkpoints/predictor of SOURCE.",
        metavar="FOLDER",
        affects_output=False,
    )
    observe: int | None = setting(
        None, f"Observed maps; default: as many as the model sees ({OBSERVE} unless trained otherwise).", ge=1, le=10000
    )
    frames: int = setting(10, "Predicted maps of every shot.", ge=1, le=900000)
    last: bool = setting(False, "Observe the last maps of every shot, not the first.")
    num_labels: int | None = setting(
        None, "Refuse models with another number of labels; default: the model's.", ge=1, le=255
    )
    device: str = setting("cpu", f"Device of the network: {DEVICES}.", affects_output=False)


def _model_folder(config: PredictConfig) -> Folder:
    return Folder(config.checkpoint or f"{config.source}/checkpoints/predictor")


def _kind(config: PredictConfig) -> str:
    """The artifact that is observed and made; labels while there is no model yet (status of a recipe)."""
    from v2vkit.checkpoint.model_file import MODEL
    from v2vkit.inference.prediction import predicts_labels, read_prediction_info

    folder = _model_folder(config)
    return "labels" if not folder.exists(MODEL) or predicts_labels(read_prediction_info(folder)) else "frames"


def _resolve(config: PredictConfig, work: Folder) -> PredictConfig:
    """Fill in the numbers of observed maps and of labels from the model, and check them.

    Raises:
        V2VError: the workspace is the source, or a number does not fit the model.
    """
    from v2vkit.inference.prediction import num_observed, predicts_labels, read_prediction_info

    # Before the runner finds other settings and advises --overwrite.
    if os.path.realpath(work.path) == os.path.realpath(Folder(config.source).path):
        raise V2VError(
            "target-is-source",
            f"--work {work.url} is SOURCE, whose maps or frames would be overwritten.",
            "Name another --work for the predictions.",
        )
    info = read_prediction_info(_model_folder(config))
    needed = num_observed(info)
    if config.observe is not None and config.observe < needed:
        raise V2VError(
            "frame-count-mismatch",
            f"--observe {config.observe}: the model in {_model_folder(config).url} observes {needed}.",
            f"Give --observe {needed} or more, or leave it out.",
        )
    own = info.conditioning.num_labels if predicts_labels(info) else None
    if config.num_labels not in (None, own):
        raise V2VError(
            "label-count-mismatch",
            f"--num-labels {config.num_labels}: the model has {own or 'no labels'}.",
            "Leave it out.",
        )
    return config.model_copy(update={"observe": config.observe or needed, "num_labels": own})


def _source_manifest(config: PredictConfig) -> Manifest:
    kind = _kind(config)
    return load_inputs(Folder(config.source), (kind,))[kind]


def _sources(config: PredictConfig) -> dict[str, str]:
    """The model and the observed artifact as inputs, by their content and not by their paths."""
    from v2vkit.checkpoint.model_file import read_info

    observed = _source_manifest(config).fingerprint
    return {"model": read_info(_model_folder(config)).identity, f"observed {_kind(config)}": observed}


def _plan(config: PredictConfig) -> Plan:
    """One clip for every shot that is long enough, in the shard of the shot's first clip."""
    from v2vkit.inference.workspace import shots_of

    manifest, observe = _source_manifest(config), config.observe or OBSERVE
    made: dict[str, ClipInfo] = {}
    skipped: dict[str, str] = {}
    for shot in shots_of(manifest.clips):
        length, first = sum(clip.num_frames for clip in shot), shot[0]
        if length < observe:
            skipped[first.name] = f"left out, its shot has {counted(length, 'frame')}, fewer than --observe {observe}"
            continue
        about: ClipSource = {"clip": first.name, "start": length - observe if config.last else 0, "observed": observe}
        made[first.name] = first.model_copy(update={"num_frames": observe + config.frames, "source": about})
    if not made:
        raise V2VError(
            "clip-too-short",
            f"No shot in {config.source} has {counted(observe, 'frame')} to observe.",
            "Ingest longer shots; a cut ends a shot.",
        )
    units = (tuple(made[clip.name] for clip in unit if clip.name in made) for unit in manifest.units)
    return Plan(tuple(unit for unit in units if unit), skipped)


def open_predict(config: PredictConfig) -> Opened:
    """Open the model and the observed artifact.

    Raises:
        V2VError: the model or the artifact is missing; sizes or classes differ; the device is not available.
    """
    from v2vkit.checkpoint.model_file import refuse_other_sizes
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.inference.prediction import load_prediction, predicts_labels, refuse_other_classes

    device = pick_device(config.device)
    network, info = load_prediction(_model_folder(config))
    kind, manifest = _kind(config), _source_manifest(config)
    refuse_other_sizes(info, manifest.clips, config.source)
    if predicts_labels(info):
        refuse_other_classes(info, Folder(config.source), manifest)
    reader = ClipReader(Folder(config.source), {kind: manifest})
    function = partial(predict_clip, network=network.to(device), info=info, reader=reader)
    return Opened(function, {"name": info.method, "version": info.identity})


def predict_clip(clip: Clip, *, network: "nn.Module", info: "ModelInfo", reader: "ClipReader") -> Iterator[Sample]:
    """The observed maps (or frames) of a shot, then the predicted ones."""
    from v2vkit.artifacts.images import encode_png
    from v2vkit.estimators.torch_weights import one_thread
    from v2vkit.inference.prediction import predicted_frames, predicted_maps, predicts_labels
    from v2vkit.inference.workspace import shots_of

    about = clip.info.source
    shot = next(shot for shot in shots_of(reader.clips) if shot[0].name == about["clip"])
    places = ((part.name, t) for part in shot for t in range(part.num_frames))
    chosen = list(islice(places, about["start"], about["start"] + about["observed"]))
    number = clip.info.num_frames - len(chosen)
    # Only in this thread: a spawned worker has one core.
    if not predicts_labels(info):
        frames = [reader.frame(*place) for place in chosen]
        with one_thread():
            for t, image in enumerate((*frames, *islice(predicted_frames(network, frames), number))):
                yield Sample(t, {"png": encode_png(image)})
        return
    condition: Any = info.conditioning.conditions[0]
    maps = [reader.annotation(condition, *place, "channels") for place in chosen]
    for t, annotation in enumerate(maps):
        yield Sample(t, condition.encode(annotation))
    future = predicted_maps(network, maps)
    for t in range(len(chosen), clip.info.num_frames):
        with one_thread():
            annotation = next(future)
        yield Sample(t, condition.encode(annotation))


STAGE = Stage(
    name="predict",
    config=PredictConfig,
    version=1,
    output=_kind,
    make=PerClip(open_predict, _plan),
    sources=_sources,
    resolve=_resolve,
)
