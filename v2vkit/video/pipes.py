"""Standard input and output as streams of bytes."""

import contextlib
import os
import sys
from collections.abc import Iterator

from v2vkit.errors import V2VError

STANDARD = "-"
"""What is typed for standard input (a source) or standard output (a target)."""
STANDARD_INPUT = "standard input"
STANDARD_OUTPUT = "standard output"


class PipeReader:
    """Standard input for a demuxer: gives what has come, and has no way to seek.

    Attributes:
        num_bytes: how many have been read.
    """

    def __init__(self) -> None:
        self.num_bytes = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes, at least one; none at the end."""
        data = os.read(0, size)
        self.num_bytes += len(data)
        return data


class PipeWriter:
    """What has been standard output, for a muxer: everything is handed on at once.

    Raises:
        BrokenPipeError: whoever read it has gone.
    """

    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        """Writes all of the bytes."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]
        return len(data)


def check_standard_input() -> None:
    """Refuses to wait for a video that somebody would have to type.

    Raises:
        V2VError: standard input is closed or a terminal.
    """
    with contextlib.suppress(OSError):
        if not os.isatty(0):
            os.fstat(0)
            return
    raise V2VError(
        "pipe-required",
        "No video comes from standard input.",
        "Pipe one into the command: `... | v2v render - out.mp4`.",
    )


def check_standard_output() -> None:
    """Refuses to write a video onto a screen.

    Raises:
        V2VError: standard output is closed or a terminal.
    """
    with contextlib.suppress(OSError):
        if not os.isatty(1) and sys.stdout is not None:  # None: it was closed when the program began
            os.fstat(1)
            return
    raise V2VError(
        "pipe-required",
        "Standard output is closed, or a terminal, which cannot show a video.",
        "Pipe it into a program: `v2v render in.mp4 - | ...`.",
    )


@contextlib.contextmanager
def claimed_output() -> Iterator[PipeWriter]:
    """Standard output for the video alone: whatever else is printed in the block, also by libraries, goes to the
    standard error output."""
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    try:
        yield PipeWriter(ours)
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os.dup2(ours, 1)
        os.close(ours)
