"""Which part of a frame is kept, and at which size."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.video.decode import Frame


@dataclass(frozen=True)
class Window:
    """A rectangle inside the frame, in whole pixels."""

    x: int
    y: int
    width: int
    height: int


def center_window(width: int, height: int, *, aspect: tuple[int, int]) -> Window:
    """The largest window of the aspect (width, height) in the middle of a frame of `width` x `height`."""
    wide, high = aspect
    if width * high > height * wide:
        new_width = max(1, round(height * wide / high))
        return Window((width - new_width) // 2, 0, new_width, height)
    new_height = max(1, round(width * high / wide))
    return Window(0, (height - new_height) // 2, width, new_height)


def crop_window(crop: str, width: int, height: int, size: tuple[int, int]) -> Window:
    """What `ingest --crop` keeps of a frame of `width` x `height` that becomes `size`: the middle, or everything."""
    return center_window(width, height, aspect=size) if crop == "center" else Window(0, 0, width, height)


def face_window(landmarks: NDArray[np.floating], width: int, height: int) -> Window:
    """The square window around a face, shifted to stay inside the frame (and no larger than it).

    Side 2.5 times the width of the landmarks, centred at the middle of their x range and at a quarter of their y range
    from the top, so that hair and neck are in (Wang et al., Video-to-Video Synthesis, NeurIPS 2018, its released
    preprocessing for faces).

    Args:
        landmarks: [N, 2] (x, y) in pixels of the frame.
        width, height: of the frame.
    """
    left, top = landmarks.min(axis=0)
    right, bottom = landmarks.max(axis=0)
    side = int(np.clip(round(2.5 * float(right - left)), 1, min(width, height)))
    x = round(float(left + right) / 2 - side / 2)
    y = round(float(3 * top + bottom) / 4 - side / 2)
    return Window(int(np.clip(x, 0, width - side)), int(np.clip(y, 0, height - side)), side, side)


def first_face(
    frames: Iterable[Frame], find: Callable[[NDArray[np.uint8]], NDArray[np.float32] | None]
) -> tuple[int, Window] | None:
    """Number of the first frame in which `find` gives landmarks, and the window around them; None without any."""
    for frame in frames:
        landmarks = find(frame.image)
        if landmarks is not None:
            return frame.index, face_window(landmarks, frame.image.shape[1], frame.image.shape[0])
    return None


def reframe(image: NDArray[np.uint8], window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Cuts the window out of a picture [H, W, 3] and resizes it to (width, height): area down, bicubic up."""
    part = _cut(image, window)
    if (window.width, window.height) == size:
        return np.ascontiguousarray(part)
    shrinks = size[0] * size[1] < window.width * window.height
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(part), size, interpolation=how).astype(np.uint8, copy=False)


def reframe_ids(ids: NDArray[np.generic], window: Window, size: tuple[int, int]) -> NDArray[np.generic]:
    """The same for label or instance ids [H, W]: nearest, sampled at pixel centres as the picture is."""
    part = _cut(ids, window)
    if (window.width, window.height) == size:
        return np.ascontiguousarray(part)
    columns = ((np.arange(size[0]) * 2 + 1) * window.width) // (2 * size[0])
    rows = ((np.arange(size[1]) * 2 + 1) * window.height) // (2 * size[1])
    return np.ascontiguousarray(part[rows[:, None], columns])


def _cut(image: NDArray[np.generic], window: Window) -> NDArray[np.generic]:
    return image[window.y : window.y + window.height, window.x : window.x + window.width]
