"""Label and instance maps that somebody else made: checked until nothing about them can surprise later."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.config import IGNORE
from v2vkit.errors import V2VError
from v2vkit.video.file_kinds import IMAGE_ENDINGS
from v2vkit.video.images import read_numbers
from v2vkit.video.sources import SourceFiles, looking_at, natural_key, readable
from v2vkit.weights.files import refuse_pointer

MapKind = Literal["labels", "instances"]
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6  # colour types of the PNG specification, section 11.2.1
_MOST_NAMED = 5
_ENDS: dict[MapKind, tuple[str, ...]] = {
    "labels": ("_labelIds", "_labelTrainIds"),
    "instances": ("_instanceIds", "_instanceTrainIds"),
}
"""How Cityscapes' names of each kind of map end; those of all kinds lie in one folder, beside pictures in colours."""
_CITYSCAPES = re.compile(r"_(leftImg8bit|rightImg8bit|gt(Fine|Coarse)_[A-Za-z]+)$")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class LabelRules:
    """What label maps must be like: ids below `num_labels` (None = any), palettes taken as ids or refused."""

    num_labels: int | None = None
    allow_palette: bool = False


def read_labels(path: str | Path, rules: LabelRules) -> NDArray[np.uint8]:
    """Label ids, uint8 [H, W]; 255 = ignore.

    Raises:
        V2VError: not a PNG, damaged, with colours or a palette instead of ids, or with an id out of range.
    """
    ids = _read_ids(path, rules.allow_palette, "label")
    limit = 256 if rules.num_labels is None else rules.num_labels
    wrong = ids[(ids >= limit) & (ids != IGNORE)]
    if wrong.size:
        allowed = f"0 to {limit - 1}" if rules.num_labels is not None else "0 to 254"
        larger = "Ingest with a larger --num-labels, or map the ids to those."
        hint = larger if limit < 256 else "Instance ids go into --instances; map label ids to those."
        raise V2VError(
            f"Label map {path} holds the id {int(wrong.max())}, but ids may be {allowed} (and 255 = ignore).",
            hint,
        )
    return ids.astype(np.uint8)


def read_instances(path: str | Path) -> NDArray[np.uint16]:
    """Instance ids, uint16 [H, W].

    Raises:
        V2VError: not a PNG, damaged, or with colours or a palette instead of ids.
    """
    return _read_ids(path, False, "instance").astype(np.uint16)


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
            "Convert colours to ids with the table of your data set, and save a single-channel PNG.",
        )
    if kind == _GREY and depth < 8:
        raise V2VError(
            f"The {what} map {path} has {depth} bits per pixel, which programs read as different numbers.",
            "Save it with 8 bits per pixel.",
        )
    return read_numbers(path).astype(np.int64)


def _one(what: MapKind) -> str:
    """`label` or `instance`, as in "a label map"."""
    return what.removesuffix("s")


def _of_kind(names: list[str], what: MapKind) -> list[str]:
    """The names of one kind of map where they tell their kinds as Cityscapes' do: ids before training ids."""
    ends = [end for kind in _ENDS.values() for end in kind]
    if not any(Path(name).stem.endswith(end) for name in names for end in ends):
        return names
    chosen = [[name for name in names if Path(name).stem.endswith(end)] for end in _ENDS[what]]
    return next((found for found in chosen if found), [])


def find_maps(folder: str | Path, what: MapKind) -> tuple[str, ...]:
    """Names of the PNG files in a folder, in natural order; of Cityscapes' only the `*_labelIds.png` (or instances).

    Raises:
        V2VError: no such folder, one that cannot be read or has no PNG in it, images of another kind beside them, or a
            name that is not valid UTF-8.
    """
    with looking_at(folder):
        if not Path(folder).is_dir():
            raise V2VError(f"The folder {folder} with {_one(what)} maps does not exist.", "Check the path.")
        names = [p.name for p in Path(folder).iterdir() if p.is_file() and not p.name.startswith(".")]
    every = [name for name in names if Path(name).suffix.lower() in IMAGE_ENDINGS]
    images = sorted(_of_kind(every, what), key=natural_key)
    other = [name for name in images if not name.lower().endswith(".png")]
    if other:
        raise V2VError(
            f"The folder {folder} holds {other[0]}, which is not a PNG.",
            f"Keep {_one(what)} maps as PNG in a folder of their own.",
        )
    if not images and every:
        raise V2VError(
            f"The folder {folder} holds Cityscapes' maps, but none of {what} (*{_ENDS[what][0]}.png).",
            f"Give the folder that holds those; {every[0]} is another kind.",
        )
    if not images:
        raise V2VError(f"The folder {folder} holds no {_one(what)} maps (*.png).", "Check the path.")
    for path in (str(Path(folder) / name) for name in images):
        if readable(path) != path:
            raise V2VError(f"The name of the {_one(what)} map {readable(path)} is not valid UTF-8.", "Rename it.")
    return tuple(images)


