"""`v2v render`: renders a video from a video, pictures, label maps or a workspace."""

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from fractions import Fraction
from threading import Event
from typing import TYPE_CHECKING

from v2vkit.artifacts.folder import Folder
from v2vkit.engine.cores import choose_threads, follow_idle_cores
from v2vkit.engine.devices import pick_device
from v2vkit.engine.interrupt import first_interrupt
from v2vkit.errors import V2VError, counted
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
from v2vkit.stages.render_config import RenderConfig

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
