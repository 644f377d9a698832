"""Raw video on a pipe: YUV4MPEG2 (y4m), which x264, FFmpeg, mpv and most filters read.

The format has a frame rate but no time stamps, and no colour matrix: BT.601, limited range, FFmpeg's default for
untagged video.
"""

from fractions import Fraction
from types import TracebackType
from typing import Self

import numpy as np
from av import VideoFrame
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from v2vkit.errors import counted
from v2vkit.video.geometry import BICUBIC, pad_to_even
from v2vkit.video.pipes import PipeWriter
from v2vkit.video.targets import no_frames, size_changed


class Y4mWriter:
    """Writes frames as 4:2:0 to a pipe; use it as a context manager.

    Args:
        pipe: the target.
        name: of the pipe, for messages.
        fps: constant frame rate of the stream.
        time_base: seconds per tick of `pts`; None = constant rate.

    Attributes:
        problems: a sentence if the frames were not evenly spaced; complete after the block.
        notes: always empty.

    Raises:
        V2VError: frames of several sizes, or none.
        BrokenPipeError: the reader has closed the pipe.
    """

    def __init__(self, pipe: PipeWriter, *, name: str, fps: Fraction, time_base: Fraction | None = None):
        self.name, self.problems, self.num_frames = name, list[str](), 0
        self.notes: list[str] = []
        self._pipe, self._fps, self._time_base = pipe, fps, time_base
        self._size = (0, 0)
        self._first_pts, self._num_moved = 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self.num_frames:
            raise no_frames(self.name)
        if self._num_moved:
            self.problems.append(
                f"y4m has no time stamps: {counted(self._num_moved, 'frame')} of {self.num_frames} would be shown at "
                "another time; Matroska keeps them"
            )

    def write(self, image: NDArray[np.uint8], *, pts: int | None = None, duration: int | None = None) -> None:
        """Adds one frame, RGB uint8 [H, W, 3]; odd sizes are padded to even ones, as by `VideoWriter`."""
        image = pad_to_even(image)
        height, width = image.shape[:2]
        if self.num_frames == 0:
            self._size, self._first_pts = (width, height), pts or 0
            rate = f"{self._fps.numerator}:{self._fps.denominator}"
            self._pipe.write(f"YUV4MPEG2 W{width} H{height} F{rate} Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n".encode())
        if (width, height) != self._size:
            raise size_changed(self.num_frames, self.name, (width, height), self._size)
        if pts is not None and self._time_base is not None:
            late = (pts - self._first_pts) * self._time_base - self.num_frames / self._fps
            self._num_moved += abs(late) * self._fps >= Fraction(1, 2)
        frame = VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(
            format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG", interpolation=BICUBIC, threads=1
        )
        self._pipe.write(b"".join([b"FRAME\n", *(_packed(plane) for plane in frame.planes)]))
        self.num_frames += 1


def _packed(plane: VideoPlane) -> bytes:
    """The samples of a plane without the padding at the end of its rows."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].tobytes()
