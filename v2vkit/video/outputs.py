"""Outputs of the encoder: a file that gets its name when it is complete, or a pipe."""

import contextlib
from pathlib import Path
from typing import Protocol

import av
from av.container import OutputContainer

from v2vkit.video.pipes import STANDARD_OUTPUT, PipeWriter
from v2vkit.video.targets import CONTAINERS, check_target, remove_abandoned, temporary_name

_CLUSTER = 20  # milliseconds: one frame per Matroska cluster


class Output(Protocol):
    """A target of `VideoWriter`.

    Attributes:
        name: for messages.
        format: FFmpeg's name of the container.
        streamed: a program reads the output while it is written, so the encoder must not delay frames.
    """

    name: str
    format: str
    streamed: bool

    def open(self) -> OutputContainer:
        """The empty container; raises FFmpeg's errors unchanged."""
        ...

    def commit(self) -> None:
        """Gives the complete output its name."""
        ...

    def discard(self) -> None:
        """Removes an incomplete output; does nothing after `commit`."""
        ...


class FileOutput:
    """A file under a temporary name beside its target, which is replaced when the new file is complete.

    If the target is a symbolic link, the file that it points to is replaced.

    Args:
        comment: stored as the metadata `comment` of the container; None = none.

    Raises:
        V2VError: as `check_target`.
    """

    streamed = False

    def __init__(self, path: str | Path, *, comment: str | None = None):
        check_target(path)
        self._comment = comment
        self._target = Path(path).resolve()
        self._temporary = temporary_name(self._target)
        self.name = str(path)
        self.format = CONTAINERS[Path(path).suffix.lower()]

    def open(self) -> OutputContainer:
        """The file under its temporary name."""
        remove_abandoned(self._target)
        options = {"movflags": "+faststart"} if self.format != "matroska" else {}
        # "file:" keeps a name such as "a:b.mp4" from being taken for a protocol.
        return _commented(av.open(f"file:{self._temporary}", "w", format=self.format, options=options), self._comment)

    def commit(self) -> None:
        """Renames the file to its target."""
        self._temporary.replace(self._target)

    def discard(self) -> None:
        """Removes the temporary file."""
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


class PipeOutput:
    """Matroska on standard output; every frame is written as soon as it is encoded.

    Matroska writes whole clusters of frames; here each cluster holds one frame.

    Args:
        comment: as in `FileOutput`.
    """

    streamed = True
    name = STANDARD_OUTPUT
    format = "matroska"

    def __init__(self, pipe: PipeWriter, *, comment: str | None = None):
        self._pipe, self._comment = pipe, comment

    def open(self) -> OutputContainer:
        """The container on the pipe."""
        options = {"cluster_time_limit": str(_CLUSTER), "flush_packets": "1"}
        return _commented(av.open(self._pipe, "w", format=self.format, options=options), self._comment)

    def commit(self) -> None:
        """Nothing to do: everything has been written."""

    def discard(self) -> None:
        """Nothing to do: a pipe cannot be undone."""


def _commented(container: OutputContainer, comment: str | None) -> OutputContainer:
    """The empty container with a comment in its metadata."""
    if comment is not None:
        container.metadata["comment"] = comment
    return container
