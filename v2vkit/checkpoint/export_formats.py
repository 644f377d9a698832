"""Formats of `v2v export` and its target, without torch, so that help and checks need not load it."""

from pathlib import Path
from typing import Literal

from v2vkit.errors import V2VError

ExportFormat = Literal["onnx", "torch-export"]
ENDINGS: dict[ExportFormat, str] = {"onnx": ".onnx", "torch-export": ".pt2"}


def check_folder(path: str) -> None:
    """Refuses a target that is not a new or empty folder.

    Raises:
        V2VError: it has files, or is a file.
    """
    folder = Path(path)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise V2VError("folder-not-empty", f"{path} exists and is not an empty folder.", "Name a new folder.")
