"""What `v2v evaluate` measures, on what, and with which metrics: opened and checked before any work."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, ClipInfo, Manifest, read_manifest
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import MODEL, ModelInfo, read_info, refuse_other_sizes
from v2vkit.conditions.clips import ClipReader, tracks_beside
from v2vkit.engine.cores import choose_threads
from v2vkit.errors import V2VError, counted
from v2vkit.evaluation.choose import Available, Choice, choose
from v2vkit.evaluation.metrics.contract import Metric
from v2vkit.evaluation.metrics.registry import open_metric, rows
from v2vkit.inference.first_frames import first_frame_folder
from v2vkit.inference.open_session import open_model, open_session
from v2vkit.inference.session import Session
from v2vkit.inference.workspace import shots_of
from v2vkit.models.generator import GeneratorConfig
from v2vkit.pipeline.record import Record, find_record
from v2vkit.pipeline.stage import RunOptions, load_input, load_inputs
from v2vkit.stages.evaluate_needs import Beside, known, open_setup
from v2vkit.stages.evaluate_prediction_plan import find_predictors
from v2vkit.weights import file_digest, find

if TYPE_CHECKING:
    from v2vkit.stages.evaluate import EvaluateConfig


@dataclass(frozen=True)
class Opened:
    """The opened model, footage and metrics.

    Attributes:
        checkpoint, info: the model.
        session: with the model on its device, for shots that begin from no real frames.
        reader, manifests: the held-out footage, or its maps alone where the real footage is another.
        real: the real footage where it is another (`--unpaired`).
        shots: its clips by shot; only shots that are long enough.
        short: the clips of shots that are too short.
        skip_first: as in `evaluate_clip`.
        choice: the metrics.
        metrics: name -> metric, opened.
        beside: what is known of each frame.
        out: the folder of the report.
    """

    checkpoint: Folder
    info: ModelInfo
    session: Session
    reader: ClipReader
    manifests: dict[str, Manifest]
    real: "RealFootage | None"
    shots: list[list[ClipInfo]]
    short: list[ClipInfo]
    skip_first: int
    choice: Choice
    metrics: dict[str, Metric]
    beside: Beside
    out: Folder


@dataclass(frozen=True)
class RealFootage:
    """Real frames without maps of their own.

    Attributes:
        reader, manifest: the frames.
        shots: their clips by shot.
    """

    reader: ClipReader
    manifest: Manifest
    shots: list[list[ClipInfo]]


def length(shot: list[ClipInfo]) -> int:
    """Frames of a shot."""
    return sum(clip.num_frames for clip in shot)


def open_evaluation(config: "EvaluateConfig", options: RunOptions) -> Opened:
    """Open the model, the footage and the metrics; all errors of the set-up are raised here.

    Raises:
        V2VError: what is named does not exist or does not fit, or a metric that was asked for cannot be computed.
    """
    assert config.data is not None, "checked by the command"
    choose_threads(config.threads)
    work = Folder(options.work)
    checkpoint = find_model(work, config.checkpoint)
    model = open_model(checkpoint, device=config.device, settle=config.settle)
    info = model.info
    session = open_session(
        model,
        work,
        style=0,
        first_frame_model=config.first_frame_model,
        precision=config.precision,
        settle=config.settle,
    )
    data = Folder(config.data)
    if config.real_flow:
        _refuse_without_flow(info, config.unpaired)
    manifests = _inputs(data, info, paired=config.unpaired is None, real_flow=config.real_flow)
    real = None if config.unpaired is None else _real_footage(config.unpaired, info)
    out = report_folder(config, options, checkpoint)
    if out.is_file:
        raise V2VError("folder-required", f"{out.url} is a file, and the report needs a folder.", "Name another --out.")
    out.refuse_unwritable()
    reader = ClipReader(data, manifests)
    refuse_other_sizes(info, reader.clips, config.data)
    skip_first = info.generator.history if info.first_frame == "real" else 1
    shots, short = _long_shots(reader, config.data, skip_first)
    missing, beside = known(
        info, reader, manifests, shots, unpaired=config.unpaired is not None, segmenter=config.segmenter
    )
    first = shots[0][0]
    measured = tuple(length(shot) - skip_first for shot in shots)
    of_real = None if real is None else tuple(map(length, real.shots))
    choice = choose(config.metrics, Available(missing, first.height, first.width, measured, of_real))
    setup = open_setup(
        info,
        choice,
        size=(first.width, first.height),
        device=str(model.device),
        segmenter=config.segmenter,
        keep=config.segmenter_keep,
    )
    return Opened(
        checkpoint=checkpoint,
        info=info,
        session=replace(session, given_flow=config.real_flow),
        reader=reader,
        manifests=manifests,
        real=real,
        shots=shots,
        short=short,
        skip_first=skip_first,
        choice=choice,
        metrics={row.name: open_metric(row, setup) for row in choice.rows},
        beside={name: read for name, read in beside.items() if any(name in row.needs for row in choice.rows)},
        out=out,
    )


def report_folder(config: "EvaluateConfig", options: RunOptions, checkpoint: Folder | None = None) -> Folder:
    """The folder of the report on a checkpoint; without one, of a report on predictions."""
    name = "prediction" if checkpoint is None else Path(checkpoint.url).name + "-real-flow" * config.real_flow
    return Folder(config.out or f"{options.work}/evaluation/{name}")


VERSION = 2
"""To be raised when the same model, footage and settings give another report."""
_OF_MODELS = ("checkpoints", "features", "styles")
"""Artifacts of a workspace that are not footage."""


def find_report(config: "EvaluateConfig", options: RunOptions) -> Record:
    """The report that an earlier run has left, and what this one would be measured from.

    Inputs are the models, all artifacts of the footage, the styles, and the weights of metrics that are here.

    Raises:
        V2VError: a model, a file or a manifest is missing or damaged.
    """
    assert config.data is not None, "checked by the command"
    work, models = Folder(options.work), _models(config, options)
    inputs = dict(_footage(Folder(config.data)))
    if config.unpaired is not None:
        inputs |= {f"real {kind}": found for kind, found in _footage(Folder(config.unpaired)) if kind == "frames"}
    if (styles := read_manifest(work / "styles")) is not None:
        inputs["styles"] = styles.fingerprint
    if config.segmenter is not None and "segmenter" not in models:
        inputs["segmenter"] = file_digest(config.segmenter)
    inputs |= {name: _digest(folder) for name, folder in models.items()}
    weights = {name for row in rows(config.metrics) for name in row.weights if find(name) is not None}
    inputs["weights of metrics"] = " ".join(sorted(weights))
    folder = report_folder(config, options, models.get("model"))
    name = "prediction" if config.prediction else "evaluation"
    return find_record("evaluate", VERSION, config, inputs, folder, f"{name}.{MANIFEST}")


def remade_inputs(config: "EvaluateConfig", options: RunOptions, pending: set[tuple[str, str]]) -> list[str]:
    """What a report is measured from among the artifacts that will be remade, given as (workspace, kind)."""

    def real(folder: Folder) -> str:
        return os.path.realpath(folder.path)

    places = {real(Folder(url)) for url in (config.data, config.unpaired) if url is not None}
    others = {real(folder) for folder in (*_models(config, options).values(), Folder(options.work) / "styles")}

    def read(place: Folder, kind: str) -> bool:
        return real(place / kind) in others or (kind.split("/")[0] not in _OF_MODELS and real(place) in places)

    return sorted({kind for place, kind in pending if read(Folder(place), kind)})


def _models(config: "EvaluateConfig", options: RunOptions) -> dict[str, Folder]:
    """The checkpoints that are read; `model` is the one that is measured."""
    work, models = Folder(options.work), dict[str, Folder]()
    if config.prediction:
        models |= {Path(folder.url).name: folder for folder in find_predictors(work, config.checkpoint)}
        return models if config.video is None else {**models, "video": find_model(work, config.video)}
    models["model"] = find_model(work, config.checkpoint)
    if read_info(models["model"]).first_frame == "image":
        models["first-frame model"] = first_frame_folder(work, config.first_frame_model)
    if config.segmenter is not None and Path(config.segmenter).is_dir():
        models["segmenter"] = Folder(config.segmenter)
    return models


def _footage(data: Folder) -> Iterator[tuple[str, str]]:
    """Kind and fingerprint of the artifacts of a workspace that are footage."""
    for kind in data.names():
        if kind not in _OF_MODELS and (data / kind).exists(MANIFEST):
            yield kind, load_input(data, kind).fingerprint


def _digest(folder: Folder) -> str:
    """Checksum of a model, from its manifest if that is there. Raises V2VError where there is no model."""
    read_info(folder)
    manifest = None if folder.exists(PARTIAL) else read_manifest(folder)
    entries = () if manifest is None else manifest.shards
    found = next((entry.sha256 for entry in entries if entry.name == MODEL), None)
    return found or hashlib.sha256(folder.read(MODEL)).hexdigest()


def _refuse_without_flow(info: ModelInfo, unpaired: str | None) -> None:
    if not isinstance(info.generator, GeneratorConfig) or not info.generator.flow:
        raise V2VError(
            "setting-unused",
            f"--real-flow replaces flow that a model predicts, and this one ({info.method}) predicts none.",
            "Leave it out.",
        )
    if unpaired is not None:
        raise V2VError(
            "setting-conflict",
            "--real-flow needs flow of the real frame beside each, which --unpaired does not have.",
            "Leave out one of them.",
        )


def _inputs(data: Folder, info: ModelInfo, *, paired: bool, real_flow: bool) -> dict[str, Manifest]:
    with_flow = info.generator.takes_flow or real_flow or (paired and (data / "flow").exists(MANIFEST))
    frames = ("frames",) if paired else ()
    tracks = tracks_beside(data, info.conditioning.artifacts)
    kinds = (*frames, *info.conditioning.artifacts, *tracks, *(("flow",) if with_flow else ()))
    manifests = load_inputs(data, kinds)
    if not manifests[kinds[0]].num_frames:
        raise V2VError(
            "frames-missing", f"The artifact {kinds[0]} in {data.url} has no frames.", "Name another workspace."
        )
    return manifests


def _real_footage(url: str, info: ModelInfo) -> RealFootage:
    if info.first_frame == "real":
        raise V2VError(
            "setting-conflict",
            "This model starts from real frames, and with --unpaired there are none beside its maps.",
            "Leave --unpaired out.",
        )
    work = Folder(url)
    manifests = load_inputs(work, ("frames",))
    if not manifests["frames"].num_frames:
        raise V2VError("frames-missing", f"The artifact frames in {url} has no frames.", "Name another workspace.")
    reader = ClipReader(work, manifests)
    return RealFootage(reader, manifests["frames"], shots_of(reader.clips))


def _long_shots(reader: ClipReader, url: str, skip_first: int) -> tuple[list[list[ClipInfo]], list[ClipInfo]]:
    """The shots that have more frames than are left out, and the clips of the others."""
    shots, short = list[list[ClipInfo]](), list[ClipInfo]()
    for shot in shots_of(reader.clips):
        if length(shot) > skip_first:
            shots.append(shot)
        else:
            short.extend(shot)
    if not shots:
        raise V2VError(
            "clip-too-short",
            f"No shot in {url} has more than {counted(skip_first, 'frame')}, which the averages leave out.",
            "Ingest longer footage.",
        )
    return shots, short
