"""`v2v live`: renders a camera or another stream as it comes; late frames are dropped and counted."""

import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.config import MAX_THREADS, Precision, SizeSetting, StageConfig, as_text, setting
from v2vkit.engine.cores import choose_threads, follow_idle_cores
from v2vkit.engine.devices import DEVICES, PRECISION
from v2vkit.errors import V2VError
from v2vkit.inference.backend_names import BACKEND, Backend
from v2vkit.inference.settling import SETTLE
from v2vkit.pipeline.stage import Command, RunOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.checkpoint.model_file import ModelInfo
    from v2vkit.inference.conditioned import ConditionedFrame
    from v2vkit.inference.newest import LiveCounts
    from v2vkit.inference.session import Session
    from v2vkit.video.live_sinks import CameraSink, WindowSink
    from v2vkit.video.pipes import PipeWriter
    from v2vkit.video.sinks import Sink
    from v2vkit.video.stream import InputFrame, Source

WINDOW, CAMERA = "window", "camera"
_EVERY = 2.0
"""Seconds between two lines about rate and latency."""


class LiveConfig(StageConfig):
    """Render a camera or another stream with the finest checkpoint of the workspace, as it comes.

    SOURCE is anything that `v2v render` takes, - (a video on standard input) or a URL (rtsp, http, udp ...); with
    --camera there is none. Files are played at their own rate. Every rendering begins from the newest frame: frames
    that arrive in the meantime are dropped and counted. No frame waits for later ones: gaps are filled with the last
    result, smoothing uses past frames alone, the first crop window is kept, and there are no shot cuts. There is no
    sound. Rate, latency (from the arrival of a frame until it is written) and dropped frames are shown while it runs.
    It ends with the stream, with q in the window, or with Ctrl-C, which leaves a complete file.
    """

    source: str | None = setting(
        None, "Video, folder, URL or - (standard input); none with --camera.", argument=True, metavar="SOURCE"
    )
    camera: int | None = setting(None, "Number of a camera, from 0.", ge=0)
    to: str = setting(
        WINDOW,
        "Where the frames go: window, camera (a virtual camera; extra `camera`), a video or folder to write, or - "
        "(standard output).",
        metavar="TARGET",
    )
    checkpoint: str | None = setting(None, "Checkpoint, such as spatial-1; default: the finest.")
    maps: bool = setting(False, "SOURCE is a workspace with finished annotations (labels, sketches, poses ...).")
    align: bool = setting(
        False, "Zoom and shift so that the first face (or body) has the size and position of the training footage."
    )
    compare: bool = setting(False, "Show frame | source map | output side by side.")
    duration: float | None = setting(None, "Stop after this many seconds.", gt=0, allow_inf_nan=False)
    style: str = setting(
        "0",
        "Number of the style, from 0, or a styles.json whose first style is taken (models trained with --feature-dims; "
        "see `v2v sample-style`).",
        metavar="N|FILE",
    )
    styles: str | None = setting(
        None, "Folder of styles from `v2v sample-style`; default: that of --work.", metavar="FOLDER"
    )
    settle: int = setting(0, SETTLE, ge=0, le=1000, metavar="N")
    provenance: bool = setting(
        True,
        "Say in the metadata of the video (or of every picture) that it is synthetic, with program, version and model.",
    )
    container: Literal["matroska", "y4m"] | None = setting(
        None, "Container on standard output: matroska, or y4m (raw, no time stamps); default: matroska."
    )
    device: str = setting("auto", f"{DEVICES}.")
    precision: Precision = setting("auto", PRECISION)
    threads: int = setting(
        0, "CPU threads of torch; 0 = the number of idle cores, adapted while rendering.", ge=0, le=MAX_THREADS
    )
    backend: Backend = setting("torch", BACKEND)
    size: SizeSetting | None = setting(None, "Size of the frames; default: that of the training footage.")

    _number = field_validator("style", mode="before")(as_text)


def _live(config: LiveConfig, options: RunOptions) -> list[str]:
    """Render; if the target is standard output, messages go to standard error instead."""
    from v2vkit.video.pipes import STANDARD, claimed_output

    if config.to != STANDARD:
        return _live_to(config, options, None)
    with claimed_output() as pipe, redirect_stdout(sys.stderr):
        return _live_to(config, options, pipe)


def _live_to(config: LiveConfig, options: RunOptions, pipe: "PipeWriter | None") -> list[str]:
    """Open everything that can fail, then render until the stream ends or somebody stops it."""
    from v2vkit.errors import counted
    from v2vkit.inference.edits import NO_EDITS, open_editor
    from v2vkit.inference.newest import LiveCounts, render_live
    from v2vkit.inference.sources import problems_of
    from v2vkit.inference.views import side_by_side

    threads = choose_threads(config.threads)
    session, info, notes = _open_session(config, Folder(options.work))
    source = _open_source(config, info)
    editor = open_editor(info, source, NO_EDITS)
    sink = _open_sink(config, info, source, pipe)
    tracked = [] if editor is None else ["Objects are tracked while rendering, without flow."]
    print("\n".join([*notes, *tracked]), flush=True)
    counts = LiveCounts()

    def write(frame: "ConditionedFrame", image: "NDArray[np.uint8]") -> None:
        picture = side_by_side(info.conditioning, frame, image) if config.compare else image
        sink.write(picture, pts=frame.frame.pts, duration=frame.frame.duration)

    rendered = render_live(
        source,
        _arriving(source),
        info,
        session,
        write,
        counts,
        align=config.align,
        device=config.device,
        editor=editor,
    )
    with sink:
        try:
            ended = _until_stopped(config, follow_idle_cores(rendered, threads), counts, sink)
        except KeyboardInterrupt:
            ended = "Stopped."
        finally:
            with suppress(ValueError):  # it is running where Ctrl-C came in the middle of a frame
                rendered.close()
    print(f"{ended} {counts.summary(time.monotonic())}")
    print(f"{counted(counts.shown, 'frame')} in {config.to}; each took: {counts.parts()}")
    print("\n".join(sink.notes), end="\n" if sink.notes else "")
    return [*problems_of(source, info, counts.missed), *sink.problems]


