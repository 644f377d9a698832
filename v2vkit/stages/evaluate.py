"""`v2v evaluate`: a trained model on held-out clips, beside simple baselines."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST, ClipInfo, Manifest
from v2vkit.config import StageConfig, setting
from v2vkit.engine.devices import DEVICES, pick_device
from v2vkit.errors import V2VError
from v2vkit.stages.base import Command, RunOptions, load_inputs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.estimators.base import FaceEstimator
    from v2vkit.evaluation.compare import Row
    from v2vkit.maps.clips import ClipReader
    from v2vkit.maps.source import SourceConfig
    from v2vkit.models.any_generator import AnyGenerator
    from v2vkit.synthesis.model import ModelInfo
    from v2vkit.synthesis.styles import Style


class EvaluateConfig(StageConfig):
    """Measure a trained model on the clips of another workspace.

    DATA is a workspace of held-out footage: frames, the domain's maps and, for the warp error, flow. Each clip is
    rendered from its maps alone and compared with its real frames: PSNR, SSIM, MS-SSIM, warp error, and for faces the
    landmark error; a model trained with --feature-dims in style 0 of --work. The baselines "repeat first frame" and
    "source shown as is" stand beside, and for a coarse scale the real frames at its size, enlarged. Writes
    evaluation.json, a plot over time and a contact sheet (source | output | real), and prints a table.
    """

    data: str = setting(..., "Workspace with the held-out footage.", argument=True)
    checkpoint: str | None = setting(None, "Checkpoint to use; the finest when not given.")
    out: str | None = setting(None, "Folder for the report; <work>/evaluation when not given.", metavar="FOLDER")
    first_frame_model: str | None = setting(
        None,
        "Checkpoint folder of the image model that makes the first frames (models trained with --first-frame image); "
        "checkpoints/image of --work when not given.",
        metavar="FOLDER",
    )
    columns: int = setting(8, "Columns of the contact sheet.", ge=1, le=32)
    device: str = setting("auto", f"{DEVICES}.")
    threads: int = setting(0, "CPU threads of torch; 0 = torch's choice.", ge=0)


@dataclass(frozen=True)
class _Opened:
    """What is measured and on what.

    Attributes:
        checkpoint, info, generator, opener, style: the model and what it renders with, on the device.
        reader, manifests: the held-out footage.
        clips: those of it that are long enough.
        skip_first: as in `evaluate_clip`.
        face: finds the landmarks in a face model's frames.
        out: the folder of the report.
    """

    checkpoint: Folder
    info: "ModelInfo"
    generator: "AnyGenerator"
    opener: "AnyGenerator | None"
    style: "Style | None"
    reader: "ClipReader"
    manifests: dict[str, Manifest]
    clips: list[ClipInfo]
    skip_first: int
    face: "FaceEstimator | None"
    out: Folder


def _evaluate(config: EvaluateConfig, options: RunOptions) -> list[str]:
    from v2vkit.evaluation.report import count_frames
    from v2vkit.synthesis.model import describe_checkpoint

    opened = _open(config, options)
    print(describe_checkpoint(Folder(options.work), opened.checkpoint, opened.info))
    _report(opened, _measure(opened), config, options)
    short = [clip for clip in opened.reader.clips if clip.num_frames <= opened.skip_first]
    return [f"{clip.name}: left out, it has {count_frames(clip.num_frames)}" for clip in short]


def _open(config: EvaluateConfig, options: RunOptions) -> _Opened:
    """Everything that can be wrong is told here, before any work."""
    import torch

    from v2vkit.evaluation.report import count_frames
    from v2vkit.maps.clips import ClipReader
    from v2vkit.maps.source import DOMAINS
    from v2vkit.synthesis.live import open_face
    from v2vkit.synthesis.model import find_model, load_model, refuse_other_sizes
    from v2vkit.synthesis.opening import find_opener
    from v2vkit.synthesis.styles import find_style

    if config.threads:
        torch.set_num_threads(config.threads)
    work = Folder(options.work)
    checkpoint = find_model(work, config.checkpoint)
    generator, info = load_model(checkpoint)
    style = find_style(work, None, 0, info)
    device = pick_device(config.device)
    opener = find_opener(work, config.first_frame_model, info)
    data = Folder(config.data)
    with_flow = info.generator.takes_flow or (data / "flow").exists(MANIFEST)
    kinds = ("frames", DOMAINS[info.source.domain].kind, *(("flow",) if with_flow else ()))
    manifests = load_inputs(data, kinds)
    if not manifests["frames"].num_frames:
        raise V2VError(f"The artifact frames in {config.data} has no frames.", "Name another workspace.")
    out = Folder(config.out or f"{options.work}/evaluation")
    if out.is_file:
        raise V2VError(f"{out.url} is a file, and the report needs a folder.", "Name another one with --out.")
    out.refuse_unwritable()
    reader = ClipReader(data, manifests)
    refuse_other_sizes(info, reader.clips, config.data)
    skip_first = info.generator.history if info.first_frame == "real" else 1
    clips = [clip for clip in reader.clips if clip.num_frames > skip_first]
    if not clips:
        raise V2VError(
            f"No clip in {config.data} has more than {count_frames(skip_first)}, and so many at its beginning are left "
            "out of the averages.",
            "Ingest longer footage.",
        )
    return _Opened(
        checkpoint=checkpoint,
        info=info,
        generator=generator.to(device),
        opener=None if opener is None else opener.to(device),
        style=style,
        reader=reader,
        manifests=manifests,
        clips=clips,
        skip_first=skip_first,
        face=open_face(info.maps) if info.source.domain == "face" else None,
        out=out,
    )


def _measure(opened: _Opened) -> "list[Row]":
    """The measures of every method on every frame."""
    from tqdm import tqdm

    from v2vkit.evaluation.compare import OURS, REAL_COARSE, SOURCE, evaluate_clip
    from v2vkit.synthesis.rollout import made_coarse

    info, reader, face = opened.info, opened.reader, opened.face
    rows: list[Row] = []
    total = sum(clip.num_frames for clip in opened.clips)
    with tqdm(total=total, desc="evaluate", unit="frame", disable=None) as progress:
        for clip in opened.clips:
            frames = range(clip.num_frames)
            methods = {
                OURS: _counted(_rendered(opened, clip), progress),
                SOURCE: _sources(reader, info.source, clip),
            }
            if info.halvings:
                methods[REAL_COARSE] = (made_coarse(reader.frame(clip.name, t), info.halvings) for t in frames)
            rows += evaluate_clip(
                clip.name,
                (reader.frame(clip.name, t) for t in frames),
                methods,
                flow=(reader.flow(clip.name, t, 1) for t in frames) if "flow" in opened.manifests else None,
                landmarks=(_landmarks(reader, clip, t) for t in frames) if face is not None else None,
                face=face,
                skip_first=opened.skip_first,
            )
    return rows


def _report(opened: _Opened, rows: "list[Row]", config: EvaluateConfig, options: RunOptions) -> None:
    """Write the report and print its table."""
    from v2vkit.artifacts.images import encode_png
    from v2vkit.evaluation.report import JSON_NAME, notes, summarize, table, write_report
    from v2vkit.synthesis.model import halved_size

    info, first, out = opened.info, opened.clips[0], opened.out
    coarse = halved_size(first.width, first.height, info.halvings) if info.halvings else None
    about = {
        "model": {"checkpoint": opened.checkpoint.url, "steps": info.steps, "fingerprint": info.fingerprint},
        "data": config.data,
        "frames_fingerprint": opened.manifests["frames"].fingerprint,
        "notes": notes(
            first.height, first.width, skip_first=opened.skip_first, coarse=coarse, faces=opened.face is not None
        ),
    }
    summary = summarize(rows)
    print(table(summary))  # before a disk can be full
    for note in about["notes"]:
        print(f"  {note}")
    write_report(out, rows, summary, about=about, title=f"{options.work} on {config.data}")
    out.write("contact.png", encode_png(_contact_sheet(opened, config.columns)))
    print(f"{out.url}/{JSON_NAME}, evaluation.png, contact.png")


def _rendered(opened: _Opened, clip: ClipInfo) -> "Iterator[NDArray[np.uint8]]":
    """The model's frames for a clip, from its maps (and its first real frames where the model needs them)."""
    import numpy as np

    from v2vkit.synthesis.driving import driven_frames
    from v2vkit.synthesis.rollout import Rollout

    info, reader, style = opened.info, opened.reader, opened.style
    rollout = Rollout(opened.generator, info.halvings, opened.opener)
    if info.first_frame == "real":
        rollout.begin_with(np.stack([reader.frame(clip.name, t) for t in range(info.generator.history)]))
    flow = info.generator.takes_flow
    for driven in driven_frames(reader, info.source, clip, flow=flow, regions=style is not None):
        yield rollout.image(driven.conditioning(style))


