"""What a model is rendered from, as a stream that is read once: video, pipe, pictures, label maps or workspace."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.labels import LabelMap
from v2vkit.errors import V2VError
from v2vkit.inference.framing import crop_of
from v2vkit.inference.workspace import knows_instances, open_workspace_source
from v2vkit.video.collect import maps_of
from v2vkit.video.file_kinds import IMAGE_ENDINGS
from v2vkit.video.footage_source import open_picture_source, open_pipe_source, open_video_source
from v2vkit.video.framing import crop_window, reframe_ids
from v2vkit.video.images import read_numbers
from v2vkit.video.label_files import LabelRules, MapKind, Maps, check_maps, match_maps, read_map
from v2vkit.video.pipes import STANDARD
from v2vkit.video.sources import SourceFiles, find_sequence, sequence_problems
from v2vkit.video.stream import InputFrame, Source

SourceKind = Literal["video", "pipe", "pictures", "labels", "workspace"]

_NO_INSTANCES = "no instance map, with which the model was trained (--instances)"


def source_kind(path: str, info: ModelInfo, *, maps: bool = False) -> SourceKind:
    """What a path means to that model. A picture stands for a folder with nothing else in it.

    A folder holds label maps for a street model, unless the model's labels were segmented from frames and the folder's
    first picture has colours. `maps` as in `open_source`.

    Raises:
        V2VError: as `find_sequence`, or that picture cannot be read; `maps` and a pipe.
    """
    if path == STANDARD:
        if maps:
            raise V2VError("A workspace does not come through standard input.", "Name it, or leave out --maps.")
        return "pipe"
    if maps:
        return "workspace"
    try:
        if not Path(path).is_dir() and Path(path).suffix.lower() not in IMAGE_ENDINGS:
            return "video"
    except OSError:
        return "video"  # opening it as a video tells what is the matter
    labels = info.conditioning.label_folder
    if labels is None:
        return "pictures"
    if info.origins[0].stage != labels.estimator_stage:
        return "labels"
    return "labels" if read_numbers(find_sequence(path).image_path(0)).ndim == 2 else "pictures"


def open_source(
    path: str,
    info: ModelInfo,
    *,
    maps: bool = False,
    instances: str | None = None,
    fps: Fraction | None = None,
    start: float = 0.0,
    duration: float | None = None,
) -> Source:
    """Opens what a model is to be rendered from.

    Args:
        path: a video file, `-` for standard input, a folder of pictures or label maps, a picture, or a workspace.
        info: of the model.
        maps: `path` is a workspace, whose annotations are there already.
        instances: folder with an instance map for each label map.
        fps: rate of pictures and label maps; None = that of the model's footage.
        start, duration: the part of a video that is used, in seconds.

    Raises:
        V2VError: it cannot be read, or is not what that model takes.
    """
    kind = source_kind(path, info, maps=maps)
    if kind == "workspace":
        return open_workspace_source(Folder(path), info)
    if info.generator.takes_flow:
        raise V2VError(
            f"This model (COVST) moves its features along flow that it is given; nothing here computes it from {path}.",
            "Give a workspace with maps and flow (`v2v extract-flow`) and --maps.",
        )
    if kind == "labels":
        return open_label_source(path, info, instances=instances, fps=fps)
    if kind == "pictures":
        return open_picture_source(path, fps=fps or info.rate)
    if kind == "pipe":
        return open_pipe_source(start=start, duration=duration)
    return open_video_source(path, start=start, duration=duration)


def open_label_source(
    folder: str, info: ModelInfo, *, instances: str | None = None, fps: Fraction | None = None
) -> Source:
    """A folder of label maps (ids as in training) for a street model, resized as `ingest` did.

    Where instances told the model more than labels do, and none are given, all frames count as `missing` them.

    Args:
        folder: the label maps.
        instances: folder with an instance map for each, found, matched and checked as `ingest` does.
        fps: rate of the label maps; None = that of the model's footage.

    Raises:
        V2VError: no folder of images, a palette or colour image, an id that the model does not know, instance maps that
            are missing, too many or of another size.
    """
    files = find_sequence(folder)
    rules = LabelRules(info.conditioning.num_labels, bool(info.frames.get("allow_palette")))
    height, width = read_map("labels", files.image_path(0), rules).shape
    beside = None if instances is None else _instance_maps(files, instances, (width, height), rules)

    def read(what: MapKind, path: Path) -> NDArray[Any]:
        ids = read_map(what, path, rules)
        window = crop_window(crop_of(info), ids.shape[1], ids.shape[0], (info.width, info.height))
        return reframe_ids(ids, window, (info.width, info.height))

    def frames() -> Iterator[InputFrame]:
        for number in range(len(files.images)):
            labels = read("labels", files.image_path(number))
            objects = None if beside is None else read("instances", Path(beside.folder) / beside.names[number])
            yield InputFrame(annotations=(LabelMap(labels, objects),))

    count = len(files.images)
    return Source(
        name=folder,
        width=width,
        height=height,
        fps=fps or info.rate,
        read=frames,
        num_frames=count,
        annotated=True,
        problems=lambda: sequence_problems(folder),
        missing={_NO_INSTANCES: count} if instances is None and knows_instances(info) else {},
    )


def _instance_maps(files: SourceFiles, root: str, size: tuple[int, int], rules: LabelRules) -> Maps:
    """The instance maps of a folder of label maps of `size` (width, height), one for each in their order."""
    (found,) = maps_of(files, {"instances": root}, several=False)
    matched = match_maps(files, len(files.images), found)
    check_maps(files, size, matched, rules, lambda count: None)
    return matched
