"""Resolves the paths that the user gave to sources: video files and sequences of numbered images."""

import glob
import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from v2vkit.errors import V2VError
from v2vkit.video.file_kinds import IMAGE_ENDINGS, IMAGE_KINDS, VIDEO_ENDINGS, refuse_remote, why_unused
from v2vkit.video.numbering import are_decimals, decimal_key, missing_numbers
from v2vkit.video.options import VideoOptions

_DEPTH = 2
"""Levels of sub-folders that are searched: splits of a data set, and its cities."""
_MOST_NAMED = 3


@dataclass(frozen=True)
class SourceFiles:
    """One video file, or one sequence of images.

    Attributes:
        path: the video file, or the folder of the images.
        images: file names in order; empty for a video file.
        options: how a video file is read.
    """

    path: str
    images: tuple[str, ...] = ()
    options: VideoOptions = field(default_factory=VideoOptions)

    @property
    def stem(self) -> str:
        """Name without folder and ending, which names its clips and its folder of labels."""
        return Path(self.path).resolve().name if self.images else Path(self.path).stem

    def image_path(self, number: int) -> Path:
        return Path(self.path) / self.images[number]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that compares digits as numbers: frame2 before frame10."""
    parts = re.findall(r"(\d+)|(\D+)", name)
    return [*((0, int(digits), "") if digits else (1, 0, text.casefold()) for digits, text in parts), (-1, 0, name)]


def find_sources(given: Iterable[str], *, options: VideoOptions | None = None) -> tuple[SourceFiles, ...]:
    """Resolves files, globs, folders of videos, folders of images and folders of such folders, two levels deep.

    Image files of one folder, given by name or glob, form one sequence. `options` apply to every video.

    Raises:
        V2VError: a path does not exist, a glob matches nothing, or a folder holds no footage or a mixture.
    """
    sources: list[SourceFiles] = []
    loose: dict[Path, set[str]] = {}
    for text in given:
        with explain_read_errors(text):
            for path in _expand(text):
                if path.is_dir():
                    sources.extend(_in_folder(path, _DEPTH))
                elif path.suffix.lower() in IMAGE_ENDINGS:
                    loose.setdefault(path.parent, set()).add(path.name)
                else:
                    sources.append(SourceFiles(str(path)))
    sources.extend(_sequence(folder, names) for folder, names in loose.items())
    unique: dict[Path, SourceFiles] = {}
    for source in sources:
        unique.setdefault(Path(source.path).resolve(), source)
    return tuple(replace(source, options=options or VideoOptions()) for source in unique.values())


def left_out(given: Iterable[str]) -> dict[str, str]:
    """Files in folders of footage that are not used: file (or pattern, if there are many) -> reason.

    Raises:
        V2VError: a folder cannot be read.
    """
    found: dict[str, str] = {}
    for text in given:
        with explain_read_errors(text):
            for path in _expand(text):
                if path.is_dir():
                    found |= _left_out_of(path)
    return found


def _left_out_of(folder: Path) -> dict[str, str]:
    reasons: dict[tuple[str, str], list[Path]] = {}
    for place in _folders_of(folder, _DEPTH):
        for path in _visible(place):
            if not path.is_dir() and (reason := why_unused(path)) is not None:
                alike = f"{place}/*{path.suffix}" if "ending" in reason else str(path)
                reasons.setdefault((alike, reason), []).append(path)
    found: dict[str, str] = {}
    for (pattern, reason), paths in reasons.items():
        many = len(paths) > _MOST_NAMED
        found |= {pattern: f"{len(paths)} files: {reason}"} if many else {str(path): reason for path in paths}
    return found


def sequence_problems(given: str) -> list[str]:
    """Sentences on unused files and missing numbers in a folder of images, to be printed after its name."""
    unused = left_out([given]) if Path(given).is_dir() else {}
    gap = missing_numbers(find_sequence(given).images)
    return [*(f"{Path(path).name}: {reason}" for path, reason in unused.items()), *([gap] if gap else [])]


def unsearched_folders(given: Iterable[str], *, known: Iterable[str] = ()) -> dict[str, list[str]]:
    """Sub-folders with videos or images that are not searched, because the folder above holds such files itself.

    Args:
        given: paths as typed.
        known: folders that are used otherwise (label maps).

    Returns:
        folder as typed -> names of its sub-folders.
    """
    elsewhere = {Path(folder).resolve() for folder in known}
    beside: dict[str, list[str]] = {}
    for text in given:
        if _holds_footage(Path(text)):
            inside = [path for path in _visible(Path(text)) if path.resolve() not in elsewhere]
            beside[text] = [path.name for path in inside if _holds_footage(path)]
    return {folder: names for folder, names in beside.items() if names}


def _holds_footage(folder: Path) -> bool:
    with suppress(V2VError):
        endings = VIDEO_ENDINGS | IMAGE_ENDINGS
        return folder.is_dir() and any(p.suffix.lower() in endings and p.is_file() for p in _visible(folder))
    return False


def find_sequence(given: str) -> SourceFiles:
    """The one sequence of images in a folder.

    Raises:
        V2VError: as `find_sources`, or there are several sequences, or videos.
    """
    found = find_sources([given])
    sequences = [source for source in found if source.images]
    if not sequences:
        raise V2VError(
            "footage-missing", f"{given} holds videos ({found[0].path}), no images.", "Give a folder of images."
        )
    if len(found) > 1:
        raise V2VError(
            "source-ambiguous",
            f"{given} holds {len(found)} folders of images or videos, and one folder of images is needed.",
            f"Give one of them, such as {sequences[0].path}.",
        )
    return sequences[0]


@contextmanager
def explain_read_errors(path: str | Path) -> Iterator[None]:
    """Turns OSErrors inside the block into a V2VError that names the path."""
    try:
        yield
    except OSError as error:
        raise V2VError(
            "file-unreadable",
            f"{path} cannot be read: {error.strerror}.",
            "Check the name, and the permissions of its folders.",
        ) from None


def readable(path: str) -> str:
    """The path as valid text: bytes that are not UTF-8 become replacement characters."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def utf8_problem(source: SourceFiles) -> str | None:
    """Why a source cannot be stored in a manifest: one of its names is not valid UTF-8; None if all are."""
    if readable(source.path) != source.path:
        return "its name is not valid UTF-8; rename it"
    foreign = next((name for name in source.images if readable(name) != name), None)
    return None if foreign is None else f"the name of its image {readable(foreign)} is not valid UTF-8; rename it"


