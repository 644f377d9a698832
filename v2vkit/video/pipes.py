"""Standard input and output as streams of bytes."""

import contextlib
import os
import sys
from collections.abc import Iterator

from v2vkit.errors import V2VError

STANDARD = "-"
"""Name of standard input (as a source) and standard output (as a target) on the command line."""
STANDARD_INPUT = "standard input"
STANDARD_OUTPUT = "standard output"


class PipeReader:
    """Standard input for a demuxer; cannot seek.

    Attributes:
        num_bytes: bytes read so far.
    """

    def __init__(self) -> None:
        self.num_bytes = 0

    def read(self, size: int) -> bytes:
        """1 to `size` bytes, as soon as any are available; none at the end."""
        data = os.read(0, size)
        self.num_bytes += len(data)
        return data


class PipeWriter:
    """Standard output for a muxer, unbuffered.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
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
    """Refuses a terminal as standard input.

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
    """Refuses a terminal as standard output.

    Raises:
        V2VError: standard output is closed or a terminal.
    """
    with contextlib.suppress(OSError):
        if not os.isatty(1) and sys.stdout is not None:  # None: closed when the program started
            os.fstat(1)
            return
    raise V2VError(
        "pipe-required",
        "Standard output is closed, or a terminal, which cannot show a video.",
        "Pipe it into a program: `v2v render in.mp4 - | ...`.",
    )


@contextlib.contextmanager
def claimed_output() -> Iterator[PipeWriter]:
    """Reserves standard output for the video: everything printed in the block, also by libraries, goes to standard
    error."""
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
