"""Maps beside frames that somebody else made (labels, instances, depth, DensePose), checked before they are used."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.video.densepose_files import read_iuv
from v2vkit.video.depth_files import ENDINGS as DEPTH_ENDINGS
from v2vkit.video.depth_files import read_depth
from v2vkit.video.file_kinds import IMAGE_ENDINGS
from v2vkit.video.label_reading import LabelRules, read_instances, read_labels
from v2vkit.video.numbering import numbers_of, numbers_tell, own_name
from v2vkit.video.sources import SourceFiles, looking_at, natural_key, readable

MapKind = Literal["labels", "instances", "depth", "densepose", "picture"]
_KINDS: dict[MapKind, tuple[str, tuple[str, ...]]] = {
    "labels": ("label map", (".png",)),
    "instances": ("instance map", (".png",)),
    "depth": ("depth map", DEPTH_ENDINGS),
    "densepose": ("DensePose map", (".png",)),
    "picture": ("picture", tuple(sorted(IMAGE_ENDINGS))),
}
"""What one of a kind is called, and the endings of its files."""
_MOST_NAMED = 5
_ENDS: dict[MapKind, tuple[str, ...]] = {
    "labels": ("_labelIds", "_labelTrainIds"),
    "instances": ("_instanceIds", "_instanceTrainIds"),
}
"""How Cityscapes' names of each kind of map end; those of all kinds lie in one folder, beside pictures in colours."""


def _one(what: MapKind) -> str:
    """What one of them is called, such as `label map`."""
    return _KINDS[what][0]


def _of_kind(names: list[str], what: MapKind) -> list[str]:
    """The names of one kind of map where they tell their kinds as Cityscapes' do: ids before training ids."""
    ends = [end for kind in _ENDS.values() for end in kind]
    if what not in _ENDS or not any(Path(name).stem.endswith(end) for name in names for end in ends):
        return names
    chosen = [[name for name in names if Path(name).stem.endswith(end)] for end in _ENDS[what]]
    return next((found for found in chosen if found), [])


def find_maps(folder: str | Path, what: MapKind) -> tuple[str, ...]:
    """Names of the files of such maps in a folder, in natural order; of Cityscapes' only those of that kind.

    Raises:
        V2VError: no such folder, one that cannot be read or has no map in it, images of another kind beside them, maps
            of several kinds, or a name that is not valid UTF-8.
    """
    one, endings = _KINDS[what]
    with looking_at(folder):
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
            f"The {one}s in {folder} are of several kinds ({', '.join(found)}).",
            "Keep one kind in the folder.",
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
    """The numbers in a map, by its kind.

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
    """Reads every map, and gives the label ids that occur; `progress` is called with 1 after each.

    Args:
        source: what the maps belong to, for the message.
        size: (width, height) of its frames.

    Raises:
        V2VError: a map cannot be read, breaks the rules, or has another size than the frames; says what is wrong with
            the first such file, and names others.
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

    By equal names (less the ending, and what Cityscapes' names end in) where the frames are images and any name agrees.
    Else by the numbers in the names where both are images with unlike numbers in each list, so that 7_rgb belongs to
    7_ids; numbers that are all larger or smaller by one are counted from 1 and from 0. Otherwise by natural order.

    Args:
        sparse: frames may have no map, for which there is an empty name then; a video's frames are told by the last
            number in a map's name, counted from 0.

    Raises:
        V2VError: a frame without map, a map without frame, or different counts; names the first one.
    """
    folder, what = maps.folder, maps.what
    if sparse and not source.images:
        return _by_frame_number(source, num_frames, maps)
    frames = [own_name(name) for name in source.images]
    by_stem = {own_name(name): name for name in maps.names}
    known = set(frames)
    if not known & set(by_stem) and numbers_tell(frames, by_stem):
        frames = [numbers_of(stem) for stem in frames]
        by_stem = {numbers_of(stem): name for stem, name in by_stem.items()}
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
            f"{source.path} has {num_frames} frames but {folder} has {len(maps.names)} {_one(what)}s.",
            f"There must be one {_one(what)} per frame.",
        )
    return maps


def _by_frame_number(source: SourceFiles, num_frames: int, maps: Maps) -> Maps:
    """The maps of some of a video's frames, in their order; an empty name where a frame has none."""
    names = [""] * num_frames
    for name in maps.names:
        numbers = numbers_of(own_name(name)).split("-")[-1]
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
