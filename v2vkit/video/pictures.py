"""Writes a folder of numbered PNG files, which gets its name when it is complete."""

import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import DISK_FULL, V2VError, disk_full
from v2vkit.video.png_header import with_comment
from v2vkit.video.targets import (
    check_parent,
    no_frames,
    refuse_unreplaceable,
    refuse_url,
    remove_abandoned,
    replace_folder,
    temporary_name,
)

_MARK = ".v2vkit-pictures"
"""Marks folders written by v2vkit, which alone are replaced; holds the names of pictures that are not numbered."""
_NUMBERED = re.compile(r"\d{6,}\.png")


def is_folder_target(target: str) -> bool:
    """Whether a target is a folder of pictures: an existing folder, or a name that ends in a slash."""
    try:
        return target.endswith("/") or Path(target).is_dir()
    except OSError:
        return False  # opening it as a file reports the error


def check_pictures(path: str | Path, *, later: bool = False) -> None:
    """Refuses targets that cannot become a folder of pictures, before any work.

    Args:
        later: as in `check_target`.

    Raises:
        V2VError: a URL, a file, a folder that holds anything but an earlier rendering, or one that cannot be created.
    """
    refuse_url(path)
    with _explain_errors(path):
        refuse_unreplaceable(path)
        target = Path(path).resolve()
        if target.exists() and not target.is_dir():
            raise V2VError(
                "folder-required", f"{path} is a file.", "Name a folder for the pictures, or a video without the slash."
            )
        names = {entry.name for entry in target.iterdir()} if target.exists() else set()
        known = (target / _MARK).read_text("utf-8").splitlines() if _MARK in names else []
        others = sorted(name for name in names - {_MARK, *known} if _NUMBERED.fullmatch(name) is None)
        if names and (_MARK not in names or others):
            raise V2VError(
                "folder-not-empty",
                f"The folder {path} holds {min(others or names)}, which does not belong to an earlier rendering.",
                "Name a folder that is empty or does not exist yet.",
            )
        check_parent(target if Path(path).is_symlink() else Path(path), later=later)


class PictureWriter:
    """Writes frames as 000000.png, 000001.png ... or under given names (lossless); use it as a context manager.

    The folder has a temporary name until it is complete. After an exception, or without a frame, nothing remains.

    Args:
        path: the folder. An existing one is replaced at the end if it is empty or was written by this class.
        names: of the frames in order, without ending; empty = numbers.
        comment: stored in every picture (`v2vkit.video.png_header.with_comment`); None = none.

    Attributes:
        problems, notes: always empty.

    Raises:
        V2VError: the folder holds anything else, is a file, or cannot be written; the disk is full; no frame.
    """

    def __init__(self, path: str | Path, *, names: Sequence[str] = (), comment: str | None = None):
        check_pictures(path)
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise V2VError("name-conflict", f"Two frames would be {twice[0]}.png.", "Rename one of them.")
        self.path, self._names, self._comment = Path(path), tuple(names), comment
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.num_frames = 0
        with _explain_errors(self.path):
            self._target = self.path.resolve()
            self._temporary = temporary_name(self._target)
            remove_abandoned(self._target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def write(self, image: NDArray[np.uint8], *, pts: int | None = None, duration: int | None = None) -> None:
        """Adds one frame, RGB uint8 [H, W, 3]; `pts` and `duration` are ignored."""
        with _explain_errors(self.path):
            if self.num_frames == 0:
                self._temporary.mkdir()
                (self._temporary / _MARK).write_text("".join(f"{name}.png\n" for name in self._names), "utf-8")
            _, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            png = data.tobytes() if self._comment is None else with_comment(data.tobytes(), self._comment)
            name = self._names[self.num_frames] if self._names else f"{self.num_frames:06d}"
            (self._temporary / f"{name}.png").write_bytes(png)
        self.num_frames += 1

    def _finish(self) -> None:
        if not self.num_frames:
            raise no_frames(self.path)
        with _explain_errors(self.path):
            if self._target.exists():
                check_pictures(self.path)  # again: files may have been added meanwhile
            replace_folder(self._target, by=self._temporary)


@contextlib.contextmanager
def _explain_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(path) from None
        raise V2VError(
            "target-unwritable",
            f"{path} cannot be written: {error.strerror}.",
            "Choose another folder, or check its permissions.",
        ) from None
