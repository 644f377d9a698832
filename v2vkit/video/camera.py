"""Cameras and network streams as sources, read by OpenCV; their frames are stamped when they arrive."""

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.config import DEFAULT_RATE, MAX_PIXELS
from v2vkit.errors import V2VError
from v2vkit.video.stream import InputFrame, Source

SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "tcp", "srt")
_MILLISECONDS = Fraction(1, 1000)
_FASTEST = 240
"""Frames per second; drivers that know no rate report 0 or absurd ones."""


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool: ...  # noqa: N802

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]: ...

    def get(self, propId: int) -> float: ...  # noqa: N803

    def release(self) -> None: ...


def _open_capture(device: int | str) -> Capture:
    return cast(Capture, cv2.VideoCapture(device))


def open_camera_source(
    device: int | str,
    *,
    clock: Callable[[], float] = time.monotonic,
    open_capture: Callable[[int | str], Capture] = _open_capture,
) -> Source:
    """A camera, or the video of a URL, without its sound.

    Args:
        device: number of a camera, from 0; or a URL with one of `SCHEMES`.
        clock: gives seconds; frames are stamped with it.
        open_capture: opens the device.

    Raises:
        V2VError: there is no such camera or stream, it gives no frame, or its frames are larger than `MAX_PIXELS`.
    """
    is_url = isinstance(device, str)
    name = device if isinstance(device, str) else f"camera {device}"
    if isinstance(device, str) and device.partition("://")[0].lower() not in SCHEMES:
        raise V2VError("url-unsupported", f"{device} cannot be read as it comes.", f"Give one of {', '.join(SCHEMES)}.")
    capture = open_capture(device)
    there, first = capture.read() if capture.isOpened() else (False, None)
    if not there or first is None:
        capture.release()
        raise V2VError(
            "stream-unreadable" if is_url else "camera-missing",
            f"No picture comes from {name}.",
            "Check that it plays elsewhere." if is_url else "Give another number, and check who else uses the camera.",
        )
    height, width = first.shape[:2]
    if width * height > MAX_PIXELS:
        capture.release()
        raise V2VError("size-too-large", f"The frames of {name} are {width}x{height}.", "Choose a smaller size there.")
    stated = capture.get(cv2.CAP_PROP_FPS)
    fps = Fraction(stated).limit_denominator(1001) if 1 <= stated <= _FASTEST else DEFAULT_RATE

    def frames() -> Iterator[InputFrame]:
        start, last = clock(), -1
        there, image = True, cast(NDArray[np.uint8] | None, first)
        try:
            while there and image is not None:
                last = max(last + 1, round((clock() - start) / _MILLISECONDS))
                yield InputFrame(np.ascontiguousarray(image[..., ::-1]), pts=last)
                there, image = capture.read()
        finally:
            capture.release()

    return Source(name, width, height, fps, frames, time_base=_MILLISECONDS, repeatable=False, timed=True)
