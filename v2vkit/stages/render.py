"""`v2v render`: renders a video from a video, pictures, label maps or a workspace."""

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.config import Precision, StageConfig, as_text, parse_rate, setting
from v2vkit.engine.cores import choose_threads, follow_idle_cores
from v2vkit.engine.devices import DEVICES, PRECISION, pick_device
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.progress import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.inference.conditioned import ConditionedFrame
    from v2vkit.models.any_generator import AnyGenerator
    from v2vkit.video.label_files import MapKind
    from v2vkit.video.pipes import PipeWriter
    from v2vkit.video.stream import Source


class RenderConfig(StageConfig):
    """Render a video with the finest checkpoint of the workspace.

    SOURCE is a video or a folder of pictures (face and pose models, and street models whose labels `v2v segment` made),
    a folder of label maps (street models), or with --maps a workspace with finished source maps. Otherwise source maps
    are made on the fly with the settings in the checkpoint. Shot cuts are found as in training, and every shot starts
    without history. Rendering is one pass in constant memory with one output frame per input frame: a video keeps its
    time stamps and audio; a folder or --maps gives a constant rate and no sound. TARGET is a video or, if it is a
    folder or ends in a slash, a folder of numbered pictures (000000.png; no sound). An existing video is replaced when
    the new one is complete, an existing folder only if it is empty or an earlier rendering.

    SOURCE - reads a video from standard input (Matroska, MPEG-TS, y4m ...), TARGET - writes to standard output, with
    messages on standard error. The latency is about 10 frames, because cuts, smoothing and crops look ahead.
    """

    source: str = setting(
        ..., "Video, folder of pictures or label maps, workspace, or - (standard input).", argument=True
    )
    target: str = setting(..., "Video (.mp4, .mov or .mkv) or folder to write, or - (standard output).", argument=True)
    checkpoint: str | None = setting(
        None, "Checkpoint, such as spatial-1; default: the finest (spatial-3, else spatial-2 and so on)."
    )
    maps: bool = setting(False, "SOURCE is a workspace with finished maps.")
    instances: str | None = setting(
        None,
        "Folder with one instance map (16-bit PNG) per label map of SOURCE, as for ingest.",
        metavar="FOLDER",
    )
    depth: str | None = setting(
        None,
        "Folder with one depth map per label map of SOURCE, in the format and unit of training.",
        metavar="FOLDER",
    )
    densepose: str | None = setting(None, "Folder with one DensePose map per label map of SOURCE.", metavar="FOLDER")
    keep_names: bool = setting(
        False, "Name the pictures in the folder TARGET like those of the folder SOURCE (without Cityscapes' suffixes)."
    )
    compare: bool = setting(
        False, "Write source map | output side by side; for a video or pictures: frame | source map | output."
    )
    frames: str | None = setting(
        None,
        "Video or folder with the frame of each label map of SOURCE (a simulator's), for conditions on edges and "
        "pictures.",
        metavar="PATH",
    )
    cuts: Literal["adaptive", "content", "none"] | None = setting(
        None, "How shot cuts of the video are found, as for ingest; default: as for the training footage."
    )
    align: bool = setting(
        False,
        "Zoom and shift every shot of the video so that its first face (or body) has the typical size and position of "
        "the training footage: for other people and other cameras.",
    )
    fps: str | None = setting(
        None,
        "Frame rate of a folder of pictures or label maps, such as 25 (default: that of the training footage), or of "
        "a raw video stream (.264, .hevc, .m2v), which has no time stamps.",
    )
    stream: int | None = setting(
        None,
        "Number of the video stream, from 0, in a video with several; default: one that is not a still picture.",
        ge=0,
    )
    keep_interlaced: bool = setting(False, "Do not deinterlace interlaced video.")
    start: float = setting(0.0, "Skip this many seconds at the start of the video.", ge=0, allow_inf_nan=False)
    duration: float | None = setting(
        None,
        "Render at most this many seconds of the video.",
        gt=0,
        allow_inf_nan=False,
    )
    first_frames: str | None = setting(
        None,
        "Folder with real images that replace the first frames of every shot (two, the history of models trained "
        "here), framed like the training footage.",
        metavar="FOLDER",
    )
    first_frame_model: str | None = setting(
        None,
        "Checkpoint folder of the image model that makes the first frames (models trained with --first-frame image); "
        "default: checkpoints/pix2pixhd of the workspace.",
        metavar="FOLDER",
    )
    style: int = setting(
        0, "Number of the style, from 0 (models trained with --feature-dims; see `v2v sample-style`).", ge=0
    )
    styles: str | None = setting(
        None, "Folder of styles from `v2v sample-style`; default: that of --work.", metavar="FOLDER"
    )
    edge_weights: str | None = setting(
        None,
        "Weights a1,...,a6 of the edge network's six outputs, from the finest to the coarsest, then the fused one "
        "(models of --method s-flow); each choice is another variant of the scene. Default: equal weights.",
        metavar="A1,...,A6",
    )
    edge_seed: int | None = setting(None, "Seed that draws these weights at random.", ge=0, lt=1 << 63)
    edge_variants: int = setting(
        0,
        "Number of variants to render side by side, with the seeds from --edge-seed on (default: from 0); 0 = off.",
        ge=0,
        le=16,
    )
    crf: int = setting(18, "Quality of the encoding, 0 (lossless) to 51 (worst).", ge=0, le=51)
    codec: str = setting("libx264", "Video encoder.")
    container: Literal["matroska", "y4m"] | None = setting(
        None, "Container on standard output: matroska, or y4m (raw, no time stamps); default: matroska."
    )
    device: str = setting("auto", f"{DEVICES}.")
    precision: Precision = setting("auto", PRECISION)
    threads: int = setting(0, "CPU threads of torch; 0 = the number of idle cores, adapted while rendering.", ge=0)

    _number = field_validator("fps", mode="before")(as_text)

    @field_validator("fps")
    @classmethod
    def _rate(cls, text: str | None) -> str | None:
        return None if text is None else str(parse_rate(text))


