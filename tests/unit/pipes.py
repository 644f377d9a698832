"""Real pipes for the tests: as standard input of this process, and to and from a `v2v` of its own."""

import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

_PATIENCE = 800  # seconds after which a process that hangs is ended, so that the test fails instead of waiting for ever


@contextlib.contextmanager
def standard_input(data: bytes) -> Iterator[None]:
    """What comes from standard input in the block, through a pipe."""
    ours, (reader, writer) = os.dup(0), os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), open(writer, "wb") as pipe:  # noqa: PTH123
            pipe.write(data)

    thread = threading.Thread(target=feed)
    os.dup2(reader, 0)
    os.close(reader)
    thread.start()
    try:
        yield
    finally:
        os.dup2(ours, 0)
        os.close(ours)
        thread.join()


@contextlib.contextmanager
def started(
    *arguments: str, stdin: int = subprocess.PIPE, command: str = "render"
) -> Iterator[subprocess.Popen[bytes]]:
    """`v2v COMMAND ARGUMENTS` in a process of its own with pipes at all ends."""
    line = [sys.executable, "-m", "v2vkit.cli.main", command, *arguments, "--device", "cpu", "--threads", "1"]
    process = subprocess.Popen(line, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watchdog = threading.Timer(_PATIENCE, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def finished(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The same to its end, fed with some bytes."""
    with started(*arguments) as process:
        out, err = process.communicate(data)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


class Ahead:
    """A pipe's end for a muxer: everything is written at once."""

    def __init__(self, process: subprocess.Popen[bytes]):
        assert process.stdin is not None
        self._pipe = process.stdin

    def write(self, data: bytes) -> int:
        """All of the bytes."""
        self._pipe.write(data)
        self._pipe.flush()
        return len(data)


class Behind:
    """A pipe's end for a demuxer."""

    def __init__(self, process: subprocess.Popen[bytes]):
        assert process.stdout is not None
        self._descriptor = process.stdout.fileno()

    def read(self, size: int) -> bytes:
        """What has come."""
        return os.read(self._descriptor, size)


def stream_frames(pipe: Ahead | io.BytesIO, frames: Iterable[NDArray[np.uint8]]) -> Iterator[int]:
    """Writes frames into a pipe as Matroska, one by one; yields their numbers, and closes the stream at the end."""
    options = {"flush_packets": "1", "cluster_time_limit": "20"}
    with av.open(pipe, "w", format="matroska", options=options) as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"tune": "zerolatency"})
        for t, image in enumerate(frames):
            if t == 0:
                stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = t
            container.mux(stream.encode(frame))
            yield t
        container.mux(stream.encode(None))


def decoded(data: bytes, path: Path) -> tuple[list[NDArray[np.uint8]], list[Fraction]]:
    """What came out of a pipe, decoded from a file with PyAV alone: pictures and times in seconds."""
    path.write_bytes(data)
    with av.open(str(path)) as container:
        frames = [
            (frame.to_ndarray(format="rgb24"), frame.pts * frame.time_base) for frame in container.decode(video=0)
        ]
    return [image for image, _ in frames], [time for _, time in frames]
