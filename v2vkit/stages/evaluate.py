"""`v2v evaluate`: measures a trained model on held-out clips, next to simple baselines."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, ClipInfo, Manifest
from v2vkit.config import Precision, StageConfig, setting
from v2vkit.engine.cores import choose_threads
from v2vkit.engine.devices import DEVICES, PRECISION, pick_device
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Command, RunOptions, load_inputs
from v2vkit.progress import Progress, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.estimators.base import FaceEstimator
    from v2vkit.evaluation.compare import Row
    from v2vkit.evaluation.sheet import Sheet
    from v2vkit.inference.conditioned import ConditionedFrame
    from v2vkit.inference.styles import Style
    from v2vkit.models.any_generator import AnyGenerator

    Image = NDArray[np.uint8]


class EvaluateConfig(StageConfig):
    """Measure a trained model on the clips of another workspace.

    DATA is a workspace of held-out footage: frames, the model's maps and, for the warp error, flow. Each shot is
    rendered from its maps alone, joined where it is split into clips, and compared with its real frames: PSNR, SSIM,
    MS-SSIM, warp error, and for faces the landmark error. A model trained with --feature-dims is rendered in style 0 of
    --work. Baselines: "repeat first frame", "source shown as is", and for a coarse scale the real frames downsampled to
    its size and upsampled again. Writes evaluation.json, a plot over time and a contact sheet (source | output | real),
    and prints a table.
    """

    data: str = setting(..., "Workspace with the held-out footage.", argument=True)
    checkpoint: str | None = setting(None, "Checkpoint, such as spatial-1; default: the finest.")
    out: str | None = setting(None, "Folder for the report; default: <work>/evaluation/<checkpoint>.", metavar="FOLDER")
    first_frame_model: str | None = setting(
        None,
        "Checkpoint folder of the image model that makes the first frames (models trained with --first-frame image); "
        "default: checkpoints/pix2pixhd of --work.",
        metavar="FOLDER",
    )
    columns: int = setting(8, "Columns of the contact sheet.", ge=1, le=32)
    device: str = setting("auto", f"{DEVICES}.")
    precision: Precision = setting("auto", PRECISION)
    threads: int = setting(0, "CPU threads of torch; 0: as many as there are idle cores.", ge=0)


@dataclass(frozen=True)
class _Opened:
    """The opened model and footage.

    Attributes:
        checkpoint, info, generator, first_frame_model, style, precision: the model, on the device.
        reader, manifests: the held-out footage.
        shots: its clips by shot; only shots that are long enough.
        short: the clips of shots that are too short.
        skip_first: as in `evaluate_clip`.
        face: estimator of the landmarks in a face model's frames; None for other models.
        out: the folder of the report.
    """

    checkpoint: Folder
    info: "ModelInfo"
    generator: "AnyGenerator"
    first_frame_model: "AnyGenerator | None"
    style: "Style | None"
    precision: Precision
    reader: "ClipReader"
    manifests: dict[str, Manifest]
    shots: list[list[ClipInfo]]
    short: list[ClipInfo]
    skip_first: int
    face: "FaceEstimator | None"
    out: Folder


def _evaluate(config: EvaluateConfig, options: RunOptions) -> list[str]:
    from v2vkit.checkpoint.model_file import describe_checkpoint
    from v2vkit.evaluation.sheet import Sheet
    from v2vkit.inference.workspace import lacking_instances, other_maps

    opened = _open(config, options)
    info, reader = opened.info, opened.reader
    print(describe_checkpoint(Folder(options.work), opened.checkpoint, info))
    if (note := other_maps(info, opened.manifests)) is not None:
        print(note)
    sheet = Sheet(max(_length(shot) for shot in opened.shots), config.columns)
    _report(opened, _measure(opened, sheet), sheet, config, options)
    lacking = [f"{reason}: {counted(number, 'frame')}" for reason, number in lacking_instances(info, reader).items()]
    return [*lacking, *(f"{clip.name}: left out, it has {counted(clip.num_frames, 'frame')}" for clip in opened.short)]


def _open(config: EvaluateConfig, options: RunOptions) -> _Opened:
    """Open the model and the footage; all errors of the set-up are raised here."""
    from v2vkit.checkpoint.model_file import find_model, load_model, refuse_other_sizes
    from v2vkit.conditions.clips import ClipReader
    from v2vkit.inference.first_frames import find_first_frame_model
    from v2vkit.inference.live import open_face
    from v2vkit.inference.styles import find_style
    from v2vkit.inference.workspace import shots_of

    choose_threads(config.threads)
    work = Folder(options.work)
    checkpoint = find_model(work, config.checkpoint)
    generator, info = load_model(checkpoint)
    style = find_style(work, None, 0, info)
    device = pick_device(config.device)
    first_frame_model = find_first_frame_model(work, config.first_frame_model, info)
    data = Folder(config.data)
    with_flow = info.generator.takes_flow or (data / "flow").exists(MANIFEST)
    kinds = ("frames", *info.conditioning.artifacts, *(("flow",) if with_flow else ()))
    manifests = load_inputs(data, kinds)
    if not manifests["frames"].num_frames:
        raise V2VError(
            "frames-missing", f"The artifact frames in {config.data} has no frames.", "Name another workspace."
        )
    out = Folder(config.out or f"{options.work}/evaluation/{Path(checkpoint.url).name}")
    if out.is_file:
        raise V2VError(
            "folder-required", f"{out.url} is a file, and the report needs a folder.", "Name another one with --out."
        )
    out.refuse_unwritable()
    reader = ClipReader(data, manifests)
    refuse_other_sizes(info, reader.clips, config.data)
    skip_first = info.generator.history if info.first_frame == "real" else 1
    shots, short = list[list[ClipInfo]](), list[ClipInfo]()
    for shot in shots_of(reader.clips):
        if _length(shot) > skip_first:
            shots.append(shot)
        else:
            short.extend(shot)
    if not shots:
        raise V2VError(
            "clip-too-short",
            f"No shot in {config.data} has more than {counted(skip_first, 'frame')}, which the averages leave out.",
            "Ingest longer footage.",
        )
    return _Opened(
        checkpoint=checkpoint,
        info=info,
        generator=generator.to(device),
        first_frame_model=None if first_frame_model is None else first_frame_model.to(device),
        style=style,
        precision=config.precision,
        reader=reader,
        manifests=manifests,
        shots=shots,
        short=short,
        skip_first=skip_first,
        face=None
        if (number := info.conditioning.of_task("face")) is None
        else open_face(info.origins[number].settings),
        out=out,
    )


def _length(shot: list[ClipInfo]) -> int:
    return sum(clip.num_frames for clip in shot)


def _measure(opened: _Opened, sheet: "Sheet") -> "list[Row]":
    """Measures of every method on every frame; the longest shot also fills the contact sheet."""
    rows: list[Row] = []
    total, longest = sum(_length(shot) for shot in opened.shots), max(opened.shots, key=_length)
    with progress(total, desc="evaluate") as shown:
        for shot in opened.shots:
            rows += _measure_shot(opened, shot, sheet if shot is longest else None, shown)
    return rows


def _measure_shot(opened: _Opened, shot: list[ClipInfo], sheet: "Sheet | None", shown: Progress) -> "Iterator[Row]":
    from v2vkit.evaluation.compare import OURS, REAL_COARSE, SOURCE, Before, evaluate_clip
    from v2vkit.inference.rollout import made_coarse

    info, reader, face = opened.info, opened.reader, opened.face
    rendered, conditioned = tee(_rendered(opened, shot))
    sources: Iterator[Image] = (info.conditioning.preview(frame.s) for frame, _ in conditioned)
    ours = _counted((image for _, image in rendered), shown)
    real = _real(reader, shot)
    if sheet is not None:
        sources, ours, real = sheet.keep(sources), sheet.keep(ours), sheet.keep(real)
    before: Before | None = None
    for clip in shot:
        frames = range(clip.num_frames)
        methods: dict[str, Iterator[Image]] = {
            OURS: islice(ours, clip.num_frames),
            SOURCE: islice(sources, clip.num_frames),
        }
        if info.halvings:
            methods[REAL_COARSE] = (made_coarse(reader.frame(clip.name, t), info.halvings) for t in frames)
        yield from evaluate_clip(
            clip.name,
            islice(real, clip.num_frames),
            methods,
            before=before,
            flow=(reader.flow(clip.name, t, 1) for t in frames) if "flow" in opened.manifests else None,
            landmarks=(_landmarks(reader, clip, t) for t in frames) if face is not None else None,
            face=face,
            skip_first=opened.skip_first,
        )
        first = reader.frame(shot[0].name, 0) if before is None else before.first
        before = Before(shot[0].name, clip.num_frames + (0 if before is None else before.num_frames), first)


def _report(opened: _Opened, rows: "list[Row]", sheet: "Sheet", config: EvaluateConfig, options: RunOptions) -> None:
    """Write the report and print its table."""
    from v2vkit.artifacts.images import encode_png
    from v2vkit.checkpoint.model_file import halved_size
    from v2vkit.evaluation.report import JSON_NAME, notes, summarize, table, write_report
    from v2vkit.inference.rollout import renders_in

    info, first, out = opened.info, opened.shots[0][0], opened.out
    coarse = halved_size(first.width, first.height, info.halvings) if info.halvings else None
    about = {
        "model": {
            "checkpoint": opened.checkpoint.url,
            "steps": info.steps,
            "fingerprint": info.fingerprint,
            "precision": renders_in(opened.generator, opened.precision),
        },
        "data": config.data,
        "frames_fingerprint": opened.manifests["frames"].fingerprint,
        "notes": notes(
            first.height,
            first.width,
            skip_first=opened.skip_first,
            coarse=coarse,
            faces=opened.face is not None,
            flow=any(row.warp_error is not None for row in rows),
        ),
    }
    summary = summarize(rows)
    print(table(summary))  # before writing, which may fail
    for note in about["notes"]:
        print(f"  {note}")
    write_report(out, rows, summary, about=about, title=f"{options.work} on {config.data}")
    out.write("contact.png", encode_png(sheet.picture()))
    print(f"{out.url}/{JSON_NAME}, evaluation.png, contact.png")


def _rendered(opened: _Opened, shot: list[ClipInfo]) -> "Iterator[tuple[ConditionedFrame, Image]]":
    """The model's frames for a shot, from its maps (and its first real frames where the model needs them)."""
    import numpy as np

    from v2vkit.inference.conditioned import stored
    from v2vkit.inference.session import Session
    from v2vkit.inference.workspace import annotated_frames

    info, style = opened.info, opened.style
    flow = info.generator.takes_flow
    given = list(islice(_real(opened.reader, shot), info.generator.history)) if info.first_frame == "real" else None
    session = Session(
        opened.generator,
        halvings=info.halvings,
        first_frames=None if given is None else np.stack(given),
        first_frame_model=opened.first_frame_model,
        style=style,
        precision=opened.precision,
    )
    frames = annotated_frames(opened.reader, info.conditioning, [shot], flow=flow, regions=style is not None)
    return session.render(stored(frame, info) for frame in frames)


def _real(reader: "ClipReader", shot: list[ClipInfo]) -> "Iterator[Image]":
    return (reader.frame(clip.name, t) for clip in shot for t in range(clip.num_frames))


def _landmarks(reader: "ClipReader", clip: ClipInfo, t: int) -> "NDArray[np.float32] | None":
    """The landmarks of the real frame; None where no face was found in it."""
    from v2vkit.conditions.landmarks import landmarks_from_json

    file = landmarks_from_json(reader.read("sketches", clip.name, t, "json"))
    return file.landmarks if file.found else None


def _counted(frames: "Iterator[Image]", shown: Progress) -> "Iterator[Image]":
    for frame in frames:
        shown.update()
        yield frame


COMMAND = Command(
    name="evaluate",
    config=EvaluateConfig,
    call=_evaluate,
)
