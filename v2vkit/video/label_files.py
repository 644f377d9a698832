"""Reads, checks and pairs users' maps of frames: labels, instances, depth, DensePose."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError, counted
from v2vkit.video.densepose_files import read_iuv
from v2vkit.video.depth_files import ENDINGS as DEPTH_ENDINGS
from v2vkit.video.depth_files import read_depth
from v2vkit.video.file_kinds import IMAGE_ENDINGS
from v2vkit.video.label_reading import LabelRules, read_instances, read_labels
from v2vkit.video.numbering import numbers_in, paired_by_numbers, pairing_name
from v2vkit.video.sources import SourceFiles, explain_read_errors, natural_key, readable

MapKind = Literal["labels", "instances", "depth", "densepose", "picture", "flow"]
_KINDS: dict[MapKind, tuple[str, tuple[str, ...]]] = {
    "labels": ("label map", (".png",)),
    "instances": ("instance map", (".png",)),
    "depth": ("depth map", DEPTH_ENDINGS),
    "densepose": ("DensePose map", (".png",)),
    "picture": ("picture", tuple(sorted(IMAGE_ENDINGS))),
    "flow": ("flow map", (".png", ".flo", ".npy")),
}
"""Kind -> its name in messages, and the endings of its files."""
_MOST_NAMED = 5
_ENDS: dict[MapKind, tuple[str, ...]] = {
    "labels": ("_labelIds", "_labelTrainIds"),
    "instances": ("_instanceIds", "_instanceTrainIds"),
}
"""Name suffixes of Cityscapes' maps, which lie in one folder together with colour pictures; preferred one first."""


def _one(what: MapKind) -> str:
    """Name of one such map, such as `label map`."""
    return _KINDS[what][0]


def _of_kind(names: list[str], what: MapKind) -> list[str]:
    """The names of one kind of map if they have Cityscapes' suffixes (ids before training ids); else all names."""
    ends = [end for kind in _ENDS.values() for end in kind]
    if what not in _ENDS or not any(Path(name).stem.endswith(end) for name in names for end in ends):
        return names
    chosen = [[name for name in names if Path(name).stem.endswith(end)] for end in _ENDS[what]]
    return next((found for found in chosen if found), [])


def find_maps(folder: str | Path, what: MapKind) -> tuple[str, ...]:
    """File names of one kind of maps in a folder, in natural order; of Cityscapes' files only those of that kind.

    Raises:
        V2VError: the folder is missing, unreadable or has no such maps, it also holds images of another kind or maps
            of several formats, or a name is not valid UTF-8.
    """
    one, endings = _KINDS[what]
    with explain_read_errors(folder):
        if not Path(folder).is_dir():
            raise V2VError("folder-missing", f"The folder {folder} with {one}s does not exist.", "Check the path.")
        names = [p.name for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith(".")]
    known = {*IMAGE_ENDINGS, *endings}
    every = [name for name in names if Path(name).suffix.lower() in known]
    images = sorted(_of_kind(every, what), key=natural_key)
    kinds = " or ".join(ending.removeprefix(".").upper() for ending in endings)
    other = [name for name in images if Path(name).suffix.lower() not in endings]
    if other:
        raise V2VError(
            "format-unsupported",
            f"The folder {folder} holds {other[0]}, which is not a {kinds}.",
            f"Keep {one}s as {kinds} in a folder of their own.",
        )
    if not images and every:
        raise V2VError(
            "map-missing",
            f"The folder {folder} holds Cityscapes' maps, but none of {what} (*{_ENDS[what][0]}.png).",
            f"Give the folder that holds those; {every[0]} is another kind.",
        )
    if not images:
        patterns = ", ".join(f"*{ending}" for ending in endings)
        raise V2VError("map-missing", f"The folder {folder} holds no {one}s ({patterns}).", "Check the path.")
    found = sorted({Path(name).suffix.lower() for name in images})
    if len(found) > 1:
        raise V2VError(
            "format-conflict",
            f"The {one}s in {folder} have several formats ({', '.join(found)}).",
            "Keep one format in the folder.",
        )
    for path in (str(Path(folder) / name) for name in images):
        if readable(path) != path:
            raise V2VError(
                "name-unsupported", f"The name of the {one} {readable(path)} is not valid UTF-8.", "Rename it."
            )
    return tuple(images)


@dataclass(frozen=True)
class Maps:
    """The maps of one kind for one source: their folder and file names."""

    what: MapKind
    folder: str
    names: tuple[str, ...]


def read_map(what: MapKind, path: str | Path, rules: LabelRules) -> NDArray[np.generic]:
    """Reads one map.

    Returns:
        Labels uint8 [H, W], instances uint16 [H, W], depth float32 [H, W] (0 = unknown; `read_depth`), or DensePose
        uint8 [H, W, 3] (`read_iuv`).

    Raises:
        V2VError: as the readers.
    """
    if what == "depth":
        return read_depth(path, scale=rules.depth_scale, inverse=rules.depth_inverse)[0]
    if what == "densepose":
        return read_iuv(path)
    return read_labels(path, rules) if what == "labels" else read_instances(path, rules)


