"""Checks of output targets: containers, encoders, folders, temporary names."""

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import cv2

from v2vkit.errors import V2VError
from v2vkit.video.pipes import STANDARD

# With its AVX-512 code, x264 sometimes encodes the same frames to other bytes (its macroblock tree reads memory that
# was never written; seen with version 165), so it gets AVX2 where the processor has both.
_AVX512 = 13  # OpenCV's CPU_AVX_512F, which its Python package does not name
_X264_REPEATABLE = {"x264-params": "asm=avx2"} if cv2.checkHardwareSupport(_AVX512) else {}

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
CODECS: dict[str, Callable[[int, str], dict[str, str]]] = {
    "libx264": lambda crf, preset: {"crf": str(crf), "preset": preset} | _X264_REPEATABLE,
    "libx265": lambda crf, preset: {"crf": str(crf), "preset": preset, "x265-params": "log-level=error"},
    "libsvtav1": lambda crf, _: {"crf": str(crf)},
    "h264_nvenc": lambda crf, _: {"rc": "vbr", "cq": str(crf)},
    "hevc_nvenc": lambda crf, _: {"rc": "vbr", "cq": str(crf)},
}
"""Encoders that accept yuv420p -> their options for (crf, preset)."""
HEVC = frozenset(["libx265", "hevc_nvenc"])
WITHOUT_DELAY = {
    "libx264": {"tune": "zerolatency"},
    "libx265": {"tune": "zerolatency"},
    "h264_nvenc": {"zerolatency": "1", "delay": "0"},
    "hevc_nvenc": {"zerolatency": "1", "delay": "0"},
}
"""Encoder options without frame delay, at the cost of file size; libsvtav1 has none and delays dozens of frames."""


def refuse_url(path: str | Path) -> None:
    """Refuses URLs, which fsspec could open but FFmpeg cannot write.

    Raises:
        V2VError: the path is a URL.
    """
    if "://" in str(path):
        raise V2VError(
            "url-unsupported",
            f"{path} is a URL, and a local path is needed.",
            "Give a local path and copy the result from there.",
        )


def refuse_unreplaceable(path: str | Path) -> None:
    """Refuses folders that must not be replaced.

    Raises:
        V2VError: the current folder, one around it, or the root of a file system.
    """
    folder = Path(path).resolve()
    if folder.exists() and (Path.cwd().is_relative_to(folder) or folder.is_mount()):
        what = "a mount point" if folder.is_mount() else "the folder that you are in, or one around it"
        raise V2VError(
            "target-irreplaceable", f"{path} would be replaced, but is {what}.", "Name a new folder inside it."
        )


def keep_source(source: str, target: str) -> None:
    """Refuse to overwrite the source, also if the two paths lead to the same file.

    Raises:
        V2VError: TARGET is SOURCE.
    """
    if STANDARD in (source, target):
        return
    try:
        same = Path(target).samefile(source)
    except (OSError, ValueError):
        return  # one of them does not exist: opening it later raises a better error
    if same:
        what = "folder" if Path(source).is_dir() else "video"
        raise V2VError(
            "target-is-source",
            f"{target} is the source {what} {source} and would be overwritten.",
            "Name another target.",
        )


def check_target(path: str | Path, *, later: bool = False) -> None:
    """Refuses targets that cannot become a video, before any work.

    Args:
        path: the target.
        later: the folder may be missing, because other work creates it first.

    Raises:
        V2VError: a URL or folder, an unknown ending, a name that is too long, or its folder is missing or not writable.
    """
    refuse_url(path)
    try:
        target = Path(path)
        _check_target(target, later=later)
        if target.is_symlink():
            target = target.resolve()
            check_parent(target, later=later)
        temporary_name(target).exists()  # the longest name that is used
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or str(error)
        raise V2VError(
            "target-unwritable",
            f"{path} cannot be written: {reason}.",
            "Choose another name or folder, or fix its permissions.",
        ) from None


