"""`v2v render`: renders a video from a video, pictures, label maps or a workspace."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from statistics import fmean
from threading import Event
from typing import TYPE_CHECKING

from v2vkit.engine.cores import Threads, choose_threads, follow_idle_cores
from v2vkit.engine.interrupt import first_interrupt
from v2vkit.errors import counted
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.progress import progress
from v2vkit.stages.render_checks import (
    keep_first_part,
    refuse_idle_encoder,
    refuse_idle_names,
    refuse_size_and_tile,
    refuse_state_target,
    state_settings,
)
from v2vkit.stages.render_config import RenderConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.inference.conditioned import ConditionedFrame
    from v2vkit.stages.render_plan import Rendering
    from v2vkit.video.pipes import PipeWriter
    from v2vkit.video.sinks import Sink
    from v2vkit.video.stream import Source


def _render(config: RenderConfig, options: RunOptions) -> list[str]:
    """Render; if the target is standard output, messages go to standard error instead."""
    from v2vkit.video.pipes import STANDARD, claimed_output

    if config.target != STANDARD:
        return _render_to(config, options, None)
    with claimed_output() as pipe, redirect_stdout(sys.stderr):
        return _render_to(config, options, pipe)


def _render_to(config: RenderConfig, options: RunOptions, pipe: "PipeWriter | None") -> list[str]:
    """Open everything that can fail, then run reading, conditioning, generation and writing in parallel."""
    from v2vkit.inference.provenance import synthetic_comment
    from v2vkit.inference.sources import problems_of
    from v2vkit.inference.state import save_state
    from v2vkit.stages.render_plan import open_rendering
    from v2vkit.video.sinks import open_sink

    _refuse(config)
    threads = choose_threads(config.threads)
    opened = open_rendering(config, options)
    source = opened.source
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
        comment=synthetic_comment(opened.info) if config.provenance else None,
    )
    if threads.reduced and opened.device.type == "cpu":
        print(f"Other programs use the CPU; torch's threads: {threads}.", flush=True)
    print("\n".join(opened.notes), flush=True)
    written = _write(config, opened, sink, threads)
    if config.save_state is not None:
        num_frames, settings = opened.num_before + written.num_frames, state_settings(config)
        session = opened.sessions[0]
        save_state(
            config.save_state, session, opened.info, source=source.name, num_frames=num_frames, settings=settings
        )
    print("\n".join([*sink.notes, _summary(config, source, written.num_frames)]))
    if written.distances:
        print(
            f"{len(opened.sessions)} variants: they differ by {fmean(written.distances):.2f} of 255 levels (mean over "
            "pixels, pairs and frames)."
        )
    until = f"stopped by Ctrl-C after {counted(written.num_frames, 'frame')} of {source.name}"
    missed = problems_of(source, opened.info, written.num_missed)
    return [*([until] if written.stopped else []), *missed, *opened.problems(), *sink.problems]


def _refuse(config: RenderConfig) -> None:
    """Refuse settings that do not fit together or would destroy a file."""
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


@dataclass
class _Written:
    """What has been written.

    Attributes:
        num_frames: number of frames.
        num_missed: those in which no subject was found.
        distances: how much the variants of each frame differ, where there are several.
        stopped: by Ctrl-C.
    """

    num_frames: int = 0
    num_missed: int = 0
    distances: list[float] = field(default_factory=list)
    stopped: bool = False


def _write(config: RenderConfig, opened: "Rendering", sink: "Sink", threads: "Threads") -> _Written:
    """Render all frames into `sink`, which is completed.

    Raises:
        KeyboardInterrupt: Ctrl-C before the first frame.
    """
    from v2vkit.inference.continuing import until
    from v2vkit.inference.edge_variants import render_variants, variant_distance
    from v2vkit.inference.session import prepare_ahead, write_each
    from v2vkit.inference.transfer import paste_back
    from v2vkit.inference.views import side_by_side
    from v2vkit.video.sinks import end_sound

    sessions, device, written = opened.sessions, opened.device, _Written()

    def write(frame: "ConditionedFrame", image: "NDArray[np.uint8]") -> None:
        if len(sessions) > 1:
            written.distances.append(variant_distance(image, len(sessions)))
        picture = side_by_side(opened.info.conditioning, frame, image) if config.compare else image
        picture = paste_back(frame, image) if config.paste_back else picture
        sink.write(picture, pts=frame.frame.pts, duration=frame.frame.duration)

    stop = Event()
    ahead = until(prepare_ahead(opened.frames, device), stop, most=config.max_frames)
    rendered = sessions[0].render(ahead) if len(sessions) == 1 else render_variants(sessions, ahead)
    # The network runs in this thread, which warmed it up: OpenMP keeps a team of threads for each calling thread, and
    # two teams would exceed the cores.
    rendered = follow_idle_cores(rendered, threads)
    number = opened.source.num_frames
    with sink, progress(number, desc="render") as shown, first_interrupt(_STOPPING, stop) as asked:
        for frame in write_each(rendered, write, device):
            written.num_frames += 1
            written.num_missed += not frame.found
            shown.update()
        if stop.is_set():
            end_sound(sink)
        if asked.is_set() and not written.num_frames:
            raise KeyboardInterrupt
    written.stopped = asked.is_set()
    return written


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
