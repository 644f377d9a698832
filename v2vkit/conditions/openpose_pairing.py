"""Which OpenPose file belongs to which frame: by name for images, by number or position otherwise, never by guess.

OpenPose writes NAME_keypoints.json for an image NAME.jpg, and VIDEO_000000000012_keypoints.json for frame 12 of VIDEO.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from v2vkit.errors import V2VError

HINT = "Give one JSON file per frame: named as its image, or, of a video, numbered from 0 as OpenPose numbers frames."


@dataclass(frozen=True)
class FileNames:
    """The names of the files in a folder.

    Attributes:
        where: the folder, for messages.
        names: in natural order.
        by_stem: name without `_keypoints.json` -> name.
        numbered: number -> name; None where the names are not alike but for a number.
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


def files_of_frames(files: FileNames, source: Mapping[str, Any]) -> list[str]:
    """The names of the files of a clip's frames, in order; `check_pairing` has found the whole source in order.

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
    positions = source.get("frames", range(source["start"], source["stop"]))  # `frames`: of a thinned video
    by_number = numbered is not None and not _consecutive(numbered)
    found: Mapping[int, str] | Sequence[str] = numbered if numbered is not None and by_number else files.names
    lost = next((n for n in positions if (n not in found if by_number else n >= len(found))), None)
    if lost is not None:
        raise V2VError("keypoints-missing", f"{where} holds no key points for frame {lost} of {_file(source)}.", HINT)
    return [found[position] for position in positions]


def check_pairing(files: FileNames, sources: Sequence[Mapping[str, Any]], length: int | None) -> str:
    """Whether it is clear which file belongs to which frame of a source.

    Args:
        files: of the source.
        sources: of its clips (`ClipInfo.source`).
        length: number of frames of the whole source; None = not known.

    Returns:
        what the user should know: files that are left out, or how numbers were taken; empty = nothing.

    Raises:
        V2VError: it is not clear.
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
            f"The files in {where} ({files.names[0]}, ...) are not numbered alike: it holds {len(files.names)} JSON "
            f"files, and of {_file(sources[0])} {frames}.",
            HINT,
        )
    for source in sources:
        files_of_frames(files, source)
    return note


def _check_names(stems: Collection[str], images: list[str], length: int | None, where: str) -> str:
    """Images that have files of their names: every one must have one, and files without an image are told."""
    absent = [image for image in images if image not in stems]
    if absent:
        raise V2VError(
            "keypoints-missing",
            f"{where} holds no key points for {len(absent)} of {len(images)} images, such as {absent[0]}.",
            f"Add {absent[0]}_keypoints.json.",
        )
    spare = len(stems) - (len(images) if length is None else length)
    if length is None or spare <= 0:  # not known: the other images may be behind --max-frames
        return ""
    return f"{spare} of {len(stems)} files in {where} are left out: there is no image of their name"


def _check_numbers(
    numbered: dict[int, str], sources: Sequence[Mapping[str, Any]], length: int | None, where: str
) -> str:
    """Files with numbers: without gaps they belong to the frames in order; with gaps only to a video's, by number."""
    first, file, count = min(numbered), _file(sources[0]), len(numbered)
    apart = _image_gap(sources)
    if apart is not None:
        raise V2VError(
            "keypoints-ambiguous",
            f"The images of {file} are not numbered one after the other ({apart}), and the files in {where} have other "
            f"names ({numbered[first]}, ...).",
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
                f"{where} holds {numbered[max(numbered)]}, but {file} has {length} frames.",
                HINT,
            )
        return ""
    stop = max(source["stop"] for source in sources)
    if count < stop or (length is not None and count != length):
        told = f"{file} has {length} frames" if length is not None else f"the clips of {file} reach frame {stop - 1}"
        raise V2VError("frame-count-mismatch", f"{where} holds {count} JSON files, but {told}.", HINT)
    start = _first_number(sources)
    if first == start or length is not None:
        return ""
    return f"{numbered[first]} in {where} is taken for the first frame, which has the number {start}"


def _image_gap(sources: Sequence[Mapping[str, Any]]) -> str | None:
    """Two neighbouring images whose numbers are not neighbours; None where there are none, or no numbers."""
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


def _first_number(sources: Sequence[Mapping[str, Any]]) -> int:
    """The number of the first frame of the source: 0 of a video and of images without numbers."""
    first = min(sources, key=lambda source: int(source["start"]))
    numbers = _numbers([Path(image).stem for image in first.get("images", ())])
    return numbers[0] - int(first["start"]) if numbers else 0


def _numbers(stems: Sequence[str]) -> list[int]:
    """The last number in each name, where all are alike but for it, and none twice; empty where they are not."""
    parts = [part for part in (re.fullmatch(r"(.*?)(\d{1,18})(\D*)", stem, re.DOTALL) for stem in stems) if part]
    numbers = [int(part[2]) for part in parts]
    alike = len(stems) == len(set(numbers)) and len({(part[1], part[3]) for part in parts}) == 1
    return numbers if alike else []


def _consecutive(numbers: Mapping[int, str]) -> bool:
    return max(numbers) - min(numbers) + 1 == len(numbers)


def _file(source: Mapping[str, Any]) -> str:
    return Path(source["file"]).name
