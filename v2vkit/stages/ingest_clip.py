"""The frames, maps and pictures of one clip of `v2v ingest`."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Clip, Sample
from v2vkit.stages.ingest_flow import FlowMapSettings, flow_files

if TYPE_CHECKING:
    from v2vkit.artifacts.clip_source import ClipSource, MapName
    from v2vkit.conditions.base import Condition
    from v2vkit.video.label_files import MapKind
    from v2vkit.video.label_reading import LabelRules
    from v2vkit.video.sources import SourceFiles

MAP_KINDS: tuple["MapName", ...] = ("labels", "instances", "depth", "densepose")
"""The maps that can come with frames; each is a setting of `ingest`."""


def ingest_clip(
    clip: Clip,
    *,
    lossless: bool,
    rules: "LabelRules",
    sources: tuple["SourceFiles", ...],
    roots: dict["MapKind", str],
    pictures: str | None = None,
    flow: FlowMapSettings | None = None,
) -> Iterator[Sample]:
    """Frames, maps and pictures of one clip.

    Args:
        sources: at their current paths, which may differ from those in the plan.
        roots: kind of map -> the user's folder, at its current path.
        pictures: the user's video or folder of pictures, at its current path.
        flow: the settings of the flow, at its current path.

    Yields:
        one sample per frame in order, with `jpg` or `png` and the files of its maps and picture.

    Raises:
        V2VError: the source has changed since the plan was made.
    """
    from v2vkit.artifacts.images import encode_jpeg, encode_png
    from v2vkit.video.collect import map_folder
    from v2vkit.video.footage import read_frames
    from v2vkit.video.framing import Window, reframe, reframe_ids
    from v2vkit.video.label_files import read_map
    from v2vkit.video.sources import SourceFiles
    from v2vkit.video.subsampling import only

    info, plan = clip.info, clip.info.source
    place = sources[plan["number"] - 1].path if "number" in plan else plan["file"]  # version 1 kept no number
    options = sources[plan.get("number", 1) - 1].options
    source = SourceFiles(place, tuple(plan.get("images", ())), options)
    folders = {what: map_folder(source, root, several=len(sources) > 1) for what, root in roots.items()}
    start, stop = (0, len(source.images)) if source.images else (plan["start"], plan["stop"])
    every = read_frames(source, start, stop, fps=Fraction(info.fps), threads=False, start_pts=plan.get("start_pts"))
    frames = only(every, plan.get("frames"))
    looks = None if pictures is None else _pictures(clip, source, pictures, several=len(sources) > 1)
    moved = (
        None
        if flow is None or flow.flow is None
        else _flow(clip, map_folder(source, flow.flow, several=len(sources) > 1), flow)
    )
    window, size = Window(*plan["crop"]), (info.width, info.height)
    count = 0
    for t, frame in enumerate(frames):
        image = reframe(frame.image, window, size)
        files = {"png": encode_png(image)} if lossless else {"jpg": encode_jpeg(image)}
        maps: dict[MapKind, Any] = {
            what: reframe_ids(read_map(what, Path(folders[what]) / plan[what]["files"][t], rules), window, size)
            for what in MAP_KINDS
            if what in plan and plan[what]["files"][t]  # sparse labels: a frame without a map has no name
        }
        yield Sample(
            t,
            files
            | _map_files(maps, plan)
            | ({} if looks is None else next(looks, {}))
            | ({} if moved is None else next(moved)),
        )
        count += 1
    if count != info.num_frames:
        raise V2VError(
            "source-changed",
            f"{place} gave {counted(count, 'frame')} instead of {info.num_frames} for {info.name}: it has changed.",
            "Rerun the command with --overwrite when the file is complete.",
        )


def _flow(clip: Clip, folder: str, settings: FlowMapSettings) -> "Iterator[dict[str, bytes]]":
    return flow_files(clip, folder, direction=settings.flow_direction, scale=settings.scale, strides=settings.strides)


def _map_files(maps: "dict[MapKind, Any]", plan: "ClipSource") -> dict[str, bytes]:
    """The files of the maps of one frame, cropped and resized."""
    from v2vkit.conditions.labels import LabelMap, LabelsCondition

    files: dict[str, bytes] = {}
    if "labels" in maps:
        files |= LabelsCondition.encode(LabelMap(maps["labels"], maps.get("instances")))
    for condition in conditions_beside():
        kind = condition.beside
        if kind in maps and kind != "picture":
            span = plan[kind].get("near_far")
            annotation = condition.of_map(maps[kind], near_far=None if span is None else (span[0], span[1]))
            files |= condition.encode(annotation, estimator="")
    return files


def _pictures(clip: Clip, source: "SourceFiles", root: str, *, several: bool) -> "Iterator[dict[str, bytes]]":
    """The file of the picture of every frame of a clip, in order."""
    from v2vkit.conditions.picture import Picture, PictureCondition
    from v2vkit.video.framing import Window, reframe
    from v2vkit.video.paired import find_pictures, read_pictures
    from v2vkit.video.sources import SourceFiles

    info, plan = clip.info, clip.info.source["picture"]
    found = SourceFiles(find_pictures(source, root, several=several).path, tuple(plan.get("images", ())))
    numbers = clip.info.source.get("frames") or range(clip.info.source["start"], clip.info.source["stop"])
    window, count = Window(*plan["crop"]), 0
    for image in read_pictures(found, numbers, fps=Fraction(info.fps), start_pts=plan.get("start_pts")):
        count += 1
        yield PictureCondition.encode(Picture(reframe(image, window, (info.width, info.height))))
    if count != info.num_frames:
        raise V2VError(
            "source-changed",
            f"{found.path} gave {count} pictures instead of {info.num_frames} for {info.name}: it has changed.",
            "Rerun the command with --overwrite when the file is complete.",
        )


def conditions_beside() -> "list[type[Condition[Any]]]":
    """The conditions whose maps come with frames."""
    from v2vkit.conditions.registry import condition_classes

    return [condition for condition in condition_classes() if condition.beside is not None]
