"""Maps beside frames that somebody else made (labels, instances, depth, DensePose), checked before they are used."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.classes.remap import merged_ids
from v2vkit.classes.table import ClassTable
from v2vkit.config import IGNORE
from v2vkit.errors import V2VError
from v2vkit.video.densepose_files import read_iuv
from v2vkit.video.depth_files import ENDINGS as DEPTH_ENDINGS
from v2vkit.video.depth_files import read_depth
from v2vkit.video.file_kinds import IMAGE_ENDINGS
from v2vkit.video.images import read_numbers
from v2vkit.video.label_encodings import classify, decode_instances, decode_labels
from v2vkit.video.label_layouts import panoptic_maps
from v2vkit.video.numbering import numbers_of, numbers_tell, own_name
from v2vkit.video.sources import SourceFiles, looking_at, natural_key, readable
from v2vkit.weights.files import refuse_pointer

MapKind = Literal["labels", "instances", "depth", "densepose", "picture"]
_KINDS: dict[MapKind, tuple[str, tuple[str, ...]]] = {
    "labels": ("label map", (".png",)),
    "instances": ("instance map", (".png",)),
    "depth": ("depth map", DEPTH_ENDINGS),
    "densepose": ("DensePose map", (".png",)),
    "picture": ("picture", tuple(sorted(IMAGE_ENDINGS))),
}
"""What one of a kind is called, and the endings of its files."""
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6  # colour types of the PNG specification, section 11.2.1
_MOST_NAMED = 5
_ENDS: dict[MapKind, tuple[str, ...]] = {
    "labels": ("_labelIds", "_labelTrainIds"),
    "instances": ("_instanceIds", "_instanceTrainIds"),
}
"""How Cityscapes' names of each kind of map end; those of all kinds lie in one folder, beside pictures in colours."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class LabelRules:
    """What maps must be like, how they are read, and what is changed in label maps.

    Attributes:
        num_labels: label ids are below it; None = any.
        allow_palette: the stored numbers of palette PNGs are taken as ids; else palettes are refused.
        ids: (id in the file, id that it becomes), all at once, before anything is checked.
        depth_scale: stored units per metre of depth maps; None = their unit is not known.
        depth_inverse: depth maps hold disparity.
        table: the classes of label maps, which may then be in its colours; None = they hold ids of any kind.
        remap: classes that those become; None = they stay.
        nearest_colour: colours that are no class's are taken for the nearest ones.
        panoptic: COCO's panoptic JSON of the maps.
        coloured_instances: instance maps have a colour for every object.
    """

    num_labels: int | None = None
    allow_palette: bool = False
    ids: tuple[tuple[int, int], ...] = ()
    depth_scale: float | None = None
    depth_inverse: bool = False
    table: ClassTable | None = None
    remap: ClassTable | None = None
    nearest_colour: bool = False
    panoptic: str | None = None
    coloured_instances: bool = False

    @cached_property
    def merged(self) -> dict[int, int] | None:
        """Id -> id that it becomes by `remap`."""
        return None if self.remap is None else merged_ids(self.remap, self.table)

    @property
    def limit(self) -> int | None:
        """Label ids are below it in the end; None = any."""
        final = self.remap or self.table
        return self.num_labels or (None if final is None else final.num_labels)


def parse_ids(texts: Iterable[str], table: ClassTable | None = None) -> tuple[tuple[int, int], ...]:
    """Pairs of label ids from texts such as `255=1`, or names of the table's classes.

    Raises:
        ValueError: not FROM=TO, with FROM up to 65535 and TO up to 255, or one FROM twice.
    """
    found = []
    for text in texts:
        if table is not None and text.count("=") == 1:
            text = "=".join(str(table.id_of(name)) for name in text.split("="))
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
    stored = _stored_labels(path, rules)
    ids = stored.copy() if rules.ids else stored
    for old, new in rules.ids:
        ids[stored == old] = new
    if rules.table is not None:
        ids = classify(ids, path, rules.table, rules.merged)
    elif rules.merged is not None:
        become = np.full(max(int(ids.max()), *rules.merged, IGNORE) + 1, IGNORE)
        become[list(rules.merged)] = list(rules.merged.values())
        ids = become[ids]
    limit = 256 if rules.limit is None else rules.limit
    wrong = ids[(ids >= limit) & (ids != IGNORE)]
    if wrong.size:
        allowed = f"0 to {limit - 1}" if rules.limit is not None else "0 to 254"
        larger = "Ingest with a larger --num-labels, or map the ids to those with --ids FROM=TO."
        hint = larger if limit < 256 else "Instance ids go into --instances; map label ids to those."
        raise V2VError(
            f"Label map {path} holds the id {int(wrong.max())}, but ids may be {allowed} (and 255 = ignore).",
            hint,
        )
    return ids.astype(np.uint8)


