"""Maps beside frames that somebody else made (labels, instances, depth, DensePose), checked before they are used."""

from collections.abc import Callable
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
from v2vkit.video.images import read_numbers
from v2vkit.video.sources import IMAGE_ENDINGS, SourceFiles, looking_at, natural_key, readable

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
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class LabelRules:
    """What maps must be like, and how they are read.

    Attributes:
        num_labels: label ids are below it; None = any.
        allow_palette: the stored numbers of palette PNGs are taken as ids; else palettes are refused.
        depth_scale: stored units per metre of depth maps; None = their unit is not known.
        depth_inverse: depth maps hold disparity.
    """

    num_labels: int | None = None
    allow_palette: bool = False
    depth_scale: float | None = None
    depth_inverse: bool = False


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
    """What one of them is called, such as `label map`."""
    return _KINDS[what][0]


def find_maps(folder: str | Path, what: MapKind) -> tuple[str, ...]:
    """Names of the files of such maps in a folder, in natural order.

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
    images = sorted((name for name in names if Path(name).suffix.lower() in known), key=natural_key)
    kinds = " or ".join(ending.removeprefix(".").upper() for ending in endings)
    other = [name for name in images if Path(name).suffix.lower() not in endings]
    if other:
        raise V2VError(
            f"The folder {folder} holds {other[0]}, which is not a {kinds}.",
            f"Keep {one}s as {kinds} in a folder of their own.",
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
            height, width = read_map(maps.what, path, rules).shape[:2]
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

    By equal names (less the ending) where the frames are images and any name agrees, by natural order otherwise.

    Raises:
        V2VError: a frame without map, a map without frame, or different counts; names the first one.
    """
    folder, what = maps.folder, maps.what
    frames = [Path(name).stem for name in source.images]
    by_stem = {Path(name).stem: name for name in maps.names}
    known = set(frames)
    if known & set(by_stem):
        lost = next((stem for stem in frames if stem not in by_stem), None)
        if lost is not None:
            ending = Path(maps.names[0]).suffix
            raise V2VError(f"{folder} has no {_one(what)} for frame {lost} of {source.path}.", f"Add {lost}{ending}.")
        spare = next((stem for stem in by_stem if stem not in known), None)
        if spare is not None:
            raise V2VError(
                f"{folder} has the {_one(what)} {by_stem[spare]}, but {source.path} has no such frame.",
                "Remove it, or add the frame.",
            )
        return replace(maps, names=tuple(by_stem[stem] for stem in frames))
    if len(maps.names) != num_frames:
        raise V2VError(
            f"{source.path} has {num_frames} frames but {folder} has {len(maps.names)} {_one(what)}s.",
            f"There must be one {_one(what)} per frame.",
        )
    return maps