def _open_session(config: LiveConfig, work: Folder) -> "tuple[Session, ModelInfo, list[str]]":
    """The model, which has rendered one frame for nothing, its description, and sentences about both."""
    from v2vkit.checkpoint.find_model import describe_checkpoint, find_model
    from v2vkit.inference.open_session import open_model, open_session, start_session

    checkpoint = find_model(work, config.checkpoint)
    model = open_model(checkpoint, device=config.device, settle=config.settle, size=config.size)
    info = model.info
    session = open_session(
        model, work, style=config.style, styles=config.styles, precision=config.precision, settle=config.settle
    )
    backend = start_session(session, info, config.backend)
    notes = [describe_checkpoint(work, checkpoint, info)]
    if config.backend != "torch":
        notes.append(str(backend))
    if info.first_frame == "real" and info.generator.history:
        notes.append(
            "This model was trained to begin from real frames (--first-frame real); here it begins from nothing."
        )
    return session, info, notes


def _until_stopped(
    config: LiveConfig, rendered: "Iterator[object]", counts: "LiveCounts", sink: "Sink | WindowSink | CameraSink"
) -> str:
    """Run until the stream ends, its window is closed or --duration is over; returns which. Prints the rate."""
    told = time.monotonic()
    for _ in rendered:
        now = time.monotonic()
        if now - told >= _EVERY:
            told = now
            print(counts.summary(now), flush=True)
        if getattr(sink, "closed", False):
            return "The window was closed."
        if config.duration is not None and counts.started is not None and now - counts.started >= config.duration:
            return "--duration is over."
    return "The stream has ended."


def _arriving(source: "Source") -> "Iterator[InputFrame]":
    """The frames with time stamps, which dropped frames leave gaps in; those of files at their own rate."""
    from v2vkit.inference.newest import paced

    frames = source.frames()
    if source.repeatable:
        frames = paced(frames, fps=source.fps, time_base=source.time_base)
    if source.time_base is not None:
        return frames
    return (replace(frame, pts=number) for number, frame in enumerate(frames))


def _open_source(config: LiveConfig, info: "ModelInfo") -> "Source":
    from v2vkit.inference.sources import open_source, refuse_settings_without_effect
    from v2vkit.video.camera import open_camera_source

    is_stream = config.source is not None and "://" in config.source and not config.maps
    captured = config.source if is_stream else config.camera
    if captured is not None:
        if info.generator.takes_flow:
            raise V2VError(
                "flow-required",
                "This model (COVST) warps its features with flow that has to be given; a camera gives none.",
                "Give a workspace with maps and flow, and --maps.",
            )
        return open_camera_source(captured)
    assert config.source is not None, "checked before"
    refuse_settings_without_effect(config.source, info, {"maps": config.maps, "align": config.align})
    return open_source(config.source, info, maps=config.maps)


def _open_sink(
    config: LiveConfig, info: "ModelInfo", source: "Source", pipe: "PipeWriter | None"
) -> "Sink | WindowSink | CameraSink":
    from v2vkit.inference.provenance import synthetic_comment
    from v2vkit.video.live_sinks import CameraSink, WindowSink
    from v2vkit.video.sinks import open_sink

    if config.to == WINDOW:
        return WindowSink()
    if config.to == CAMERA:
        return CameraSink(source.fps)
    time_base = source.time_base or 1 / source.fps
    comment = synthetic_comment(info) if config.provenance else None
    return open_sink(
        config.to, fps=source.fps, time_base=time_base, container=config.container, pipe=pipe, comment=comment
    )


def _check(config: LiveConfig) -> None:
    if (config.source is None) == (config.camera is None):
        raise V2VError(
            "source-required" if config.source is None else "setting-conflict",
            "One source is needed: SOURCE or --camera.",
            "Give a video, a URL, - for standard input, or --camera 0.",
        )
    if config.camera is not None and config.maps:
        raise V2VError("setting-unused", "--maps is for a workspace, which a camera is not.", "Leave it out.")
    if config.size is not None and config.maps:
        raise V2VError(
            "setting-conflict", "Finished maps (--maps) have a size, and --size is another.", "Leave one out."
        )
    if config.to in (WINDOW, CAMERA):
        from v2vkit.video.live_sinks import check_live_sink

        if config.container is not None:
            raise V2VError(
                "setting-conflict", f"--container is for standard output, which {config.to} is not.", "Leave it out."
            )
        check_live_sink(config.to)
        return
    from v2vkit.video.sinks import check_sink
    from v2vkit.video.targets import keep_source

    check_sink(config.to, "libx264", config.container)
    if config.source is not None:
        keep_source(config.source, config.to)


COMMAND = Command(name="live", config=LiveConfig, call=_live, check=_check)
