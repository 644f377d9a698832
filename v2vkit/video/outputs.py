"""Where an encoded video goes: into a file that gets its name when it is complete, or into a pipe as it is made."""

import contextlib
from pathlib import Path
from typing import Protocol

import av
from av.container import OutputContainer

from v2vkit.video.pipes import STANDARD_OUTPUT, PipeWriter
from v2vkit.video.targets import CONTAINERS, check_target, remove_abandoned, temporary_name

_CLUSTER = 20  # milliseconds


class Output(Protocol):
    """What `VideoWriter` writes to.

    Attributes:
        name: for messages.
        format: FFmpeg's name of the container.
        streamed: somebody reads along, so that frames are not to be held back.
    """

    name: str
    format: str
    streamed: bool

    def open(self) -> OutputContainer:
        """The container, empty; FFmpeg's errors come as they are."""
        ...

    def commit(self) -> None:
        """Gives what is complete its name."""
        ...

    def discard(self) -> None:
        """Removes what is not complete; nothing after `commit`."""
        ...


class FileOutput:
    """A file under a temporary name beside its target; one that exists is replaced when the new one is complete.

    Of a link, what it leads to is replaced, and it stays a link.

    Raises:
        V2VError: as `check_target`.
    """

    streamed = False

    def __init__(self, path: str | Path):
        check_target(path)
        self._target = Path(path).resolve()
        self._temporary = temporary_name(self._target)
        self.name = str(path)
        self.format = CONTAINERS[Path(path).suffix.lower()]

    def open(self) -> OutputContainer:
        """The file under its temporary name."""
        remove_abandoned(self._target)
        options = {"movflags": "+faststart"} if self.format != "matroska" else {}
        # "file:" keeps a name such as "a:b.mp4" from being taken for a protocol.
        return av.open(f"file:{self._temporary}", "w", format=self.format, options=options)

    def commit(self) -> None:
        """The file gets its name."""
        self._temporary.replace(self._target)

    def discard(self) -> None:
        """Removes the temporary file."""
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


class PipeOutput:
    """Matroska on standard output; every frame is handed on when it is encoded.

    Matroska puts frames together in clusters that are written as a whole: here in clusters of one frame each.
    """

    streamed = True
    name = STANDARD_OUTPUT
    format = "matroska"

    def __init__(self, pipe: PipeWriter):
        self._pipe = pipe

    def open(self) -> OutputContainer:
        """The container on the pipe."""
        options = {"cluster_time_limit": str(_CLUSTER), "flush_packets": "1"}
        return av.open(self._pipe, "w", format=self.format, options=options)

    def commit(self) -> None:
        """Everything is there already."""

    def discard(self) -> None:
        """What has been read stays read."""