def check_maps(
    source: SourceFiles, size: tuple[int, int], maps: Maps, rules: LabelRules, progress: Callable[[int], object]
) -> frozenset[int]:
    """Reads and checks every map; returns the label ids that occur.

    Args:
        source: the source that the maps belong to, for messages.
        size: (width, height) of its frames.
        maps: the maps.
        rules: requirements on them.
        progress: called with 1 after each map.

    Raises:
        V2VError: a map cannot be read, breaks the rules, or has another size than the frames. The error is that of the
            first such file and names others.
    """
    wrong: dict[str, V2VError] = {}
    occurring: set[int] = set()
    for name in maps.names:
        path = Path(maps.folder) / name
        try:
            ids = read_map(maps.what, path, rules)
            if maps.what == "labels":
                occurring.update(np.flatnonzero(np.bincount(ids.ravel())).tolist())  # np.unique sorts, which is slower
            height, width = ids.shape[:2]
            if (width, height) != size:
                raise V2VError(
                    "size-mismatch",
                    f"{path} is {width}x{height}, but the frames of {source.path} are {size[0]}x{size[1]}.",
                    "Maps must have the size of the frames that they belong to.",
                )
        except V2VError as error:
            wrong[name] = error
        progress(1)
    if wrong:
        (_, first), *others = wrong.items()
        listed = ", ".join(name for name, _ in others[:_MOST_NAMED])
        listed += " and others" if len(others) > _MOST_NAMED else ""
        more = f" {len(wrong)} of {len(maps.names)} maps are wrong, also {listed}." if others else ""
        raise V2VError(first.code, f"{first.message}{more}", first.hint)
    return frozenset(occurring)


def match_maps(source: SourceFiles, num_frames: int, maps: Maps, *, sparse: bool = False) -> Maps:
    """The same maps in the order of the source's frames, one for each.

    Paired by name (without the ending and Cityscapes' suffixes) if any name of an image agrees. Else by the numbers in
    the names if these are unique in each list, so 7_rgb belongs to 7_ids. Else, and if all numbers of one list are
    larger by one (one list counts from 0, the other from 1), by natural order.

    Args:
        sparse: frames may have no map, for which there is an empty name then; a video's frames are told by the last
            number in a map's name, counted from 0.

    Raises:
        V2VError: a frame without map, a map without frame, or different counts; names the first one.
    """
    folder, what = maps.folder, maps.what
    if sparse and not source.images:
        return _by_frame_number(source, num_frames, maps)
    frames = [pairing_name(name) for name in source.images]
    by_stem = {pairing_name(name): name for name in maps.names}
    known = set(frames)
    if not known & set(by_stem) and paired_by_numbers(frames, by_stem):
        frames = [numbers_in(stem) for stem in frames]
        by_stem = {numbers_in(stem): name for stem, name in by_stem.items()}
        known = set(frames)
    if known & set(by_stem):
        lost = next((stem for stem in frames if stem not in by_stem), None)
        if lost is not None and not sparse:
            ending = Path(maps.names[0]).suffix
            raise V2VError(
                "map-missing",
                f"{folder} has no {_one(what)} for frame {lost} of {source.path}.",
                f"Add {lost}{ending}.",
            )
        spare = next((stem for stem in by_stem if stem not in known), None)
        if spare is not None:
            raise V2VError(
                "map-unmatched",
                f"{folder} has the {_one(what)} {by_stem[spare]}, but {source.path} has no such frame.",
                "Remove it, or add the frame.",
            )
        return replace(maps, names=tuple(by_stem.get(stem, "") for stem in frames))
    if len(maps.names) != num_frames:
        raise V2VError(
            "frame-count-mismatch",
            f"{source.path} has {counted(num_frames, 'frame')} but {folder} has {len(maps.names)} {_one(what)}s.",
            f"There must be one {_one(what)} per frame.",
        )
    return maps


def _by_frame_number(source: SourceFiles, num_frames: int, maps: Maps) -> Maps:
    """The maps of some of a video's frames, in their order; an empty name where a frame has none."""
    names = [""] * num_frames
    for name in maps.names:
        numbers = numbers_in(pairing_name(name)).split("-")[-1]
        number = int(numbers) if numbers else num_frames
        if number >= num_frames or names[number]:
            other = f", as {names[number]} does" if number < num_frames else ""
            raise V2VError(
                "map-unmatched",
                f"The {_one(maps.what)} {name} belongs to no frame of {source.path}{other}: there are {num_frames}.",
                f"The last number in a name is the frame's, 0 to {num_frames - 1}.",
            )
        names[number] = name
    return replace(maps, names=tuple(names))