@dataclass(frozen=True)
class Maps:
    """The maps of one kind for one source: `labels` or `instances`, their folder and file names."""

    what: MapKind
    folder: str
    names: tuple[str, ...]


def read_map(what: MapKind, path: str | Path, rules: LabelRules) -> NDArray[np.integer]:
    """`read_labels` or `read_instances`, by the kind of map."""
    return read_labels(path, rules) if what == "labels" else read_instances(path)


def check_maps(
    source: SourceFiles, size: tuple[int, int], maps: Maps, rules: LabelRules, progress: Callable[[int], object]
) -> None:
    """Reads every map; `progress` is called with 1 after each.

    Args:
        source: what the maps belong to, for the message.
        size: (width, height) of its frames.

    Raises:
        V2VError: a map cannot be read, breaks the rules, or has another size than the frames; says what is wrong with
            the first such file, and names others.
    """
    wrong: dict[str, V2VError] = {}
    for name in maps.names:
        path = Path(maps.folder) / name
        try:
            height, width = read_map(maps.what, path, rules).shape
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


def match_maps(source: SourceFiles, num_frames: int, maps: Maps) -> Maps:
    """The same maps in the order of the source's frames, one for each.

    By equal names (less the ending, and what Cityscapes' names end in) where the frames are images and any name agrees.
    Else by the numbers in the names where both are images with unlike numbers in each list, so that 7_rgb belongs to
    7_ids; numbers that are all larger or smaller by one are counted from 1 and from 0. Otherwise by natural order.

    Raises:
        V2VError: a frame without map, a map without frame, or different counts; names the first one.
    """
    folder, what = maps.folder, maps.what
    frames = [_own_name(name) for name in source.images]
    by_stem = {_own_name(name): name for name in maps.names}
    known = set(frames)
    if not known & set(by_stem) and _numbers_tell(frames, by_stem):
        frames = [_numbers(stem) for stem in frames]
        by_stem = {_numbers(stem): name for stem, name in by_stem.items()}
        known = set(frames)
    if known & set(by_stem):
        lost = next((stem for stem in frames if stem not in by_stem), None)
        if lost is not None:
            raise V2VError(f"{folder} has no {_one(what)} map for frame {lost} of {source.path}.", f"Add {lost}.png.")
        spare = next((stem for stem in by_stem if stem not in known), None)
        if spare is not None:
            raise V2VError(
                f"{folder} has the {_one(what)} map {by_stem[spare]}, but {source.path} has no such frame.",
                "Remove it, or add the frame.",
            )
        return replace(maps, names=tuple(by_stem[stem] for stem in frames))
    if len(maps.names) != num_frames:
        raise V2VError(
            f"{source.path} has {num_frames} frames but {folder} has {len(maps.names)} {_one(what)} maps.",
            "There must be one map per frame.",
        )
    return maps


def _own_name(name: str) -> str:
    return _CITYSCAPES.sub("", Path(name).stem)


def _numbers(stem: str) -> str:
    return "-".join(str(int(digits)) for digits in re.findall(r"\d+", stem))


def _numbers_tell(frames: Iterable[str], maps: Iterable[str]) -> bool:
    """Whether the numbers in the names say which belong together; the names themselves do not."""
    first, second = ([_numbers(stem) for stem in stems] for stems in (frames, maps))
    if len(set(first)) < len(first) or len(set(second)) < len(second) or not set(first) & set(second):
        return False
    if all(found.isdigit() for found in (*first, *second)):
        low, high = sorted([sorted(map(int, first)), sorted(map(int, second))])
        return [number + 1 for number in low] != high
    return True
