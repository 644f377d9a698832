"""`v2v render`: renders a video from a video, pictures, label maps or a workspace."""

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from fractions import Fraction
from threading import Event
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.config import Precision, SizeSetting, StageConfig, as_text, parse_rate, setting
from v2vkit.engine.cores import choose_threads, follow_idle_cores
from v2vkit.engine.devices import DEVICES, PRECISION, pick_device
from v2vkit.engine.interrupt import first_interrupt
from v2vkit.errors import V2VError, counted
from v2vkit.inference.backend_names import BACKEND, Backend
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.progress import progress
from v2vkit.stages.render_checks import (
    keep_first_part,
    refuse_idle_encoder,
    refuse_idle_history,
    refuse_idle_names,
    refuse_several,
    refuse_size_and_tile,
    refuse_state_target,
    state_settings,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.inference.conditioned import ConditionedFrame
    from v2vkit.inference.continuing import Rest
    from v2vkit.inference.session import Session
    from v2vkit.models.any_generator import AnyGenerator
    from v2vkit.video.label_files import MapKind
    from v2vkit.video.pipes import PipeWriter
    from v2vkit.video.stream import Source


_EDITS = ("relabel", "in_region", "objects", "in_frames", "track")
"""Settings of `parse_edits`."""


class RenderConfig(StageConfig):
    """Render a video with the finest checkpoint of the workspace.

    SOURCE is a video or a folder of pictures (face and pose models, and street models whose labels `v2v segment` made),
    a folder of label maps (street models), or with --maps a workspace with finished source maps. Otherwise source maps
    are made on the fly with the settings in the checkpoint. Shot cuts are found as in training, and every shot starts
    without history. Rendering is one pass in constant memory with one output frame per input frame: a video keeps its
    time stamps and audio; a folder or --maps gives a constant rate and no sound. TARGET is a video or, if it is a
    folder or ends in a slash, a folder of numbered pictures (000000.png; no sound). An existing video is replaced when
    the new one is complete, an existing folder only if it is empty or an earlier rendering. Ctrl-C completes TARGET
    with the frames so far; pressed twice, it leaves TARGET as it was.

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
    maps: bool = setting(False, "SOURCE is a workspace with finished annotations (labels, sketches, poses ...).")
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
        "Video or folder with a frame for each label map of SOURCE, such as a simulator's; models conditioned on edges "
        "or pictures need it.",
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
    retarget: bool = setting(
        False,
        "Give the landmarks (or the skeleton) of the video the proportions and the place of the training footage: per "
        "part of the face, or limb lengths, height and ground line. The first 48 frames of a shot are looked at first.",
    )
    paste_back: bool = setting(
        False,
        "Put the rendered face back into the frame of the video, with a soft edge and in its full size: for face swap "
        "and anonymisation. With --retarget, the face keeps its place.",
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
    style: str = setting(
        "0",
        "Number of the style, from 0, or a styles.json whose first style is taken (models trained with --feature-dims; "
        "see `v2v sample-style`).",
        metavar="N|FILE",
    )
    styles: str | None = setting(
        None, "Folder of styles from `v2v sample-style`; default: that of --work.", metavar="FOLDER"
    )
    track: bool | None = setting(
        None,
        "Give every object of the label maps one id through its shot, so that it keeps its style; default: if the "
        "training maps were tracked (`v2v track`), or if objects are found in a video.",
    )
    relabel: tuple[str, ...] = setting(
        (),
        "Replace a label by another one, by ids or names, such as tree=building. All are replaced at once, so "
        "tree=building and building=tree swap the two.",
        metavar="FROM=TO",
    )
    in_region: str | None = setting(
        None, "Relabel only in this rectangle of the frame, in pixels from the top left corner.", metavar="X,Y,W,H"
    )
    objects: tuple[int, ...] = setting(
        (), "Relabel only the object with this id in the instance maps (after tracking).", metavar="ID"
    )
    in_frames: str | None = setting(
        None, "Relabel only frames A to B - 1 of the output, counted from 0; A: and :B are open.", metavar="A:B"
    )
    refresh: int = setting(
        0, "Drop the history every N frames of a shot, cross-faded over 8 frames; 0 = never.", ge=0, metavar="N"
    )
    anchor_colours: bool = setting(
        False,
        "Keep the mean and contrast of the colours at those of the first 48 frames of the shot; slow changes of the "
        "scene are removed as well.",
    )
    max_frames: int | None = setting(None, "Stop after this many frames, as Ctrl-C does.", ge=1)
    save_state: str | None = setting(
        None, "Write the state after the last frame, from which --resume-state continues.", metavar="FILE"
    )
    resume_state: str | None = setting(
        None,
        "Continue a rendering that ended early. The same SOURCE continues after its last rendered frame, with the same "
        "frames as without a break; another SOURCE is taken as the continuation. TARGET gets the remaining frames "
        "only: name a new one.",
        metavar="FILE",
    )
    provenance: bool = setting(
        True,
        "Say in the metadata of the video (or of every picture) that it is synthetic, with program, version and model.",
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
    backend: Backend = setting("torch", BACKEND)
    size: SizeSetting | None = setting(
        None, "Size of the frames; default: that of the training footage, and the farther from it, the worse they look."
    )
    tile: int | None = setting(
        None,
        "Generate larger frames in overlapping tiles of this many pixels, where a whole frame does not fit into "
        "memory. Tiles differ a little in brightness.",
        ge=32,
    )

    _number = field_validator("fps", "style", mode="before")(as_text)

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
    from v2vkit.checkpoint.find_model import describe_checkpoint, find_model
    from v2vkit.checkpoint.model_file import load_model
    from v2vkit.checkpoint.size import resized
    from v2vkit.inference.backends import choose_backend
    from v2vkit.inference.conditioned import conditioned_frames
    from v2vkit.inference.continuing import until
    from v2vkit.inference.edge_variants import make_variants, parse_weights, render_variants, variant_distance
    from v2vkit.inference.edits import open_editor, parse_edits
    from v2vkit.inference.first_frames import read_first_frames
    from v2vkit.inference.framing import squeezed
    from v2vkit.inference.provenance import synthetic_comment
    from v2vkit.inference.session import Session, prepare_ahead, warm_up, write_each
    from v2vkit.inference.sources import problems_of
    from v2vkit.inference.state import save_state
    from v2vkit.inference.styles import find_style
    from v2vkit.inference.tiles import tiled
    from v2vkit.inference.transfer import at_size, find_proportions, paste_back, refuse_paste_back
    from v2vkit.inference.views import side_by_side
    from v2vkit.video.sinks import end_sound, open_sink
    from v2vkit.video.targets import keep_source

    keep_source(config.source, config.target)
    if config.resume_state is not None:
        keep_first_part(config.target)
    if config.save_state is not None:
        refuse_state_target(config.save_state, config.source, config.target)
    refuse_idle_encoder(config.target, config.container, config.model_fields_set)
    if config.keep_names:
        refuse_idle_names(config.target, config.container)
    refuse_size_and_tile(
        config.size, config.tile, maps=config.maps, backend=config.backend, variants=config.edge_variants
    )
    threads = choose_threads(config.threads)
    checkpoint = find_model(Folder(options.work), config.checkpoint)
    generator, info = load_model(checkpoint)
    refuse_idle_history(config.refresh, info)
    if config.paste_back:
        refuse_paste_back(info, compare=config.compare)
    trained, info = info, resized(info, config.size)
    edits = parse_edits(info, **{name: config.value(name) for name in _EDITS})
    device = pick_device(config.device)
    first_frame_model = _first_frame_model(config, options, trained)
    weights = None if config.edge_weights is None else parse_weights(config.edge_weights)
    variants = make_variants(generator.to(device), weights=weights, seed=config.edge_seed, number=config.edge_variants)
    session = Session(
        variants[0],
        downsamplings=info.downsamplings,
        first_frames=read_first_frames(config.first_frames, info),
        first_frame_model=None if first_frame_model is None else first_frame_model.to(device),
        style=find_style(Folder(options.work), config.styles, config.style, info),
        precision=config.precision,
        refresh=config.refresh,
        anchor_colours=config.anchor_colours,
    )
    if len(variants) > 1:
        refuse_several(config.model_fields_set)
    sessions = [session, *(replace(session, generator=other) for other in variants[1:])]
    source, work = _open_source(config, info), Folder(options.work)
    editor = open_editor(info, source, edits)
    frames = conditioned_frames(
        source,
        info,
        cuts=config.cuts,
        align=config.align,
        device=config.device,
        editor=editor,
        target=at_size(find_proportions(trained, work), trained, config.size) if config.retarget else None,
        paste_back=config.paste_back,
    )
    if config.tile is None:
        warm_up(session.generator, info.width, info.height, info.downsamplings, config.precision)
        backend = choose_backend(config.backend, session.generator, info, config.precision)
        session.forward = backend.forward
        told = [] if config.backend == "torch" else [str(backend)]
    else:
        told = []
        for each in sessions:
            each.forward = tiled(each.generator, config.tile, info.generator)
        size = (info.width, info.height)
        warm_up(session.generator, *size, info.downsamplings, config.precision, session.forward)
    rest = _resume(config, session, info, source, frames)
    source, frames = rest.source, rest.frames
    if session.first_frame_model is not None:
        warm_up(session.first_frame_model, info.width, info.height, precision=config.precision)
    stop = Event()
    ahead = until(prepare_ahead(frames, device), stop, most=config.max_frames)
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
        comment=synthetic_comment(info) if config.provenance else None,
    )
    if threads.reduced and device.type == "cpu":
        print(f"Other programs use the CPU; torch's threads: {threads}.", flush=True)
    print(describe_checkpoint(Folder(options.work), checkpoint, info), flush=True)
    remarks = [f"{source.name}: {remark}" for remark in source.remarks]
    notes = () if editor is None else editor.notes
    for note in filter(None, (*told, rest.note, source.note, squeezed(info, source), *notes, *remarks)):
        print(note, flush=True)

    def write(frame: "ConditionedFrame", image: "NDArray[np.uint8]") -> None:
        if len(sessions) > 1:
            distances.append(variant_distance(image, len(sessions)))
        picture = side_by_side(info.conditioning, frame, image) if config.compare else image
        picture = paste_back(frame, image) if config.paste_back else picture
        sink.write(picture, pts=frame.frame.pts, duration=frame.frame.duration)

    # The network runs in this thread, which warmed it up: OpenMP keeps a team of threads for each calling thread, and
    # two teams would exceed the cores.
    count = missed = 0
    distances: list[float] = []
    with sink, progress(source.num_frames, desc="render") as shown, first_interrupt(_STOPPING, stop) as asked:
        for frame in write_each(rendered, write, device):
            count, missed = count + 1, missed + (not frame.found)
            shown.update()
        if stop.is_set():
            end_sound(sink)
        if asked.is_set() and not count:
            raise KeyboardInterrupt
    if config.save_state is not None:
        done, settings = rest.num_before + count, state_settings(dict(config))
        save_state(config.save_state, session, info, source=source.name, num_frames=done, settings=settings)
    print("\n".join([*sink.notes, _summary(config, source, count)]))
    if distances:
        mean = sum(distances) / len(distances)
        print(
            f"{len(sessions)} variants: they differ by {mean:.2f} of 255 levels (mean over pixels, pairs and frames)."
        )
    edited = [] if editor is None else editor.problems()
    stopped = [f"stopped by Ctrl-C after {counted(count, 'frame')} of {source.name}"] if asked.is_set() else []
    return [*stopped, *problems_of(source, info, missed), *edited, *sink.problems]


def _summary(config: RenderConfig, source: "Source", count: int) -> str:
    """The final message: what was written."""
    from v2vkit.video.pipes import STANDARD, STANDARD_OUTPUT
    from v2vkit.video.sinks import NO_METADATA, NO_SOUND, sink_kind

    kind = sink_kind(config.target, config.container)
    target = STANDARD_OUTPUT if config.target == STANDARD else config.target
    lost = f" The sound is left out: {NO_SOUND[kind]}." if kind in NO_SOUND and source.audio is not None else ""
    if config.provenance and kind in NO_METADATA:
        lost += " It does not say that it is synthetic: y4m has no metadata."
    if kind == "pictures":
        return f"{target}: {counted(count, 'picture')}.{lost}"
    return f"{target}: {counted(count, 'frame')}, {float(source.fps):g} frames per second.{lost}"


def _open_source(config: RenderConfig, info: "ModelInfo") -> "Source":
    from v2vkit.inference.sources import open_source, refuse_settings_without_effect
    from v2vkit.video.options import VideoOptions

    refuse_settings_without_effect(config.source, info, config.model_dump())
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
        track=config.track,
    )


def _resume(
    config: RenderConfig,
    session: "Session",
    info: "ModelInfo",
    source: "Source",
    frames: "Iterator[ConditionedFrame]",
) -> "Rest":
    """What is left to render: everything, or the rest after a saved state, which is put into the session."""
    from v2vkit.inference.continuing import Rest, rest_of
    from v2vkit.inference.state import load_state

    if config.resume_state is None:
        return Rest(source, frames)
    state = load_state(config.resume_state, session, info, settings=state_settings(dict(config)))
    return rest_of(source, frames, state, session)


def _first_frame_model(config: RenderConfig, options: RunOptions, info: "ModelInfo") -> "AnyGenerator | None":
    """The image model that makes the first frames; none where real ones are given. `info`: as trained."""
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


_STOPPING = "Stopping: TARGET is completed with the frames so far. Ctrl-C again leaves it as it was."


def _check(config: RenderConfig) -> None:
    from v2vkit.video.sinks import check_sink

    check_sink(config.target, config.codec, config.container)


COMMAND = Command(
    name="render",
    config=RenderConfig,
    call=_render,
    check=_check,
)
