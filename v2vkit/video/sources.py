"""What the user typed, as a list of sources: video files and sequences of numbered images."""

import glob
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from v2vkit.errors import V2VError

VIDEO_ENDINGS = frozenset(
    f".{name}"
    for name in (
        *("mp4", "mov", "m4v", "3gp", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts"),
        *("wmv", "flv", "gif", "ogv", "mxf", "dv", "h264", "hevc"),
    )
)
IMAGE_ENDINGS = frozenset([".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"])


@dataclass(frozen=True)
class Source:
    """One video file, or one sequence of images.

    Attributes:
        path: the video file, or the folder of the images.
        images: file names in order; empty for a video file.
    """

    path: str
    images: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """Name without folder and ending, which names its clips and its folder of labels."""
        return Path(self.path).resolve().name if self.images else Path(self.path).stem

    def image_path(self, number: int) -> Path:
        return Path(self.path) / self.images[number]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that reads digits as numbers: frame2 before frame10."""
    parts = re.findall(r"(\d+)|(\D+)", name)
    return [*((0, int(digits), "") if digits else (1, 0, text.casefold()) for digits, text in parts), (-1, 0, name)]


def find_sources(given: Iterable[str]) -> tuple[Source, ...]:
    """Resolves files, globs, folders of videos, folders of images and folders of such folders.

    Image files (named, or matched by a glob) of one folder are one sequence.

    Raises:
        V2VError: a path does not exist, a glob matches nothing, or a folder holds nothing usable or a mixture.
    """
    sources: list[Source] = []
    loose: dict[Path, set[str]] = {}
    for text in given:
        for path in _expand(text):
            if path.is_dir():
                sources.extend(_in_folder(path, deeper=True))
            elif path.suffix.lower() in IMAGE_ENDINGS:
                loose.setdefault(path.parent, set()).add(path.name)
            else:
                sources.append(Source(str(path)))
    sources.extend(_sequence(folder, names) for folder, names in loose.items())
    unique: dict[Path, Source] = {}
    for source in sources:
        unique.setdefault(Path(source.path).resolve(), source)
    return tuple(unique.values())


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if path.exists():
        return [path]
    if not glob.has_magic(text):
        raise V2VError(f"{text} does not exist.", "Give video files, folders of videos, or folders of numbered images.")
    matching = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
    found = [Path(name) for name in sorted(matching, key=natural_key)]
    if not found:
        raise V2VError(f"Nothing matches {text}.", "Check the pattern; write it in quotes.")
    return found


def _visible(folder: Path) -> list[Path]:
    try:
        names = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise V2VError(f"The folder {folder} cannot be read: {error.strerror}.", "Check its permissions.") from None
    return sorted(names, key=lambda path: natural_key(path.name))


def _in_folder(folder: Path, *, deeper: bool) -> Iterator[Source]:
    inside = _visible(folder)
    videos = [path for path in inside if path.is_file() and path.suffix.lower() in VIDEO_ENDINGS]
    images = [path.name for path in inside if path.is_file() and path.suffix.lower() in IMAGE_ENDINGS]
    if videos and images:
        raise V2VError(
            f"The folder {folder} holds both videos ({videos[0].name}) and images ({images[0]}).",
            "Name the files with a pattern such as 'folder/*.mp4'.",
        )
    found = [Source(str(path)) for path in videos]
    if images:
        found.append(_sequence(folder, images))
    if not found and deeper:
        for path in inside:
            if path.is_dir():
                found.extend(_in_folder(path, deeper=False))
    if not found and deeper:
        raise V2VError(f"The folder {folder} holds no videos and no images.", "Name another folder.")
    yield from found


def _sequence(folder: Path, names: Iterable[str]) -> Source:
    ordered = sorted(names, key=natural_key)
    kinds = sorted({Path(name).suffix.lower().replace("jpeg", "jpg").replace("tiff", "tif") for name in ordered})
    if len(kinds) > 1:
        raise V2VError(
            f"The images in {folder} are of several kinds ({', '.join(kinds)}), so their order is not clear.",
            f"Name one kind with a pattern such as '{folder}/*{kinds[0]}'.",
        )
    return Source(str(folder), tuple(ordered))


def unique_names(stems: Iterable[str]) -> list[str]:
    """Names for clips: letters, digits, `_` and `-` only, and no two alike (not even in another case)."""
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
    """SHA-256 over the names and contents of files; a file that cannot be read counts as such."""
    total = hashlib.sha256()
    for name in names:
        try:
            with (Path(folder) / name).open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            content = "unreadable"
        total.update(f"{name}\0{content}\0".encode(errors="surrogateescape"))
    return total.hexdigest()