def _render(config: RenderConfig, options: RunOptions) -> list[str]:
    """Render; if the target is standard output, messages go to standard error instead."""
    from v2vkit.video.pipes import STANDARD, claimed_output

    if config.target != STANDARD:
        return _render_to(config, options, None)
    with claimed_output() as pipe, redirect_stdout(sys.stderr):
        return _render_to(config, options, pipe)


def _render_to(config: RenderConfig, options: RunOptions, pipe: "PipeWriter | None") -> list[str]:
    """Open everything that can fail, then run reading, conditioning, generation and writing in parallel."""
    from v2vkit.checkpoint.model_file import describe_checkpoint, find_model, load_model
    from v2vkit.inference.conditioned import conditioned_frames
    from v2vkit.inference.edge_variants import make_variants, parse_weights, render_variants, variant_distance
    from v2vkit.inference.first_frames import read_first_frames
    from v2vkit.inference.framing import squeezed
    from v2vkit.inference.session import Session, made_ahead, warm_up, write_each
    from v2vkit.inference.sources import problems_of
    from v2vkit.inference.styles import find_style
    from v2vkit.inference.views import side_by_side
    from v2vkit.video.sinks import open_sink

    _keep_source(config)
    _refuse_idle(config)
    threads = choose_threads(config.threads)
    checkpoint = find_model(Folder(options.work), config.checkpoint)
    generator, info = load_model(checkpoint)
    device = pick_device(config.device)
    first_frame_model = _first_frame_model(config, options, info)
    weights = None if config.edge_weights is None else parse_weights(config.edge_weights)
    variants = make_variants(generator.to(device), weights=weights, seed=config.edge_seed, number=config.edge_variants)
    session = Session(
        variants[0],
        halvings=info.halvings,
        first_frames=read_first_frames(config.first_frames, info),
        first_frame_model=None if first_frame_model is None else first_frame_model.to(device),
        style=find_style(Folder(options.work), config.styles, config.style, info),
        precision=config.precision,
    )
    sessions = [session, *(replace(session, generator=other) for other in variants[1:])]
    source = _open_source(config, info)
    frames = conditioned_frames(source, info, cuts=config.cuts, align=config.align, device=config.device)
    warm_up(session.generator, info.width, info.height, info.halvings, config.precision)
    if session.first_frame_model is not None:
        warm_up(session.first_frame_model, info.width, info.height, precision=config.precision)
    ahead = made_ahead(frames, device)
    rendered = session.render(ahead) if len(sessions) == 1 else render_variants(sessions, ahead)
    rendered = follow_idle_cores(rendered, threads)
    sink = open_sink(
        config.target,
        fps=source.fps,
        time_base=source.time_base,
        audio=source.audio,
        crf=config.crf,
        codec=config.codec,
        container=config.container,
        pipe=pipe,
        names=source.names if config.keep_names else (),
    )
    if threads.reduced and device.type == "cpu":
        print(f"Other programs use the CPU; torch's threads: {threads}.", flush=True)
    print(describe_checkpoint(Folder(options.work), checkpoint, info), flush=True)
    remarks = [f"{source.name}: {remark}" for remark in source.remarks]
    for note in filter(None, (source.note, squeezed(info, source), *remarks)):
        print(note, flush=True)

    def write(frame: "ConditionedFrame", image: "NDArray[np.uint8]") -> None:
        if len(sessions) > 1:
            distances.append(variant_distance(image, len(sessions)))
        picture = side_by_side(info.conditioning, frame, image) if config.compare else image
        sink.write(picture, pts=frame.frame.pts, duration=frame.frame.duration)

    # The network runs in this thread, which warmed it up: OpenMP keeps a team of threads for each calling thread, and
    # two teams would exceed the cores.
    count = missed = 0
    distances: list[float] = []
    with sink, progress(source.num_frames, desc="render") as shown:
        for frame in write_each(rendered, write, device):
            count, missed = count + 1, missed + (not frame.found)
            shown.update()
    print("\n".join([*sink.notes, _summary(config, source, count)]))
    if distances:
        mean = sum(distances) / len(distances)
        print(
            f"{len(sessions)} variants: they differ by {mean:.2f} of 255 levels (mean over pixels, pairs and frames)."
        )
    return [*problems_of(source, info, missed), *sink.problems]


