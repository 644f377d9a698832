"""Label maps in a .zip as CVAT exports them ("Segmentation mask"), unpacked into a temporary folder of this process.

Archives come from outside: names, kinds, number and sizes of all members are checked before anything is written, and
of the members only the maps and their table are.
"""

import shutil
import stat
import tempfile
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath

from v2vkit.errors import V2VError

_LABEL_MAP = "labelmap.txt"
_WANTED = ("SegmentationClass", "SegmentationObject")
_MAX_MEMBERS = 500_000
_MAX_BYTES = 32 << 30
_MAX_RATIO = 200  # maps are PNGs, which hardly shrink again; deflate reaches 1032
_SMALL = 64 << 20  # archives that unpack to less may have any ratio
_EXPORT = "Export the task from CVAT as `Segmentation mask`, or unpack the archive and give its folder."


def is_zip(path: str | None) -> bool:
    """Whether a path given for label maps means a .zip."""
    return path is not None and Path(path).suffix.lower() == ".zip"


def unpacked(path: str) -> str:
    """The folder with the content of CVAT's archive; unpacked once, and removed when the process ends.

    Raises:
        V2VError: missing, damaged, encrypted, unsafe to unpack, or not CVAT's.
    """
    try:
        found = Path(path).stat()
    except OSError as error:
        raise V2VError("file-missing", f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    return _unpacked(str(Path(path).resolve()), found.st_mtime_ns, found.st_size)[1]


@lru_cache(maxsize=4)
def _unpacked(path: str, _changed: int, size: int) -> tuple["tempfile.TemporaryDirectory[str]", str]:
    """The temporary folder, which lives as long as the process, and the folder in it that holds `labelmap.txt`."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked(path, archive.infolist(), size)
            root = _root(path, members)
            folder = tempfile.TemporaryDirectory(prefix="v2v-labels-", ignore_cleanup_errors=True)
            place = Path(folder.name) / Path(path).name  # errors about a map then name the archive
            for name, member in members.items():
                inner = name.relative_to(root) if name.is_relative_to(root) else None
                if inner is not None and _is_wanted(inner):
                    target = place / inner
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(member) as source, target.open("xb") as out:
                        shutil.copyfileobj(source, out)
            return folder, str(place)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
        raise V2VError(
            "archive-damaged", f"{path} cannot be unpacked ({error}).", "Export it again, without a password."
        ) from None
    except OSError as error:
        raise V2VError(
            "archive-damaged", f"{path} cannot be unpacked ({error.strerror or error}).", "Check the disk's space."
        ) from None


def _checked(path: str, members: list[zipfile.ZipInfo], size: int) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of an archive by name.

    Raises:
        V2VError: a name leads out of the folder or occurs twice, a member is no plain file, or they are too many or
            too large.
    """
    total = sum(member.file_size for member in members)
    if len(members) > _MAX_MEMBERS or total > _MAX_BYTES or total > max(_SMALL, _MAX_RATIO * size):
        raise V2VError(
            "archive-unsafe",
            f"{path} would unpack {len(members)} files of {total} bytes from {size}.",
            f"At most {_MAX_MEMBERS} files, {_MAX_BYTES} bytes and {_MAX_RATIO} times the archive's size are "
            "unpacked. Unpack it yourself if you trust it, and give its folder.",
        )
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    seen: set[str] = set()
    for member in members:
        name, kind = PurePosixPath(member.filename), stat.S_IFMT(member.external_attr >> 16)
        problem = None
        if name.is_absolute() or ".." in name.parts or any(letter in member.filename for letter in "\\:\0"):
            problem = "a name that leads out of its folder"
        elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            problem = "a link or special file"
        elif not member.is_dir() and str(name).casefold() in seen:
            problem = "the same name twice"
        if problem is not None:
            raise V2VError(
                "archive-unsafe", f"{path} holds {problem}: {member.filename!r}.", "Export it again from CVAT."
            )
        if not member.is_dir():
            seen.add(str(name).casefold())
            found[name] = member
    return found


def _root(path: str, members: dict[PurePosixPath, zipfile.ZipInfo]) -> PurePosixPath:
    """The folder in the archive with CVAT's table: its root, or its only folder."""
    roots = [name.parent for name in members if name.name == _LABEL_MAP and len(name.parts) <= 2]
    if len(roots) != 1:
        raise V2VError(
            "archive-unsupported",
            f"{path} holds {len(roots) or 'no'} {_LABEL_MAP}: it is no mask archive of CVAT.",
            _EXPORT,
        )
    return roots[0]


def _is_wanted(name: PurePosixPath) -> bool:
    return str(name) == _LABEL_MAP or (name.parts[0] in _WANTED and name.suffix.lower() == ".png")
