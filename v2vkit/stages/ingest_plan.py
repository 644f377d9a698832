"""The plan of `v2v ingest`: usable sources, their shots as clips, and the clips of each shard."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING

from v2vkit.artifacts.clip_source import ClipSource, PicturesBeside
from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.config import DEFAULT_RATE
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Plan
from v2vkit.progress import progress
from v2vkit.stages.ingest_face import crop_around_face, open_face
from v2vkit.stages.ingest_flow import check_flow, match_flow, with_flow

if TYPE_CHECKING:
    from v2vkit.estimators.base import FaceEstimator
    from v2vkit.stages.ingest import IngestConfig
    from v2vkit.video.collect import OpenedSource
    from v2vkit.video.footage import Footage
    from v2vkit.video.label_files import Maps
    from v2vkit.video.limits import Limits
    from v2vkit.video.paired import Pictures
    from v2vkit.video.shots import ClipRange, Shots

_NOTICEABLE = Fraction(102, 100)
"""Ratio of aspects or frame rates from which a difference is reported."""


def plan_ingest(config: "IngestConfig") -> Plan:
    """Read every source once and plan its clips and shards.

    All maps are checked first, because that is quick and finds the user's mistakes.

    Raises:
        V2VError: a map is wrong, or nothing is left to ingest.
    """
    from v2vkit.video.limits import Limits

    find_face = open_face(config.face, config.face_weights) if config.crop == "face" else None
    opened_sources, skipped = _open_sources(config)
    rate = config.fps
    limits = Limits.typed(config.start, config.duration, config.max_frames)
    hint = "Give videos that play from beginning to end, or folders of numbered images."
    found: list[tuple[OpenedSource, Shots]] = []
    counts = [_count_read(opened, limits, rate) for opened in opened_sources]
    total = None if None in counts else sum(count or 0 for count in counts)
    with progress(total, desc="reading") as shown:
        for opened in opened_sources:
            try:
                shots = _find_shots(config, opened, limits, rate, shown.update)
            except V2VError as error:
                skipped[opened.source.path] = error.message
                hint = error.hint if len(opened_sources) == 1 else hint
                continue
            matched = _match(config, opened, shots)
            found.append((replace(matched, footage=replace(opened.footage, fps=rate or opened.footage.fps)), shots))
            check_flow(config.flow_maps, found[-1][0], shots)
            troubles = list(shots.problems) if shots.clip_ranges else [*shots.problems, _too_short(config, shots)]
            if troubles:
                skipped[opened.source.path] = "; ".join(troubles)
            if shots.clip_ranges and shots.short:
                where = ", ".join(f"{start}-{stop - 1}" for start, stop in shots.short)
                text = f"{opened.source.path}: left out shots of fewer than {config.min_frames} frames: {where}"
                shown.write(text)
    clips = [clip for opened, shots in found for clip in _clips(config, opened, shots, find_face, skipped)]
    if not clips:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in skipped.items())
        raise V2VError("source-unusable", f"Nothing can be ingested. {reasons}", _advice(config, found) or hint)
    if notes := list(_label_notes(config, [opened for opened, shots in found if shots.clip_ranges])):
        skipped["label maps"] = " ".join(notes)
    for note in _notes(config, [opened.footage for opened, shots in found if shots.clip_ranges]):
        print(note, file=sys.stderr)
    return Plan(pack(clips, config.shard_frames), skipped)


def _open_sources(config: "IngestConfig") -> "tuple[list[OpenedSource], dict[str, str]]":
    """The sources with their maps, and path -> reason for what is left out; remarks are printed."""
    from v2vkit.video.collect import collect
    from v2vkit.video.sources import left_out, unsearched_folders

    sources = config.find_sources()
    known = [*config.every_folder.values(), *([] if config.picture is None else [config.picture])]
    for folder, names in unsearched_folders(config.sources, known=known).items():
        text = f"{folder} holds footage itself, so its sub-folders are not entered: {', '.join(names)}; name them too."
        print(text, file=sys.stderr)
    opened_sources, skipped = collect(
        sources, config.map_folders, config.label_rules, fps=config.fps or DEFAULT_RATE, pictures=config.picture
    )
    opened_sources = with_flow(config.flow_maps, opened_sources, several=len(sources) > 1)
    skipped |= left_out(config.sources)
    _refuse_slower(opened_sources, config.fps)
    for opened in opened_sources:
        for remark in opened.footage.remarks:
            print(f"{opened.source.path}: {remark}", file=sys.stderr)
    return opened_sources, skipped


def _find_shots(
    config: "IngestConfig",
    opened: "OpenedSource",
    limits: "Limits",
    rate: Fraction | None,
    advance: Callable[[int], object],
) -> "Shots":
    from v2vkit.video.shots import find_shots
    from v2vkit.video.subsampling import kept_rate

    return find_shots(
        opened.source,
        fps=opened.footage.fps,
        rate=kept_rate(opened.footage.fps, rate),
        cuts=config.cuts,
        limits=limits,
        min_length=config.min_frames,
        max_length=config.clip_frames,
        whole=bool(opened.maps) or opened.pictures is not None,
        progress=advance,
    )


def _match(config: "IngestConfig", opened: "OpenedSource", shots: "Shots") -> "OpenedSource":
    """The source with its maps and pictures matched to its frames.

    Raises:
        V2VError: they do not fit, perhaps because the source is damaged, which is said.
    """
    from v2vkit.video.label_files import match_maps
    from v2vkit.video.paired import match_pictures

    pictures = opened.pictures
    try:
        maps = tuple(
            match_flow(config.flow_maps, opened.source, shots.num_read, maps)
            if maps.what == "flow"
            else match_maps(opened.source, shots.num_read, maps, sparse=config.label_maps.may_lack(maps.what))
            for maps in opened.maps
        )
        if pictures is not None:
            pictures = match_pictures(opened.source, shots.num_read, pictures)
    except V2VError as error:
        if not shots.problems:
            raise
        raise V2VError(
            error.code, f"{error.message} It may be because of this: {'; '.join(shots.problems)}.", error.hint
        ) from None
    return replace(opened, maps=maps, pictures=pictures)


def _notes(config: "IngestConfig", footage: "list[Footage]") -> Iterator[str]:
    """Notes on probable mistakes: one line per stretched shape of source, and one on differing frame rates."""
    for width, height in dict.fromkeys((each.width, each.height) for each in footage):
        if config.size is None or config.crop != "none":
            continue
        own, new = Fraction(width, height), Fraction(*config.size)
        if max(own, new) > min(own, new) * _NOTICEABLE:
            ways = "--crop center or --crop face keeps" if new == 1 else "--crop center keeps"
            yield f"{width}x{height} is squeezed from aspect {float(own):.2f} to {float(new):.2f}; {ways} the shape."
    rates = sorted({each.fps for each in footage})
    if rates[-1] > rates[0] * _NOTICEABLE:
        listed = ", ".join(f"{float(rate):.5g}" for rate in rates)
        yield f"Frame rates {listed}: flow and motion differ between clips; --fps {rates[0]} makes them equal."


def _label_notes(config: "IngestConfig", opened_sources: "list[OpenedSource]") -> Iterator[str]:
    """Notes on suspicious label ids, although each is allowed."""
    from v2vkit.conditions.label_report import mask_problem, table_problem

    ids = frozenset[int]().union(*(opened.label_ids for opened in opened_sources))
    if problem := mask_problem(ids, config.label_maps.num_labels):
        yield problem
    if (table := config.label_maps.table) is not None and (problem := table_problem(ids, table)):
        yield problem
    for old, new in config.label_rules.ids:
        if new not in ids and config.label_maps.remap is None:  # which changes ids once more
            yield f"--ids {old}={new}: no label map holds the id {old}."


def _refuse_slower(opened_sources: "list[OpenedSource]", rate: Fraction | None) -> None:
    """Refuse sources with a lower frame rate than --fps: frames are never duplicated.

    Raises:
        V2VError: a source has a lower frame rate.
    """
    from v2vkit.video.subsampling import SAME_RATE

    slower = next((m for m in opened_sources if rate is not None and m.footage.fps < rate * (1 - SAME_RATE)), None)
    if slower is not None:
        raise V2VError(
            "frame-rate-mismatch",
            f"{slower.source.path} has {slower.footage.fps} frames per second, fewer than --fps {rate}.",
            "Give a lower --fps, or leave it out to keep every frame.",
        )


def _count_read(opened: "OpenedSource", limits: "Limits", rate: Fraction | None) -> int | None:
    """Number of frames that `find_shots` reads, with maps also those after the limits; None where unknown."""
    footage = opened.footage
    if footage.num_frames is None or opened.maps or opened.pictures is not None:
        return footage.num_frames
    if rate is not None and limits.max_frames is not None:  # frames that are read for those that are kept
        limits = replace(limits, max_frames=ceil(limits.max_frames * footage.fps / rate))
    return limits.count_read(footage.num_frames, footage.fps)


def _too_short(config: "IngestConfig", shots: "Shots") -> str:
    if not shots.short:
        return "no frames lie within --start and --duration"
    longest = max(stop - start for start, stop in shots.short)
    return f"its longest shot has {counted(longest, 'frame')}, fewer than --min-frames {config.min_frames}"


def _advice(config: "IngestConfig", found: "list[tuple[OpenedSource, Shots]]") -> str | None:
    """What to do where no clip is left, if the settings are to blame; None if the sources are."""
    if any(shots.clip_ranges for _, shots in found):
        return "Name footage in which a face is seen, or leave out --crop face."
    limits = {"--start": config.start, "--duration": config.duration, "--max-frames": config.max_frames}
    given = [flag for flag, value in limits.items() if value]
    if found:
        given += ["--min-frames"] if any(shots.short for _, shots in found) else []
        return f"Change {' or '.join(given)}, or give longer footage."
    return None if config.stream is None else "Give another --stream, or leave it out."


def _clips(
    config: "IngestConfig",
    opened: "OpenedSource",
    shots: "Shots",
    find_face: "FaceEstimator | None",
    skipped: dict[str, str],
) -> list[ClipInfo]:
    """The clips of one source, with name and crop; clips without a face are added to `skipped`."""
    from v2vkit.video.framing import crop_window

    footage, clips, ranges = opened.footage, list[ClipInfo](), dict[int, tuple[float, float]]()
    width, height = config.size or (footage.width, footage.height)
    for clip_range in shots.clip_ranges:
        source: ClipSource = {
            "file": opened.source.path,
            "number": opened.number,
            "start": clip_range.start,
            "stop": clip_range.stop,
            "shot": clip_range.shot,
            "size": [footage.width, footage.height],
        }
        if find_face is None:
            window = crop_window(config.crop, footage.width, footage.height, (width, height))
            source["crop"] = list(astuple(window))
        elif (around := crop_around_face(opened, clip_range, find_face)) is not None:
            source |= around
        else:
            where = f"{opened.source.path}, frames {clip_range.start} to {clip_range.stop - 1}"
            skipped[where] = "no face found in any frame of this clip"
            continue
        if clip_range.subsampled:
            source["frames"] = list(clip_range.frames)
        if clip_range.start_pts is not None:
            source["start_pts"] = clip_range.start_pts
        if opened.source.images:
            source["images"] = [opened.source.images[number] for number in clip_range.frames]
        for maps in opened.maps:
            assert maps.what != "picture", "in `opened.pictures`"
            source[maps.what] = {"folder": maps.folder, "files": [maps.names[number] for number in clip_range.frames]}
            if maps.what == "depth" and config.depth_scale is None:
                source[maps.what]["near_far"] = list(_range(config, maps, clip_range.shot, shots, ranges))
        if opened.pictures is not None:
            source["picture"] = _paired(opened.pictures, clip_range, source["crop"], footage)
        if not clips and shots.short:
            source["short_shots"] = [list(bounds) for bounds in shots.short]
        clips.append(
            ClipInfo(
                name=f"{opened.name}-{len(clips):04d}",
                num_frames=len(clip_range.frames),
                width=width,
                height=height,
                fps=str(footage.fps),
                source=source,
            )
        )
    return clips


def _range(
    config: "IngestConfig", maps: "Maps", shot: int, shots: "Shots", known: dict[int, tuple[float, float]]
) -> tuple[float, float]:
    """Range of the relative depth of a shot, the same for all its clips; cached in `known`."""
    from v2vkit.video.depth_values import range_of_files

    if shot not in known:
        names = [
            maps.names[number]
            for clip_range in shots.clip_ranges
            if clip_range.shot == shot
            for number in clip_range.frames
        ]
        known[shot] = range_of_files(maps.folder, names, inverse=config.depth_inverse)
    return known[shot]


def _paired(pictures: "Pictures", clip_range: "ClipRange", crop: list[int], footage: "Footage") -> PicturesBeside:
    """The part of a clip's plan that `ingest_clip` needs for its pictures."""
    from v2vkit.video.framing import Window, scale_window

    window = scale_window(Window(*crop), (footage.width, footage.height), (pictures.width, pictures.height))
    plan: PicturesBeside = {"crop": list(astuple(window))}
    if pictures.source.images:
        plan["images"] = [pictures.source.images[number] for number in clip_range.frames]
    elif pictures.ticks:
        plan["start_pts"] = pictures.ticks[clip_range.start]
    return plan


def pack(clips: list[ClipInfo], shard_frames: int) -> tuple[tuple[ClipInfo, ...], ...]:
    """Pack whole clips in order into shards of at most `shard_frames` frames (a longer clip has its own shard)."""
    units: list[list[ClipInfo]] = []
    room = 0
    for clip in clips:
        if clip.num_frames > room:
            units.append([])
            room = shard_frames
        units[-1].append(clip)
        room -= clip.num_frames
    return tuple(tuple(unit) for unit in units)