def _summary(config: RenderConfig, source: "Source", count: int) -> str:
    """The final message: what was written."""
    from v2vkit.video.pipes import STANDARD, STANDARD_OUTPUT
    from v2vkit.video.sinks import NO_SOUND, sink_kind

    kind = sink_kind(config.target, config.container)
    target = STANDARD_OUTPUT if config.target == STANDARD else config.target
    lost = f" The sound is left out: {NO_SOUND[kind]}." if kind in NO_SOUND and source.audio is not None else ""
    if kind == "pictures":
        return f"{target}: {counted(count, 'picture')}.{lost}"
    return f"{target}: {counted(count, 'frame')}, {float(source.fps):g} frames per second.{lost}"


def _refuse_idle(config: RenderConfig) -> None:
    """Refuse settings of a video encoder where none is used."""
    from v2vkit.video.sinks import sink_kind

    kind = sink_kind(config.target, config.container)
    if config.keep_names and kind != "pictures":
        raise V2VError(
            "setting-unused", f"--keep-names names pictures, and {config.target} is no folder.", "Leave it out."
        )
    if kind in ("pictures", "y4m") and {"crf", "codec"} & config.model_fields_set:
        what = "y4m" if kind == "y4m" else config.target
        raise V2VError("setting-unused", f"--crf and --codec encode a video, which {what} is not.", "Leave them out.")


def _keep_source(config: RenderConfig) -> None:
    """Refuse to overwrite the source, also if the two paths lead to the same file.

    Raises:
        V2VError: TARGET is SOURCE.
    """
    from v2vkit.video.pipes import STANDARD

    if STANDARD in (config.source, config.target):
        return
    try:
        same = Path(config.target).samefile(config.source)
    except (OSError, ValueError):
        return  # one of them does not exist: opening it later raises a better error
    if same:
        what = "folder" if Path(config.source).is_dir() else "video"
        raise V2VError(
            "target-is-source",
            f"{config.target} is the source {what} {config.source} and would be overwritten.",
            "Name another target.",
        )


def _open_source(config: RenderConfig, info: "ModelInfo") -> "Source":
    from v2vkit.inference.sources import open_source, refuse_idle
    from v2vkit.video.options import VideoOptions

    refuse_idle(config.source, info, config.model_dump())
    given: dict[MapKind, str | None] = {"depth": config.depth, "densepose": config.densepose}
    return open_source(
        config.source,
        info,
        maps=config.maps,
        instances=config.instances,
        beside={kind: folder for kind, folder in given.items() if folder is not None},
        frames=config.frames,
        fps=None if config.fps is None else Fraction(config.fps),
        start=config.start,
        duration=config.duration,
        options=VideoOptions(config.stream, not config.keep_interlaced),
    )


def _first_frame_model(config: RenderConfig, options: RunOptions, info: "ModelInfo") -> "AnyGenerator | None":
    """The image model that makes the first frames; none where real ones are given."""
    from v2vkit.inference.first_frames import find_first_frame_model

    if config.first_frames is None:
        return find_first_frame_model(Folder(options.work), config.first_frame_model, info)
    if config.first_frame_model is not None:
        raise V2VError(
            "setting-conflict",
            "--first-frames and --first-frame-model both give the first frames.",
            "Give one of them.",
        )
    return None


def _check(config: RenderConfig) -> None:
    from v2vkit.video.sinks import check_sink

    check_sink(config.target, config.codec, config.container)


COMMAND = Command(
    name="render",
    config=RenderConfig,
    call=_render,
    check=_check,
)
