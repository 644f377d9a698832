"""What `v2v evaluate` measures, on what, and with which metrics: opened and checked before any work."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, ClipInfo, Manifest
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import ModelInfo, load_model, refuse_other_sizes
from v2vkit.conditions.clips import ClipReader, tracks_beside
from v2vkit.config import Precision
from v2vkit.engine.cores import choose_threads
from v2vkit.engine.devices import pick_device
from v2vkit.errors import V2VError, counted
from v2vkit.evaluation.choose import Available, Choice, choose
from v2vkit.evaluation.metrics.contract import Metric
from v2vkit.evaluation.metrics.registry import open_metric
from v2vkit.inference.first_frames import find_first_frame_model
from v2vkit.inference.styles import find_style
from v2vkit.inference.workspace import shots_of
from v2vkit.models.generator import GeneratorConfig
from v2vkit.pipeline.stage import RunOptions, load_inputs
from v2vkit.stages.evaluate_needs import Beside, known, open_setup

if TYPE_CHECKING:
    from v2vkit.inference.styles import Style
    from v2vkit.models.any_generator import AnyGenerator
    from v2vkit.stages.evaluate import EvaluateConfig


@dataclass(frozen=True)
class Opened:
    """The opened model, footage and metrics.

    Attributes:
        checkpoint, info, generator, first_frame_model, style, precision: the model, on the device.
        reader, manifests: the held-out footage, or its maps alone where the real footage is another.
        real: the real footage where it is another (`--unpaired`).
        shots: its clips by shot; only shots that are long enough.
        short: the clips of shots that are too short.
        skip_first: as in `evaluate_clip`.
        choice: the metrics.
        metrics: name -> metric, opened.
        beside: what is known of each frame.
        out: the folder of the report.
        real_flow: the flow of the real frames replaces the predicted one.
    """

    checkpoint: Folder
    info: ModelInfo
    generator: "AnyGenerator"
    first_frame_model: "AnyGenerator | None"
    style: "Style | None"
    precision: Precision
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
    real_flow: bool


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
    generator, info = load_model(checkpoint)
    style = find_style(work, None, 0, info)
    device = pick_device(config.device)
    first_frame_model = find_first_frame_model(work, config.first_frame_model, info)
    data = Folder(config.data)
    if config.real_flow:
        _refuse_without_flow(info, config.unpaired)
    manifests = _inputs(data, info, paired=config.unpaired is None, real_flow=config.real_flow)
    real = None if config.unpaired is None else _real_footage(config.unpaired, info)
    name = Path(checkpoint.url).name + "-real-flow" * config.real_flow
    out = Folder(config.out or f"{options.work}/evaluation/{name}")
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
        device=str(device),
        segmenter=config.segmenter,
        keep=config.segmenter_keep,
    )
    return Opened(
        checkpoint=checkpoint,
        info=info,
        generator=generator.to(device),
        first_frame_model=None if first_frame_model is None else first_frame_model.to(device),
        style=style,
        precision=config.precision,
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
        real_flow=config.real_flow,
    )


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
