"""Sources together with the label and instance maps that lie beside them, opened and checked."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from v2vkit.errors import V2VError
from v2vkit.video.footage import Footage, describe
from v2vkit.video.label_files import LabelRules, MapKind, Maps, check_maps, find_maps
from v2vkit.video.numbering import missing_numbers
from v2vkit.video.sources import SourceFiles, checksum, foreign_name, looking_at, readable, unique_names


@dataclass(frozen=True)
class Material:
    """A source that can be opened.

    Attributes:
        source: where it is.
        number: its place among the sources that were found, from 1.
        name: for its clips; unique among the sources.
        footage: facts about its frames.
        maps: its label and instance maps, if it has any.
    """

    source: SourceFiles
    number: int
    name: str
    footage: Footage
    maps: tuple[Maps, ...] = ()


def maps_of(source: SourceFiles, roots: dict[MapKind, str], *, several: bool) -> tuple[Maps, ...]:
    """The maps of one source.

    Args:
        source: a video or image sequence.
        roots: kind of map -> folder that the user gave.
        several: there are several sources, so that each has a sub-folder of its name; a single one may have it.

    Raises:
        V2VError: a folder is missing, has no PNG or images of another kind.
    """

    folders = {what: map_folder(source, root, several=several) for what, root in roots.items()}
    return tuple(Maps(what, folder, find_maps(folder, what)) for what, folder in folders.items())


def map_folder(source: SourceFiles, root: str, *, several: bool) -> str:
    """Where the maps of one source lie below the folder that the user gave; `several` as of `maps_of`.

    Data sets (Cityscapes) have the same splits below the images and the maps: images/train/aachen, maps/train/aachen.
    """
    own = Path(root) / source.stem
    in_split = Path(root) / Path(source.path).resolve().parent.name / source.stem
    with looking_at(own):
        if not own.is_dir() and in_split.is_dir():
            return str(in_split)
        return str(own) if several or own.is_dir() else root


def collect(
    sources: tuple[SourceFiles, ...], roots: dict[MapKind, str], rules: LabelRules, *, fps: Fraction
) -> tuple[list[Material], dict[str, str]]:
    """Opens every source and reads every map.

    Args:
        sources: what was found.
        roots: kind of map -> folder that the user gave.
        rules: what label maps must be like.
        fps: rate of image sequences.

    Returns:
        the sources that can be opened, and path -> what was left out or may not be meant.

    Raises:
        V2VError: a map is missing, damaged, of another size than the frames, or against the rules: those are the
            user's own files, and training on half of them would be worse than stopping.
    """
    skipped = {readable(source.path): reason for source in sources if (reason := foreign_name(source)) is not None}
    several = len(sources) > 1
    usable = [(number, source) for number, source in enumerate(sources, start=1) if foreign_name(source) is None]
    if roots and len({source.stem for _, source in usable}) < len(usable):
        raise V2VError("Two sources have the same name, so that their maps are not clear.", "Rename one of them.")
    materials: list[Material] = []
    for (number, source), name in zip(usable, unique_names(source.stem for _, source in usable), strict=True):
        maps = maps_of(source, roots, several=several)
        try:
            materials.append(Material(source, number, name, describe(source, fps=fps), maps))
        except V2VError as error:
            skipped[source.path] = error.message
        else:
            if (gap := missing_numbers(source.images)) is not None:
                skipped[source.path] = gap
    total = sum(len(maps.names) for material in materials for maps in material.maps)
    with tqdm(total=total, desc="checking maps", unit="file", disable=None if total else True) as progress:
        for material in materials:
            for of_kind in material.maps:
                size = (material.footage.width, material.footage.height)
                check_maps(material.source, size, of_kind, rules, progress.update)
    return materials, skipped


def checksums(sources: tuple[SourceFiles, ...], roots: dict[MapKind, str]) -> dict[str, str]:
    """Name -> SHA-256 of every source and its maps.

    Sources are told apart by their place in the order, which decides how clips are named and packed, and by their name
    without its folder, so that the same files are the same sources wherever they lie.

    Raises:
        V2VError: a folder of maps is missing or empty.
    """
    sums: dict[str, str] = {}
    for number, source in enumerate(sources, start=1):
        path = Path(source.path)
        folder, names = (path, source.images) if source.images else (path.parent, (path.name,))
        name = source_key(number, source.stem if source.images else path.name)
        sums[name] = checksum(folder, names)
        if foreign_name(source) is not None:
            continue  # `collect` leaves it out
        for maps in maps_of(source, roots, several=len(sources) > 1):
            sums[f"{maps.what} of {name}"] = checksum(maps.folder, maps.names)
    return sums


def source_key(number: int, name: str) -> str:
    """What a source is called in fingerprints: its place from 1 on, and its name without folders."""
    return f"source {number} ({readable(name)})"
