"""Opens the input of rendering as a stream that is read once: video, pipe, pictures, label maps or workspace."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.classes.table import ClassTable
from v2vkit.conditions.base import Condition
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.labels import LabelMap, LabelsCondition
from v2vkit.errors import V2VError, counted
from v2vkit.inference.frames_beside import open_frames, refuse_missing_frames
from v2vkit.inference.framing import crop_of
from v2vkit.inference.other_classes import rules_of_other_classes, rules_of_training
from v2vkit.inference.workspace import knows_instances, open_workspace_source
from v2vkit.pipeline.stage import refuse_workspaces
from v2vkit.video.collect import maps_of
from v2vkit.video.depth_values import range_of_files
from v2vkit.video.file_kinds import IMAGE_ENDINGS
from v2vkit.video.footage_source import open_picture_source, open_pipe_source, open_video_source
from v2vkit.video.framing import crop_window, reframe_ids
from v2vkit.video.images import read_numbers
from v2vkit.video.label_files import MapKind, Maps, check_maps, match_maps, read_map
from v2vkit.video.label_reading import LabelRules
from v2vkit.video.numbering import pairing_name
from v2vkit.video.options import VideoOptions
from v2vkit.video.pipes import STANDARD
from v2vkit.video.sources import SourceFiles, find_sequence, sequence_problems
from v2vkit.video.stream import InputFrame, Source

SourceKind = Literal["video", "pipe", "pictures", "labels", "workspace"]

_NO_INSTANCES = "no instance map, with which the model was trained (--instances)"


def source_kind(path: str, info: ModelInfo, *, maps: bool = False, labels: bool = False) -> SourceKind:
    """Classifies the input at `path` for this model. A single picture counts as a folder of one.

    For a model conditioned on labels, a folder holds label maps, unless the model's labels were segmented from frames
    and the folder's first picture has colours.

    Args:
        maps: `path` is a workspace, as in `open_source`.
        labels: a folder holds label maps, in whatever way.

    Raises:
        V2VError: as `find_sequence`; the first picture cannot be read; `maps` with a pipe.
    """
    if path == STANDARD:
        if maps:
            raise V2VError(
                "folder-required",
                "A workspace cannot come from standard input.",
                "Name its folder, or leave out --maps.",
            )
        return "pipe"
    if maps:
        return "workspace"
    try:
        if not Path(path).is_dir() and Path(path).suffix.lower() not in IMAGE_ENDINGS:
            return "video"
    except OSError:
        return "video"  # opening it as a video gives the error
    condition = info.conditioning.label_folder
    if condition is None:
        return "pictures"
    if labels or info.origins[info.conditioning.conditions.index(condition)].stage != condition.estimator_stage:
        return "labels"
    return "labels" if read_numbers(find_sequence(path).image_path(0)).ndim == 2 else "pictures"


_RATE = "--fps is the rate of pictures, label maps or a raw video stream"
# Settings, what they do, and the kinds of source that they apply to.
_ONLY_FOR: tuple[tuple[tuple[str, ...], str, tuple[SourceKind, ...]], ...] = (
    (("start", "duration"), "--start and --duration select a part of a video", ("video", "pipe")),
    (("cuts",), "--cuts finds the shots of a video", ("video", "pipe", "pictures")),
    (("keep_names",), "--keep-names names pictures like those of a folder", ("pictures", "labels")),
    (("align",), "--align reframes a video", ("video", "pipe", "pictures")),
    (("retarget",), "--retarget changes landmarks or key points of a video", ("video", "pipe", "pictures")),
    (("paste_back",), "--paste-back puts a face back into a video", ("video", "pipe", "pictures")),
    (("instances",), "--instances is for a folder of label maps", ("labels",)),
    (("depth",), "--depth is for a folder of label maps", ("labels",)),
    (("densepose",), "--densepose is for a folder of label maps", ("labels",)),
    (("classes", "remap"), "--classes and --remap read a folder of label maps", ("labels",)),
    (("frames",), "--frames is for a folder of label maps", ("labels",)),
    (("fps",), _RATE, ("pictures", "labels", "video", "pipe")),
    (("stream",), "--stream selects a stream of a video file", ("video", "pipe")),
    (("keep_interlaced",), "--keep-interlaced is for interlaced video", ("video", "pipe")),
)


def refuse_settings_without_effect(path: str, info: ModelInfo, settings: Mapping[str, Any]) -> None:
    """Refuses settings of rendering without effect on this source, and workspaces given as footage.

    Args:
        settings: settings of `v2v render` by name; they may be incomplete.

    Raises:
        V2VError: there is one, or as `source_kind`.
    """
    if not settings.get("maps"):
        refuse_workspaces([path])
    kind = source_kind(path, info, maps=bool(settings.get("maps")), labels=settings.get("classes") is not None)
    for names, use, kinds in _ONLY_FOR:
        if kind not in kinds and any(_is_set(name, settings.get(name)) for name in names):
            them = "it" if len(names) == 1 else "them"
            raise V2VError("setting-unused", f"{use}, which {path} is not.", f"Leave {them} out.")


def _is_set(name: str, value: Any) -> bool:
    """Whether a setting was given; 0 counts for --stream, but not for --start."""
    return bool(value) or (name == "stream" and value is not None)


def problems_of(source: Source, info: ModelInfo, num_missed: int) -> list[str]:
    """Messages on what is missing in a source, after it has been read to its end.

    Args:
        num_missed: number of frames in which nothing was found (`ConditionedFrame.found`).
    """
    missing = {**source.missing, **({info.conditioning.nothing: num_missed} if num_missed else {})}
    messages = [f"{reason}: {counted(number, 'frame')} of {source.name}" for reason, number in missing.items()]
    return [*messages, *(f"{source.name}: {problem}" for problem in source.problems())]


def open_source(
    path: str,
    info: ModelInfo,
    *,
    maps: bool = False,
    instances: str | None = None,
    beside: Mapping[MapKind, str] | None = None,
    frames: str | None = None,
    fps: Fraction | None = None,
    start: float = 0.0,
    duration: float | None = None,
    options: VideoOptions | None = None,
    track: bool | None = None,
    classes: ClassTable | None = None,
    remap: ClassTable | None = None,
) -> Source:
    """Opens the input of rendering.

    Args:
        path: a video file, `-` for standard input, a folder of pictures or label maps, a picture, or a workspace.
        info: of the model.
        maps: `path` is a workspace with precomputed annotations.
        instances: folder with an instance map for each label map.
        beside: kind -> folder of the maps of the model's other conditions, one for each label map.
        frames: video or folder of the frames of the label maps, for conditions that are made from frames.
        fps: frame rate of pictures and label maps (None = that of the training footage), and of raw video without time
            stamps.
        start, duration: the part of a video that is used, in seconds.
        options: how a video is decoded; None = the defaults.
        track: as in `open_workspace_source`.
        classes, remap: as in `open_label_source`.

    Raises:
        V2VError: the input cannot be read, or the model does not take it.
    """
    kind = source_kind(path, info, maps=maps, labels=classes is not None)
    if kind == "workspace":
        return open_workspace_source(Folder(path), info, track=track)
    if info.generator.takes_flow:
        raise V2VError(
            "flow-required",
            f"This model (COVST) warps its features with flow that has to be given; {path} has none.",
            "Give a workspace with maps and flow (`v2v extract-flow`) and --maps.",
        )
    if kind == "labels":
        return open_label_source(
            path, info, instances=instances, beside=beside, frames=frames, fps=fps, classes=classes, remap=remap
        )
    if kind == "pictures":
        return open_picture_source(path, fps=fps or info.rate)
    options = replace(options or VideoOptions(), raw_rate=fps)
    if kind == "pipe":
        source = open_pipe_source(start=start, duration=duration, options=options)
    else:
        source = open_video_source(path, start=start, duration=duration, options=options)
    if fps is not None and source.timed:
        raise V2VError("setting-unused", f"{_RATE}, which {path} is not.", "Leave it out.")
    return source


def open_label_source(
    folder: str,
    info: ModelInfo,
    *,
    instances: str | None = None,
    beside: Mapping[MapKind, str] | None = None,
    frames: str | None = None,
    fps: Fraction | None = None,
    classes: ClassTable | None = None,
    remap: ClassTable | None = None,
) -> Source:
    """Opens a folder of label maps, resized as `ingest` did.

    If the model was trained with instances and none are given, all frames are counted in `Source.missing`.

    Args:
        folder: the label maps.
        instances: folder with an instance map for each label map, matched and checked as by `ingest`.
        beside: kind -> folder of the maps of the model's other conditions, matched likewise.
        frames: video or folder with the frame of each label map, for conditions that are made from frames.
        fps: frame rate; None = that of the training footage.
        classes: class table of the maps; None = they are like those of the training footage.
        remap: with `classes`, the model's classes and what each of them merges; None = classes keep their names.

    Raises:
        V2VError: no folder of images; a palette or colour image; an unknown id; maps that are missing, too many or of
            another size; `classes` or `remap` do not fit the model.
    """
    files, problems = find_sequence(folder), sequence_problems(folder)  # now: the target may be written into the folder
    rules, note = (rules_of_training(info), None) if classes is None else rules_of_other_classes(info, classes, remap)
    roots: dict[MapKind, str] = dict(beside or {}) | ({} if instances is None else {"instances": instances})
    refuse_missing_maps(info.conditioning, roots)
    refuse_missing_frames(info.conditioning, frames)
    height, width = read_map("labels", files.image_path(0), rules).shape[:2]
    found = _maps_beside(files, roots, (width, height), rules)
    span = _depth_range(found.get("depth"), rules)
    of_frames = None if frames is None else open_frames(files, frames, info, size=(width, height), fps=fps or info.rate)

    def read(what: MapKind, path: Path) -> NDArray[Any]:
        ids = read_map(what, path, rules)
        window = crop_window(crop_of(info), ids.shape[1], ids.shape[0], (info.width, info.height))
        return reframe_ids(ids, window, (info.width, info.height))

    count = len(files.images)

    def annotation(condition: Condition[Any], number: int, image: Any) -> Any:
        maps = {what: read(what, Path(of.folder) / of.names[number]) for what, of in found.items()}
        if isinstance(condition, LabelsCondition):
            return LabelMap(read("labels", files.image_path(number)), maps.get("instances"))
        if condition.from_frame:
            return condition.of_frame(image)
        assert condition.beside is not None, "refused before"
        return condition.of_map(maps[condition.beside], near_far=span)

    def annotated() -> Iterator[InputFrame]:
        images = repeat(None, count) if of_frames is None else of_frames()
        for number, image in zip(range(count), images, strict=True):
            annotations = tuple(annotation(of, number, image) for of in info.conditioning.conditions)
            yield InputFrame(image, annotations=annotations)

    return Source(
        name=folder,
        width=width,
        height=height,
        fps=fps or info.rate,
        read=annotated,
        num_frames=count,
        annotated=True,
        problems=lambda: problems,
        names=tuple(pairing_name(name) for name in files.images),
        note=note,
        missing={_NO_INSTANCES: count} if instances is None and knows_instances(info) else {},
    )


def refuse_missing_maps(conditioning: Conditioning, roots: Mapping[MapKind, str]) -> None:
    """Check that the folders of maps given beside label maps are those of the model's conditions.

    Raises:
        V2VError: one is missing, or the model is not conditioned on it.
    """
    wanted = {of.beside for of in conditioning.conditions if of.beside is not None}
    if missing := next((kind for kind in sorted(wanted) if kind not in roots), None):
        raise V2VError(
            "maps-required",
            f"This model is conditioned on {conditioning.names}, and {missing} is missing.",
            f"Give its folder with --{missing}, or a workspace with --maps.",
        )
    if spare := next((kind for kind in roots if kind not in {*wanted, "instances"}), None):
        raise V2VError(
            "setting-unused",
            f"This model is conditioned on {conditioning.names}, not on {spare}.",
            f"Leave out --{spare}.",
        )


def _maps_beside(
    files: SourceFiles, roots: dict[MapKind, str], size: tuple[int, int], rules: LabelRules
) -> dict[MapKind, Maps]:
    """Kind -> the maps of a folder of label maps of `size` (width, height), one for each, in their order."""
    found: dict[MapKind, Maps] = {}
    for maps in maps_of(files, roots, several=False):
        found[maps.what] = match_maps(files, len(files.images), maps)
        check_maps(files, size, found[maps.what], rules, lambda count: None)
    return found


def _depth_range(maps: Maps | None, rules: LabelRules) -> tuple[float, float] | None:
    """Nearest and farthest depth of maps without a known unit; None = no depth, or in metres."""
    if maps is None or rules.depth_scale is not None:
        return None
    return range_of_files(maps.folder, maps.names, inverse=rules.depth_inverse)
