"""Sinks of live rendering that show frames and keep none: a window, and a virtual camera (extra `camera`)."""

import importlib.util
import os
import sys
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError

WINDOW, CAMERA = "window", "camera"
"""Names of these targets."""
_TITLE = "v2v live"
_QUIT = (ord("q"), 27)  # or Escape


class WindowSink:
    """Shows every frame in a window. `closed` once the user has closed it, or has pressed q or Escape."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.closed = False
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            cv2.destroyWindow(_TITLE)

    def write(self, image: NDArray[np.uint8], *, pts: int | None = None, duration: int | None = None) -> None:
        """Shows one frame, RGB uint8 [H, W, 3]."""
        if not self._open:
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(_TITLE, image.shape[1], image.shape[0])
            self._open = True
        cv2.imshow(_TITLE, np.ascontiguousarray(image[..., ::-1]))
        key = cv2.waitKey(1) & 0xFF
        if key in _QUIT or cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1:
            self.closed, self._open = True, cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1


class CameraSink:
    """Sends every frame to a virtual camera, which video-call programs offer as a camera.

    Args:
        fps: rate that the camera announces.
    """

    def __init__(self, fps: Fraction):
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.closed = False
        self._fps = fps
        self._camera: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._camera is not None:
            self._camera.close()

    def write(self, image: NDArray[np.uint8], *, pts: int | None = None, duration: int | None = None) -> None:
        """Sends one frame, RGB uint8 [H, W, 3]; all have the size of the first.

        Raises:
            V2VError: this computer has no virtual camera.
        """
        if self._camera is None:
            import pyvirtualcam

            height, width = image.shape[:2]
            try:
                self._camera = pyvirtualcam.Camera(width=width, height=height, fps=float(self._fps))
            except (RuntimeError, ValueError, OSError) as error:
                raise _no_virtual_camera(str(error)) from None
            self.notes.append(f"frames were sent to the camera {self._camera.device}")
        self._camera.send(image)


def _no_virtual_camera(reason: str) -> V2VError:
    how = {
        "linux": "Load the kernel module: sudo modprobe v4l2loopback devices=1",
        "darwin": "Install OBS Studio 30 or newer and start its virtual camera once.",
    }.get(sys.platform, "Install OBS Studio, which brings a virtual camera.")
    return V2VError("camera-missing", f"There is no virtual camera ({reason.splitlines()[0].rstrip('.')}).", how)


def check_live_sink(target: str) -> None:
    """Refuses a window or a virtual camera that cannot be opened, before any work.

    Raises:
        V2VError: there is no display, OpenCV was built without windows, or the package pyvirtualcam is missing.
    """
    if target == WINDOW:
        other = "Give another target with --to, such as out.mp4."
        displays = ("DISPLAY", "WAYLAND_DISPLAY")
        if sys.platform == "linux" and not any(os.environ.get(name) for name in displays):
            raise V2VError("display-missing", "There is no display for a window.", other)
        if "GUI:                           NONE" in cv2.getBuildInformation():
            raise V2VError("display-missing", "This build of OpenCV has no windows (opencv-python-headless).", other)
    if target == CAMERA and importlib.util.find_spec("pyvirtualcam") is None:
        raise V2VError(
            "library-missing",
            "The package pyvirtualcam is missing.",
            "Install it with: pip install 'v2vkit[camera]'",
        )