def _check_target(target: Path, *, later: bool) -> None:
    if target.suffix.lower() not in CONTAINERS:
        ending = f"not as {target.suffix}" if target.suffix else "and it has no ending"
        raise V2VError(
            "format-unsupported",
            f"{target}: videos are written as {', '.join(CONTAINERS)}, {ending}.",
            "Change the ending; to write pictures, end the name with a slash.",
        )
    if target.is_dir():
        raise V2VError("file-required", f"{target} is a folder.", "Give the name of a file in it.")
    check_parent(target, later=later)


def check_parent(target: Path, *, later: bool = False) -> None:
    """Refuses targets whose folder does not exist or is not writable; `later` as in `check_target`.

    Raises:
        V2VError: that is so.
        OSError: the folder cannot be examined.
    """
    folder = target.parent
    if later and not folder.exists():
        folder = next(parent for parent in folder.absolute().parents if parent.exists())
        if not folder.is_dir():
            raise V2VError(
                "folder-required",
                f"The folder {target.parent} cannot be created: {folder} is a file.",
                "Choose another one.",
            )
    if not folder.is_dir():
        raise missing_folder(folder, target.name)
    if not os.access(folder, os.W_OK):
        raise V2VError("target-unwritable", f"The folder {folder} is not writable.", "Choose another one.")


def missing_folder(folder: Path, name: str) -> V2VError:
    """The error for a file `name` whose folder does not exist or is a file."""
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            return V2VError(
                "folder-required", f"{place} is a file, and {name} needs a folder there.", "Choose another one."
            )
    return V2VError(
        "folder-missing", f"The folder {folder} for {name} does not exist.", f"mkdir -p {shlex.quote(str(folder))}"
    )


def no_frames(target: object) -> V2VError:
    """The error for a target that was closed without a frame."""
    return V2VError("frames-missing", f"There are no frames for {target}.", "Check that the input has frames.")


def size_changed(number: int, target: object, size: tuple[int, int], first: tuple[int, int]) -> V2VError:
    """The error for frame `number`, whose (width, height) is not that of the first."""
    return V2VError(
        "size-mismatch",
        f"Frame {number} for {target} is {size[0]}x{size[1]}, the frames before are {first[0]}x{first[1]}.",
        "All frames of one video must have one size.",
    )


_ASIDE = ".old"


def temporary_name(target: Path) -> Path:
    """Temporary name of a file or folder until it is complete."""
    return target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")


def replace_folder(target: Path, *, by: Path) -> None:
    """Renames a finished folder, written under `temporary_name`, to its target, and then removes the old folder.

    If the process is killed in between, `remove_abandoned` restores the old folder.
    """
    aside = by.with_name(f"{by.name}{_ASIDE}")
    if target.exists():
        target.rename(aside)
    by.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def remove_abandoned(target: Path) -> None:
    """Removes files that killed processes left under `temporary_name` of this target; running processes keep theirs.

    Restores an old folder that `replace_folder` had not replaced yet.
    """
    if os.name != "posix" or not target.parent.is_dir():  # on Windows os.kill(process, 0) ends the process
        return
    name = re.escape(f".{target.stem}") + r"\.(\d+)\.part" + re.escape(target.suffix)
    pattern = re.compile(f"{name}({re.escape(_ASIDE)})?")
    for path in sorted(target.parent.iterdir()):
        if (found := pattern.fullmatch(path.name)) and not _is_alive(int(found[1])):
            with contextlib.suppress(OSError):
                if found[2] and not target.exists():
                    path.rename(target)
                else:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def check_codec(codec: str) -> None:
    """Refuses encoders that are not in `CODECS` or missing in this build of FFmpeg.

    Raises:
        V2VError: with the names of the available encoders.
    """
    there = [name for name in CODECS if _has_encoder(name)]
    if codec not in there:
        raise V2VError(
            "codec-unknown", f"The video encoder {codec!r} is not available.", f"Choose one of: {', '.join(there)}."
        )


def _has_encoder(name: str) -> bool:
    try:
        return av.codec.Codec(name, "w").is_encoder
    except (av.FFmpegError, ValueError):
        return False
