"""Reads, checks and pairs users' maps of frames: labels, instances, depth, DensePose."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.config import IGNORE
from v2vkit.errors import V2VError
from v2vkit.video.densepose_files import read_iuv
from v2vkit.video.depth_files import ENDINGS as DEPTH_ENDINGS
from v2vkit.video.depth_files import read_depth
from v2vkit.video.file_kinds import IMAGE_ENDINGS
from v2vkit.video.id_files import read_ids
from v2vkit.video.numbering import numbers_in, paired_by_numbers, pairing_name
from v2vkit.video.sources import SourceFiles, explain_read_errors, natural_key, readable

MapKind = Literal["labels", "instances", "depth", "densepose", "picture"]
_KINDS: dict[MapKind, tuple[str, tuple[str, ...]]] = {
    "labels": ("label map", (".png",)),
    "instances": ("instance map", (".png",)),
    "depth": ("depth map", DEPTH_ENDINGS),
    "densepose": ("DensePose map", (".png",)),
    "picture": ("picture", tuple(sorted(IMAGE_ENDINGS))),
}
"""Kind -> its name in messages, and the endings of its files."""
_MOST_NAMED = 5
_ENDS: dict[MapKind, tuple[str, ...]] = {
    "labels": ("_labelIds", "_labelTrainIds"),
    "instances": ("_instanceIds", "_instanceTrainIds"),
}
"""Name suffixes of Cityscapes' maps, which lie in one folder together with colour pictures; preferred one first."""


@dataclass(frozen=True)
class LabelRules:
    """How maps are read, checked and remapped.

    Attributes:
        num_labels: label ids must be below it; None = any id.
        allow_palette: read the stored numbers of palette PNGs as ids; else palettes are refused.
        ids: (id in the file, new id); all are replaced at once, before any check.
        depth_scale: stored units per metre of depth maps; None = unknown.
        depth_inverse: depth maps hold disparity.
    """

    num_labels: int | None = None
    allow_palette: bool = False
    ids: tuple[tuple[int, int], ...] = ()
    depth_scale: float | None = None
    depth_inverse: bool = False


def parse_ids(texts: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of label ids from texts such as `255=1`.

    Raises:
        ValueError: not FROM=TO, with FROM up to 65535 and TO up to 255, or one FROM twice.
    """
    found = []
    for text in texts:
        match = re.fullmatch(r"([0-9]{1,5})=([0-9]{1,3})", text.strip())
        if match is None or int(match[1]) > 65535 or int(match[2]) > IGNORE:
            raise ValueError(f"{text!r} is not FROM=TO with two label ids, such as 255=1")
        found.append((int(match[1]), int(match[2])))
    if len(dict(found)) < len(found):
        raise ValueError("an id is mapped twice")
    return tuple(found)


def read_labels(path: str | Path, rules: LabelRules) -> NDArray[np.uint8]:
    """Label ids after `rules.ids`, uint8 [H, W]; 255 = ignore.

    Raises:
        V2VError: not a PNG, damaged, with colours or a palette instead of ids, or with an id out of range.
    """
    stored = read_ids(path, what="label", allow_palette=rules.allow_palette)
    ids = stored.copy() if rules.ids else stored
    for old, new in rules.ids:
        ids[stored == old] = new
    limit = 256 if rules.num_labels is None else rules.num_labels
    wrong = ids[(ids >= limit) & (ids != IGNORE)]
    if wrong.size:
        allowed = f"0 to {limit - 1}" if rules.num_labels is not None else "0 to 254"
        larger = "Ingest with a larger --num-labels, or map the ids to those with --ids FROM=TO."
        hint = larger if limit < 256 else "Instance ids go into --instances; map label ids to those."
        raise V2VError(
            "label-id-out-of-range",
            f"Label map {path} holds the id {int(wrong.max())}, but ids may be {allowed} (and 255 = ignore).",
            hint,
        )
    return ids.astype(np.uint8)


def read_instances(path: str | Path) -> NDArray[np.uint16]:
    """Instance ids, uint16 [H, W].

    Raises:
        V2VError: not a PNG, damaged, or with colours or a palette instead of ids.
    """
    return read_ids(path, what="instance", allow_palette=False).astype(np.uint16)


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
    return read_labels(path, rules) if what == "labels" else read_instances(path)


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


def match_maps(source: SourceFiles, num_frames: int, maps: Maps) -> Maps:
    """The same maps in the order of the source's frames, one for each.

    Paired by name (without the ending and Cityscapes' suffixes) if any name of an image agrees. Else by the numbers in
    the names if these are unique in each list, so 7_rgb belongs to 7_ids. Else, and if all numbers of one list are
    larger by one (one list counts from 0, the other from 1), by natural order.

    Raises:
        V2VError: a frame without map, a map without frame, or different counts; names the first one.
    """
    folder, what = maps.folder, maps.what
    frames = [pairing_name(name) for name in source.images]
    by_stem = {pairing_name(name): name for name in maps.names}
    known = set(frames)
    if not known & set(by_stem) and paired_by_numbers(frames, by_stem):
        frames = [numbers_in(stem) for stem in frames]
        by_stem = {numbers_in(stem): name for stem, name in by_stem.items()}
        known = set(frames)
    if known & set(by_stem):
        lost = next((stem for stem in frames if stem not in by_stem), None)
        if lost is not None:
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
        return replace(maps, names=tuple(by_stem[stem] for stem in frames))
    if len(maps.names) != num_frames:
        raise V2VError(
            "frame-count-mismatch",
            f"{source.path} has {num_frames} frames but {folder} has {len(maps.names)} {_one(what)}s.",
            f"There must be one {_one(what)} per frame.",
        )
    return maps
