"""Pairing of OpenPose files and frames: by name for images, else by number or position; an unclear pairing is an error.

OpenPose writes NAME_keypoints.json for an image NAME.jpg, and VIDEO_000000000012_keypoints.json for frame 12 of VIDEO.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Self

from v2vkit.artifacts.clip_source import ClipSource
from v2vkit.errors import V2VError, counted

HINT = "Give one JSON file per frame: named as its image, or, of a video, numbered from 0 as OpenPose numbers frames."


@dataclass(frozen=True)
class FileNames:
    """The names of the files in a folder.

    Attributes:
        where: the folder, for messages.
        names: in natural order.
        by_stem: name without `_keypoints.json` -> name.
        numbered: number -> name; None if the names differ in more than a number.
    """

    where: str
    names: tuple[str, ...]
    by_stem: dict[str, str]
    numbered: dict[int, str] | None

    @classmethod
    def of(cls, names: Sequence[str], where: str) -> Self:
        stems = [Path(name).stem.removesuffix("_keypoints") for name in names]
        numbers = _numbers(stems)
        numbered = dict(zip(numbers, names, strict=True)) if numbers else None
        return cls(where, tuple(names), dict(zip(stems, names, strict=True)), numbered)


def files_of_frames(files: FileNames, source: ClipSource) -> list[str]:
    """The names of the files of a clip's frames, in order; run `check_pairing` on the whole source first.

    Args:
        files: of the source.
        source: of the clip (`ClipInfo.source`).

    Raises:
        V2VError: a frame has no file.
    """
    where, numbered = files.where, files.numbered
    images = [Path(image).stem for image in source.get("images", ())]
    if any(image in files.by_stem for image in images):
        absent = next((image for image in images if image not in files.by_stem), None)
        if absent is not None:
            raise V2VError(
                "keypoints-missing",
                f"{where} holds no key points for the image {absent}.",
                f"Add {absent}_keypoints.json.",
            )
        return [files.by_stem[image] for image in images]
    positions = source.get("frames", range(source["start"], source["stop"]))  # `frames`: if the video was thinned
    by_number = numbered is not None and not _consecutive(numbered)
    found: Mapping[int, str] | Sequence[str] = numbered if numbered is not None and by_number else files.names
    lost = next((n for n in positions if (n not in found if by_number else n >= len(found))), None)
    if lost is not None:
        raise V2VError("keypoints-missing", f"{where} holds no key points for frame {lost} of {_file(source)}.", HINT)
    return [found[position] for position in positions]


def check_pairing(files: FileNames, sources: Sequence[ClipSource], length: int | None) -> str:
    """Check that every frame of a source has exactly one file.

    Args:
        files: of the source.
        sources: of its clips (`ClipInfo.source`).
        length: number of frames of the whole source; None = not known.

    Returns:
        a note for the user (unused files, how numbers were interpreted); empty = none.

    Raises:
        V2VError: files are missing, or the pairing is not clear.
    """
    where = files.where
    if len(files.by_stem) < len(files.names):
        twice = next(name for name in files.names if name not in files.by_stem.values())
        raise V2VError("keypoints-ambiguous", f"{where} holds two files for one frame, such as {twice}.", HINT)
    images = [Path(image).stem for source in sources for image in source.get("images", ())]
    note = ""
    if files.by_stem.keys() & set(images):
        note = _check_names(files.by_stem, images, length, where)
    elif files.numbered is not None:
        note = _check_numbers(files.numbered, sources, length, where)
    elif length != len(files.names):
        frames = "some frames were left out on purpose" if length is None else f"there are {length} frames"
        raise V2VError(
            "keypoints-ambiguous",
            f"The files in {where} ({files.names[0]}, ...) have no common numbering, and their number differs: "
            f"{len(files.names)} JSON files, and of {_file(sources[0])} {frames}.",
            HINT,
        )
    for source in sources:
        files_of_frames(files, source)
    return note


def _check_names(stems: Collection[str], images: list[str], length: int | None, where: str) -> str:
    """Pairing by name: every image must have a file; files without an image are noted."""
    absent = [image for image in images if image not in stems]
    if absent:
        raise V2VError(
            "keypoints-missing",
            f"{where} holds no key points for {len(absent)} of {len(images)} images, such as {absent[0]}.",
            f"Add {absent[0]}_keypoints.json.",
        )
    spare = len(stems) - (len(images) if length is None else length)
    if length is None or spare <= 0:  # unknown: the other images may be excluded by --max-frames
        return ""
    return f"{spare} of {len(stems)} files in {where} are left out: there is no image of their name"


def _check_numbers(numbered: dict[int, str], sources: Sequence[ClipSource], length: int | None, where: str) -> str:
    """Pairing by number: without gaps in the order of the frames; with gaps by frame number, for videos only."""
    first, file, count = min(numbered), _file(sources[0]), len(numbered)
    apart = _image_gap(sources)
    if apart is not None:
        raise V2VError(
            "keypoints-ambiguous",
            f"The images of {file} are not numbered consecutively ({apart}), and the files in {where} have other names "
            f"({numbered[first]}, ...).",
            HINT,
        )
    if not _consecutive(numbered):
        missing = next(number for number in range(first, max(numbered)) if number not in numbered)
        if sources[0].get("images") or first:
            raise V2VError(
                "keypoints-missing",
                f"{where} holds no file number {missing} ({count} files from {numbered[first]} on).",
                HINT,
            )
        if length is not None and max(numbered) >= length:
            raise V2VError(
                "frame-count-mismatch",
                f"{where} holds {numbered[max(numbered)]}, but {file} has {counted(length, 'frame')}.",
                HINT,
            )
        return ""
    stop = max(source["stop"] for source in sources)
    if count < stop or (length is not None and count != length):
        told = (
            f"{file} has {counted(length, 'frame')}"
            if length is not None
            else f"the clips of {file} reach frame {stop - 1}"
        )
        raise V2VError("frame-count-mismatch", f"{where} holds {count} JSON files, but {told}.", HINT)
    start = _first_number(sources)
    if first == start or length is not None:
        return ""
    return f"{numbered[first]} in {where} is taken for the first frame, which has the number {start}"


def _image_gap(sources: Sequence[ClipSource]) -> str | None:
    """The first two neighbouring images whose numbers are not consecutive; None = none, or images without numbers."""
    placed = {
        source["start"] + number: Path(image).stem
        for source in sources
        for number, image in enumerate(source.get("images", ()))
    }
    ordered = sorted(placed)
    numbers = _numbers([placed[position] for position in ordered])
    for n, (before, after) in enumerate(pairwise(ordered if numbers else [])):
        if numbers[n + 1] - numbers[n] != after - before:
            return f"{placed[before]}, {placed[after]}"
    return None


def _first_number(sources: Sequence[ClipSource]) -> int:
    """The number of the first frame of the source; 0 for a video and for images without numbers."""
    first = min(sources, key=lambda source: source["start"])
    numbers = _numbers([Path(image).stem for image in first.get("images", ())])
    return numbers[0] - first["start"] if numbers else 0


def _numbers(stems: Sequence[str]) -> list[int]:
    """The last number in each name, if names differ only in it and no number occurs twice; else empty."""
    parts = [part for part in (re.fullmatch(r"(.*?)(\d{1,18})(\D*)", stem, re.DOTALL) for stem in stems) if part]
    numbers = [int(part[2]) for part in parts]
    alike = len(stems) == len(set(numbers)) and len({(part[1], part[3]) for part in parts}) == 1
    return numbers if alike else []


def _consecutive(numbers: Mapping[int, str]) -> bool:
    return max(numbers) - min(numbers) + 1 == len(numbers)


def _file(source: ClipSource) -> str:
    return Path(source["file"]).name