def _expand(text: str) -> list[Path]:
    path = Path(text)
    refuse_remote(text)
    if path.exists():
        return [path]
    if not glob.has_magic(text):
        raise V2VError(
            "file-missing",
            f"{text} does not exist.",
            "Give video files, folders of videos, or folders of numbered images.",
        )
    matching = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
    found = [Path(name) for name in sorted(matching, key=natural_key)]
    if not found:
        raise V2VError("file-missing", f"Nothing matches {text}.", "Check the pattern; write it in quotes.")
    return found


def _visible(folder: Path) -> list[Path]:
    try:
        names = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise V2VError(
            "file-unreadable", f"The folder {folder} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
    return sorted(names, key=lambda path: natural_key(path.name))


def _in_folder(folder: Path, depth: int) -> list[SourceFiles]:
    """The sources in a folder or, if it holds no footage itself, in its sub-folders."""
    found = [source for place in _folders_of(folder, depth) for source in _directly_in(place)]
    if not found:
        reasons = [f"{path}: {reason}" for path, reason in _left_out_of(folder).items()]
        why = f" {'; '.join(reasons[:_MOST_NAMED])}." if reasons else ""
        raise V2VError(
            "footage-missing",
            f"The folder {folder} holds no videos and no images that can be read.{why}",
            "Name another one.",
        )
    return found


def _folders_of(folder: Path, depth: int) -> list[Path]:
    """The folder and, if it holds no footage, its sub-folders, to this depth."""
    if depth == 0 or _holds_footage(folder):
        return [folder]
    inside = [path for path in _visible(folder) if path.is_dir()]
    return [folder, *(place for path in inside for place in _folders_of(path, depth - 1))]


def _directly_in(folder: Path) -> list[SourceFiles]:
    files = [path for path in _visible(folder) if path.is_file()]
    videos = [path for path in files if path.suffix.lower() in VIDEO_ENDINGS]
    images = [path.name for path in files if path.suffix.lower() in IMAGE_ENDINGS]
    if videos and images:
        raise V2VError(
            "format-conflict",
            f"The folder {folder} holds both videos ({videos[0].name}) and images ({images[0]}).",
            "Name the files with a pattern such as 'folder/*.mp4'.",
        )
    return [SourceFiles(str(path)) for path in videos] + ([_sequence(folder, images)] if images else [])


def _sequence(folder: Path, names: Iterable[str]) -> SourceFiles:
    names = tuple(names)
    ordered = sorted(names, key=decimal_key if are_decimals(names) else natural_key)
    first = {IMAGE_KINDS[Path(name).suffix.lower()]: Path(name).suffix for name in reversed(ordered)}
    if len(first) > 1:
        raise V2VError(
            "format-conflict",
            f"The images in {folder} have several formats ({', '.join(sorted(first.values()))}), so their order is "
            "ambiguous.",
            f"Choose one format with a pattern such as '{folder}/*{min(first.values())}'.",
        )
    return SourceFiles(str(folder), tuple(ordered))


def unique_names(stems: Iterable[str]) -> list[str]:
    """Names for clips: letters, digits, `_` and `-` only, unique even without regard to case."""
    names: list[str] = []
    taken: set[str] = set()
    for stem in stems:
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:100] or "clip"
        name, number = base, 2
        while name.casefold() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def checksum(folder: str | Path, names: Iterable[str]) -> str:
    """SHA-256 over the names and contents of files; unreadable and irregular files count as the text `unreadable`."""
    total = hashlib.sha256()
    for name in names:
        path, content = Path(folder) / name, "unreadable"
        # Only regular files: reading a pipe or device might never end.
        with suppress(OSError):
            if path.is_file():
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{name}\0{content}\0".encode(errors="surrogateescape"))
    return total.hexdigest()
