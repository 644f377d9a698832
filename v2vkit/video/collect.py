"""Opens sources and checks the maps and paired pictures that belong to them."""

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from v2vkit.errors import V2VError, counted
from v2vkit.progress import progress
from v2vkit.video.footage import Footage, describe
from v2vkit.video.label_files import MapKind, Maps, check_maps, find_maps
from v2vkit.video.label_reading import LabelRules
from v2vkit.video.numbering import missing_numbers
from v2vkit.video.paired import Pictures, find_pictures, open_pictures
from v2vkit.video.png_header import GREY, PALETTE, png_header
from v2vkit.video.sources import SourceFiles, checksum, explain_read_errors, readable, unique_names, utf8_problem


@dataclass(frozen=True)
class OpenedSource:
    """A source that can be opened.

    Attributes:
        source: its files.
        number: its position among the sources that were found, from 1.
        name: for its clips; unique among the sources.
        footage: facts about its frames.
        maps: its maps (labels, depth and so on), if it has any.
        pictures: paired pictures of another look, if it has any.
        label_ids: the ids that occur in its label maps.
    """

    source: SourceFiles
    number: int
    name: str
    footage: Footage
    maps: tuple[Maps, ...] = ()
    pictures: Pictures | None = None
    label_ids: frozenset[int] = frozenset()


def maps_of(source: SourceFiles, roots: dict[MapKind, str], *, several: bool) -> tuple[Maps, ...]:
    """The maps of one source.

    Args:
        source: a video or image sequence.
        roots: kind of map -> folder that the user gave.
        several: there are several sources, so each needs a sub-folder of its name; for a single source it is optional.

    Raises:
        V2VError: a folder is missing, has no maps or files of another kind.
    """

    folders = {what: map_folder(source, root, several=several) for what, root in roots.items()}
    return tuple(Maps(what, folder, find_maps(folder, what)) for what, folder in folders.items())


def map_folder(source: SourceFiles, root: str, *, several: bool) -> str:
    """The folder of one source's maps below the folder that the user gave; `several` as in `maps_of`.

    Data sets (Cityscapes) have the same splits below the images and the maps: images/train/aachen, maps/train/aachen.
    """
    own = Path(root) / source.stem
    in_split = Path(root) / Path(source.path).resolve().parent.name / source.stem
    with explain_read_errors(own):
        if not own.is_dir() and in_split.is_dir():
            return str(in_split)
        return str(own) if several or own.is_dir() else root


def collect(
    sources: tuple[SourceFiles, ...],
    roots: dict[MapKind, str],
    rules: LabelRules,
    *,
    fps: Fraction,
    pictures: str | None = None,
) -> tuple[list[OpenedSource], dict[str, str]]:
    """Opens every source and reads every map.

    Args:
        sources: what was found.
        roots: kind of map -> folder that the user gave.
        rules: requirements on maps.
        fps: rate of image sequences.
        pictures: video or folder of paired pictures that the user gave.

    Returns:
        the sources that can be opened, and path -> reason why it was skipped, or a warning about it.

    Raises:
        V2VError: a map is missing, damaged, of another size than the frames, or breaks the rules, or paired pictures
            are missing or of another aspect ratio. Unlike unreadable sources, these are never skipped: the user would
            train on half of the data.
    """
    skipped = {readable(source.path): reason for source in sources if (reason := utf8_problem(source)) is not None}
    several = len(sources) > 1
    usable = [(number, source) for number, source in enumerate(sources, start=1) if utf8_problem(source) is None]
    beside = "maps" if roots else "pictures"
    if (roots or pictures is not None) and len({source.stem for _, source in usable}) < len(usable):
        raise V2VError(
            "source-name-conflict",
            f"Two sources have the same name, so their {beside} cannot be told apart.",
            "Rename one of them.",
        )
    opened_sources: list[OpenedSource] = []
    for (number, source), name in zip(usable, unique_names(source.stem for _, source in usable), strict=True):
        maps = maps_of(source, roots, several=several)
        try:
            footage = describe(source, fps=fps)
        except V2VError as error:
            skipped[source.path] = error.message
            continue
        if (gap := missing_numbers(source.images)) is not None:
            skipped[source.path] = gap
        found = None if pictures is None else find_pictures(source, pictures, several=several)
        paired = None if found is None else open_pictures(source, footage, found)
        opened_sources.append(OpenedSource(source, number, name, footage, maps, paired))
    for path, reason in _like_maps([opened.source for opened in opened_sources]).items():
        skipped[path] = f"{skipped[path]}; {reason}" if path in skipped else reason
    total = sum(len(maps.names) for opened in opened_sources for maps in opened.maps)
    with progress(total, desc="checking maps", unit="file", quiet=not total) as shown:
        for number, opened in enumerate(opened_sources):
            for of_kind in opened.maps:
                size = (opened.footage.width, opened.footage.height)
                ids = check_maps(opened.source, size, of_kind, rules, shown.update)
                if of_kind.what == "labels":
                    opened_sources[number] = replace(opened, label_ids=ids)
    return opened_sources, skipped


def _like_maps(sources: list[SourceFiles]) -> dict[str, str]:
    """Sentences on image sequences that are probably maps, by their first PNG: path of the first such -> sentence.

    No photograph has one channel of 16 bits. One channel, or 16 bits, are suspicious only beside other sources: grey
    footage, and that of 16 bits, is of one kind.
    """
    headers = [png_header(source.image_path(0)) if source.images else None for source in sources]
    single = [header is not None and header.colour in (GREY, PALETTE) for header in headers]
    deep = [header is not None and header.bits > 8 for header in headers]
    alike: dict[str, list[str]] = {}
    for source, is_single, is_deep in zip(sources, single, deep, strict=True):
        if is_deep and (is_single or not all(deep)):
            alike.setdefault("16 bits, as depth, instance and flow maps have", []).append(source.path)
        elif is_single and not all(single):
            alike.setdefault("one channel, as label maps have, beside sources in colour", []).append(source.path)
    found: dict[str, str] = {}
    for what, (first, *others) in alike.items():
        more = f" (so have {counted(len(others), 'other source')})" if others else ""
        found[first] = (
            f"its pictures have {what}{more}; name the footage alone, and maps with --labels, --instances, --depth "
            "or --flow"
        )
    return found


def checksums(
    sources: tuple[SourceFiles, ...], roots: dict[MapKind, str], *, pictures: str | None = None
) -> dict[str, str]:
    """Name -> SHA-256 of every source, its maps and its pictures; arguments as in `collect`.

    A source's name is its position, which decides how clips are named and packed, and its file name without the folder:
    moving the files does not change the result.

    Raises:
        V2VError: a folder of maps is missing or empty.
    """
    sums: dict[str, str] = {}
    for number, source in enumerate(sources, start=1):
        path = Path(source.path)
        name = source_key(number, source.stem if source.images else path.name)
        sums[name] = _checksum(source)
        if utf8_problem(source) is not None:
            continue  # `collect` leaves it out
        for maps in maps_of(source, roots, several=len(sources) > 1):
            sums[f"{maps.what} of {name}"] = checksum(maps.folder, maps.names)
        if pictures is not None:
            paired = find_pictures(source, pictures, several=len(sources) > 1)
            sums[f"pictures of {name}"] = _checksum(paired)
    return sums


def _checksum(source: SourceFiles) -> str:
    path = Path(source.path)
    return checksum(path, source.images) if source.images else checksum(path.parent, (path.name,))


def source_key(number: int, name: str) -> str:
    """Name of a source in fingerprints: its position, from 1, and its file name without folders."""
    return f"source {number} ({readable(name)})"