def _sources(reader: "ClipReader", source: "SourceConfig", clip: ClipInfo) -> "Iterator[NDArray[np.uint8]]":
    from v2vkit.maps.source import source_map
    from v2vkit.synthesis.render import source_image

    for t in range(clip.num_frames):
        yield source_image(source, source_map(source, reader.map_files(source, clip.name, t)))


def _landmarks(reader: "ClipReader", clip: ClipInfo, t: int) -> "NDArray[np.float32] | None":
    """The landmarks that the output should show; None where no face was found in the source."""
    import json

    from v2vkit.maps.landmarks import landmarks_from_json

    data = reader.read("sketches", clip.name, t, "json")
    return landmarks_from_json(data)[0] if json.loads(data).get("found") else None


def _counted(frames: "Iterator[NDArray[np.uint8]]", progress: Any) -> "Iterator[NDArray[np.uint8]]":
    for frame in frames:
        progress.update()
        yield frame


def _contact_sheet(opened: _Opened, columns: int) -> "NDArray[np.uint8]":
    """Source, output, real as rows for frames spread over the longest clip."""
    import numpy as np

    reader = opened.reader
    clip = max(reader.clips, key=lambda clip: clip.num_frames)
    chosen = np.unique(np.linspace(0, clip.num_frames - 1, min(columns, clip.num_frames)).round().astype(int))
    triples = zip(
        _sources(reader, opened.info.source, clip),
        _rendered(opened, clip),
        (reader.frame(clip.name, t) for t in range(clip.num_frames)),
        strict=True,
    )
    picked = [np.concatenate(triple, 0) for t, triple in enumerate(triples) if t in chosen]
    return np.concatenate(picked, 1)


COMMAND = Command(
    name="evaluate",
    config=EvaluateConfig,
    call=_evaluate,
)