def _stored_labels(path: str | Path, rules: LabelRules) -> NDArray[np.int64]:
    """The ids that a label map holds in whatever way, int64 [H, W]."""
    if rules.panoptic is not None:
        return panoptic_maps(path, rules.panoptic)[0]
    table, palette_ids = rules.table, rules.allow_palette
    decoded = (
        None
        if table is None
        else decode_labels(path, table, nearest=rules.nearest_colour, palette_ids=palette_ids)
    )
    return _read_ids(path, rules.allow_palette, "label") if decoded is None else decoded


def read_instances(path: str | Path, rules: LabelRules) -> NDArray[np.uint16]:
    """Instance ids, uint16 [H, W].

    Raises:
        V2VError: not a PNG, damaged, or with colours or a palette instead of ids.
    """
    if rules.panoptic is not None:
        return panoptic_maps(path, rules.panoptic)[1].astype(np.uint16)
    in_red = rules.table is not None and rules.table.ids_in_red
    decoded = decode_instances(path, ids_in_red=in_red, coloured=rules.coloured_instances)
    return (_read_ids(path, False, "instance") if decoded is None else decoded).astype(np.uint16)


def _read_ids(path: str | Path, allow_palette: bool, what: str) -> NDArray[np.int64]:
    try:
        with Path(path).open("rb") as file:
            header = file.read(26)
    except OSError as error:
        raise V2VError(f"The {what} map {path} cannot be read: {error.strerror}.", "Check its permissions.") from None
    if len(header) < 26 or header[:8] != _SIGNATURE:
        refuse_pointer(path)
        raise V2VError(
            f"The {what} map {path} is not a PNG.", f"Save {what} maps as PNG: JPEG and WebP change the ids."
        )
    depth, kind = header[24], header[25]
    if kind == _PALETTE and not allow_palette:
        raise V2VError(
            f"The {what} map {path} is a palette PNG, whose stored numbers need not be the ids.",
            "Save it as a single-channel PNG of ids."
            if what == "instance"
            else "If they are (as in PASCAL VOC), say --allow-palette to `v2v ingest`; otherwise save it as a "
            "single-channel PNG of ids.",
        )
    if kind in (_RGB, _RGBA, _GREY_ALPHA):
        channels = {_RGB: "3 channels (colours)", _RGBA: "4 channels (colours)", _GREY_ALPHA: "2 channels"}[kind]
        raise V2VError(
            f"The {what} map {path} has {channels} instead of one channel of ids.",
            "If the colours are classes, give their table with --classes (cityscapes, camvid, ... or a TOML file); else "
            "save a single-channel PNG of ids.",
        )
    if kind == _GREY and depth < 8:
        raise V2VError(
            f"The {what} map {path} has {depth} bits per pixel, which programs read as different numbers.",
            "Save it with 8 bits per pixel.",
        )
    return read_numbers(path).astype(np.int64)


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
            raise V2VError(f"The folder {folder} with {one}s does not exist.", "Check the path.")
        names = [p.name for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith(".")]
    known = {*IMAGE_ENDINGS, *endings}
    every = [name for name in names if Path(name).suffix.lower() in known]
    images = sorted(_of_kind(every, what), key=natural_key)
    kinds = " or ".join(ending.removeprefix(".").upper() for ending in endings)
    other = [name for name in images if Path(name).suffix.lower() not in endings]
    if other:
        raise V2VError(
            f"The folder {folder} holds {other[0]}, which is not a {kinds}.",
            f"Keep {one}s as {kinds} in a folder of their own.",
        )
    if not images and every:
        raise V2VError(
            f"The folder {folder} holds Cityscapes' maps, but none of {what} (*{_ENDS[what][0]}.png).",
            f"Give the folder that holds those; {every[0]} is another kind.",
        )
    if not images:
        patterns = ", ".join(f"*{ending}" for ending in endings)
        raise V2VError(f"The folder {folder} holds no {one}s ({patterns}).", "Check the path.")
    found = sorted({Path(name).suffix.lower() for name in images})
    if len(found) > 1:
        raise V2VError(
            f"The {one}s in {folder} are of several kinds ({', '.join(found)}).", "Keep one kind in the folder."
        )
    for path in (str(Path(folder) / name) for name in images):
        if readable(path) != path:
            raise V2VError(f"The name of the {one} {readable(path)} is not valid UTF-8.", "Rename it.")
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
        raise V2VError(f"{first.message}{more}", first.hint)
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
            raise V2VError(f"{folder} has no {_one(what)} for frame {lost} of {source.path}.", f"Add {lost}{ending}.")
        spare = next((stem for stem in by_stem if stem not in known), None)
        if spare is not None:
            raise V2VError(
                f"{folder} has the {_one(what)} {by_stem[spare]}, but {source.path} has no such frame.",
                "Remove it, or add the frame.",
            )
        return replace(maps, names=tuple(by_stem.get(stem, "") for stem in frames))
    if len(maps.names) != num_frames:
        raise V2VError(
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
