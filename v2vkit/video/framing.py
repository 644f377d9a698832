"""Cropping and resizing of frames."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.video.decode import Frame


@dataclass(frozen=True)
class Window:
    """A rectangle in whole pixels; inside the frame unless stated otherwise."""

    x: int
    y: int
    width: int
    height: int


def center_window(width: int, height: int, *, aspect: tuple[int, int]) -> Window:
    """The largest centred window of an aspect ratio (width, height) in a frame of `width` x `height`."""
    wide, high = aspect
    if width * high > height * wide:
        new_width = max(1, round(height * wide / high))
        return Window((width - new_width) // 2, 0, new_width, height)
    new_height = max(1, round(width * high / wide))
    return Window(0, (height - new_height) // 2, width, new_height)


def crop_window(crop: str, width: int, height: int, size: tuple[int, int]) -> Window:
    """The window of a `width` x `height` frame that `ingest --crop` resizes to `size`: centred, or all of it."""
    return center_window(width, height, aspect=size) if crop == "center" else Window(0, 0, width, height)


def scale_window(window: Window, size: tuple[int, int], other: tuple[int, int]) -> Window:
    """The same part of a picture of another size, to the nearest pixel.

    Args:
        window: inside a picture of `size` (width, height).
        other: width and height of the other picture, which shows the same scene.
    """
    if size == other:
        return window
    (left, right), (top, bottom) = (
        (round(start * of / side), round((start + length) * of / side))
        for start, length, side, of in zip(
            (window.x, window.y), (window.width, window.height), size, other, strict=True
        )
    )
    x, y = min(left, other[0] - 1), min(top, other[1] - 1)
    return Window(x, y, max(1, right - x), max(1, bottom - y))


def face_window(landmarks: NDArray[np.floating], width: int, height: int) -> Window:
    """The square window around a face, shifted to stay inside the frame (and no larger than it).

    Its side is 2.5 times the width of the landmarks. It is centred on the middle of their x range and a quarter of
    their y range from the top, which includes hair and neck (Wang et al., Video-to-Video Synthesis, NeurIPS 2018:
    released preprocessing for faces).

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
    """Number of the first frame in which `find` returns landmarks, and the face window; None if there is none."""
    for frame in frames:
        landmarks = find(frame.image)
        if landmarks is not None:
            return frame.index, face_window(landmarks, frame.image.shape[1], frame.image.shape[0])
    return None


def reframe(image: NDArray[np.uint8], window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Crops a picture [H, W, 3] to the window and resizes it to (width, height): area down, bicubic up.

    Where the window extends beyond the picture, the border is repeated.
    """
    height, width = image.shape[:2]
    left, right, before, after = _visible(window.x, window.width, width, size[0])
    top, bottom, above, below = _visible(window.y, window.height, height, size[1])
    inside = Window(left, top, right - left, bottom - top)
    part = _resized(image, inside, (size[0] - before - after, size[1] - above - below))
    if before or after or above or below:
        part = np.asarray(cv2.copyMakeBorder(part, above, below, before, after, cv2.BORDER_REPLICATE), np.uint8)
    return part


def _visible(start: int, length: int, side: int, target: int) -> tuple[int, int, int, int]:
    """The visible part of a window along one axis.

    Args:
        start, length: the window.
        side: pixels of the picture.
        target: pixels of the resized window.

    Returns:
        begin and end of the visible part (at least a pixel), and the pixels of the target before and after it.
    """
    first = min(max(start, 0), side - 1)
    last = min(max(start + length, first + 1), side)
    before = min(max(round((first - start) * target / length), 0), target - 1)
    after = min(max(round((start + length - last) * target / length), 0), target - 1 - before)
    return first, last, before, after


def _resized(image: NDArray[np.uint8], window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    part = _cut(image, window)
    if (window.width, window.height) == size:
        return np.ascontiguousarray(part)
    shrinks = size[0] * size[1] < window.width * window.height
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(part), size, interpolation=how).astype(np.uint8, copy=False)


def reframe_ids(ids: NDArray[np.generic], window: Window, size: tuple[int, int]) -> NDArray[np.generic]:
    """As `reframe`, for label or instance ids [H, W]: nearest neighbour, at the same pixel centres as the picture."""
    part = _cut(ids, window)
    if (window.width, window.height) == size:
        return np.ascontiguousarray(part)
    columns = ((np.arange(size[0]) * 2 + 1) * window.width) // (2 * size[0])
    rows = ((np.arange(size[1]) * 2 + 1) * window.height) // (2 * size[1])
    return np.ascontiguousarray(part[rows[:, None], columns])


def _cut(image: NDArray[np.generic], window: Window) -> NDArray[np.generic]:
    return image[window.y : window.y + window.height, window.x : window.x + window.width]
