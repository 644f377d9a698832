"""The results in a workspace, for its overview: reports of `v2v evaluate`, and videos."""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image
from v2vkit.errors import V2VError
from v2vkit.video.encode import VideoWriter
from v2vkit.video.footage import read_frames
from v2vkit.video.probe import probe
from v2vkit.video.sources import SourceFiles

_REPORT = "evaluation.json"
_PLAYED = {".mp4": ("h264", "av1"), ".webm": ("vp8", "vp9", "av1")}
"""Ending -> codecs that every browser plays."""
MAX_BYTES = 200_000_000
"""All videos of a page together: more makes browsers slow."""


@dataclass(frozen=True)
class Evaluation:
    """A report of `v2v evaluate`.

    Attributes:
        name: its folder below `evaluation`.
        document: the content of its JSON file.
        pictures: name -> PNG, such as the plot over time and the contact sheet.
    """

    name: str
    document: dict[str, Any]
    pictures: dict[str, bytes]


@dataclass(frozen=True)
class Video:
    """A video for the page.

    Attributes:
        name: its caption.
        data: the file.
        media_type: video/mp4 or video/webm.
    """

    name: str
    data: bytes
    media_type: str


def find_evaluations(work: Folder) -> list[Evaluation]:
    """The reports in <work>/evaluation.

    Raises:
        V2VError: a report is damaged.
    """
    if not work.exists("evaluation"):
        return []
    folders = [(name, work / "evaluation" / name) for name in (work / "evaluation").names()]
    return [_evaluation(name, folder) for name, folder in folders if not folder.is_file and folder.exists(_REPORT)]


def _evaluation(name: str, folder: Folder) -> Evaluation:
    try:
        document = json.loads(folder.read(_REPORT))
        if not isinstance(document, dict) or not isinstance(document.get("summary"), dict):
            raise ValueError("it has no summary")
    except (ValueError, RecursionError) as error:
        raise V2VError(
            "evaluation-damaged", f"{folder.url}/{_REPORT} cannot be read: {error}.", "Run `v2v evaluate` again."
        ) from None
    pictures = {file: folder.read(file) for file in folder.names() if file.endswith(".png")}
    for file, data in pictures.items():
        decode_image(data, f"{folder.url}/{file}")
    return Evaluation(name, document, pictures)


def parse_videos(given: Iterable[str]) -> list[tuple[str, Path]]:
    """(caption, path) of settings FILE or NAME=FILE.

    Raises:
        V2VError: a file does not exist.
    """
    found = []
    for text in given:
        name, _, file = text.partition("=")
        path = Path(text) if Path(text).exists() or not file else Path(file)
        if not path.is_file():
            raise V2VError("file-missing", f"The video {path} does not exist.", "Check the path.")
        found.append((path.stem if path == Path(text) else name, path))
    return found


def read_video(name: str, path: Path) -> Video:
    """The file itself if browsers play it, else its frames as H.264, without sound.

    Raises:
        V2VError: it cannot be read.
    """
    info = probe(path)
    if info.codec in _PLAYED.get(path.suffix.lower(), ()):
        return Video(name, path.read_bytes(), f"video/{path.suffix.lower()[1:]}")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "video.mp4"
        with VideoWriter(target, fps=info.fps) as writer:
            for frame in read_frames(SourceFiles(str(path)), fps=info.fps):
                writer.write(frame.image)
        return Video(name, target.read_bytes(), "video/mp4")
