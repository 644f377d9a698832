"""Renders held-out shots from their maps and measures every frame, for `v2v evaluate`."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice, tee

import numpy as np

from v2vkit.arrays import Image
from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.conditions.clips import ClipReader
from v2vkit.evaluation.compare import Before, Row, evaluate_clip, measure_real
from v2vkit.evaluation.metrics.contract import OURS, REAL_COARSE, SOURCE
from v2vkit.evaluation.sheet import Sheet
from v2vkit.inference.conditioned import ConditionedFrame, stored
from v2vkit.inference.rollout import limit_resolution
from v2vkit.inference.workspace import annotated_frames
from v2vkit.progress import Progress, progress
from v2vkit.stages.evaluate_plan import Opened, length


def measure_shots(opened: Opened, sheet: Sheet) -> list[Row]:
    """Metrics of every method on every frame; the longest shot also fills the contact sheet."""
    rows: list[Row] = []
    longest = max(opened.shots, key=length)
    real = [] if opened.real is None else opened.real.shots
    total = sum(length(shot) for shot in (*opened.shots, *real))
    with progress(total, desc="evaluate") as shown:
        for shot in opened.shots:
            rows += _measure_shot(opened, shot, sheet if shot is longest else None, shown)
        for shot in real:
            assert opened.real is not None
            measure_real(shot[0].name, _counted(_real(opened.real.reader, shot), shown), opened.metrics)
    return rows


def _measure_shot(opened: Opened, shot: list[ClipInfo], sheet: Sheet | None, shown: Progress) -> Iterator[Row]:
    info, reader, paired = opened.info, opened.reader, opened.real is None
    rendered, conditioned = tee(_rendered(opened, shot))
    sources: Iterator[Image] = (info.conditioning.preview(frame.s) for frame, _ in conditioned)
    ours = _counted((image for _, image in rendered), shown)
    real = _real(reader, shot) if paired else None
    if sheet is not None:
        sources, ours = sheet.keep(sources), sheet.keep(ours)
        real = None if real is None else sheet.keep(real)
    before: Before | None = None
    for clip in shot:
        frames = range(clip.num_frames)
        methods: dict[str, Iterator[Image]] = {
            OURS: islice(ours, clip.num_frames),
            SOURCE: islice(sources, clip.num_frames),
        }
        if info.downsamplings and paired:
            methods[REAL_COARSE] = (limit_resolution(reader.frame(clip.name, t), info.downsamplings) for t in frames)
        yield from evaluate_clip(
            clip.name,
            None if real is None else islice(real, clip.num_frames),
            methods,
            metrics=opened.metrics,
            before=before,
            beside={name: map(partial(read, clip.name), frames) for name, read in opened.beside.items()},
            skip_first=opened.skip_first,
        )
        first = before.first if before is not None else reader.frame(shot[0].name, 0) if paired else None
        before = Before(shot[0].name, clip.num_frames + (0 if before is None else before.num_frames), first)


def _rendered(opened: Opened, shot: list[ClipInfo]) -> Iterator[tuple[ConditionedFrame, Image]]:
    """The model's frames for a shot, from its maps (and its first real frames where the model needs them)."""
    info = opened.info
    given = list(islice(_real(opened.reader, shot), info.generator.history)) if info.first_frame == "real" else None
    session = replace(opened.session, first_frames=None if given is None else np.stack(given))
    flow, regions = info.generator.takes_flow or session.given_flow, session.style is not None
    frames = annotated_frames(opened.reader, info.conditioning, [shot], flow=flow, regions=regions)
    return session.render(stored(frame, info) for frame in frames)


def _real(reader: ClipReader, shot: list[ClipInfo]) -> Iterator[Image]:
    return (reader.frame(clip.name, t) for clip in shot for t in range(clip.num_frames))


def _counted(frames: Iterator[Image], shown: Progress) -> Iterator[Image]:
    for frame in frames:
        shown.update()
        yield frame
