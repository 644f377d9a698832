"""Shot cuts with PySceneDetect, fed with our own frames so that the frame numbers are ours."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from v2vkit.config import DEFAULT_RATE

T = TypeVar("T")
Image = NDArray[np.uint8]
CutMethod = Literal["adaptive", "content", "none"]
DETECTION_SIDE = 256
"""Longer side at which frames are compared; the detectors' thresholds were tuned at about this size."""


def find_cuts(
    images: Iterable[Image],
    *,
    method: CutMethod = "adaptive",
    fps: Fraction = DEFAULT_RATE,
    min_frames: int = 4,
) -> list[int]:
    """Numbers of the frames with which a new shot begins (frame 0 is not among them).

    Memory is constant: only a few frames are held, whatever the length. Settings as of `number_shots`.

    Args:
        images: consecutive frames, RGB uint8 [H, W, 3], best small already (`decode(..., long_side=DETECTION_SIDE)`).
    """
    numbered = number_shots(((None, image) for image in images), method=method, fps=fps, min_frames=min_frames)
    shots = (shot for _, shot in numbered)
    return [number for number, (before, shot) in enumerate(pairwise(shots), start=1) if shot != before]


def number_shots(
    frames: Iterable[tuple[T, Image]],
    *,
    method: CutMethod = "adaptive",
    fps: Fraction = DEFAULT_RATE,
    min_frames: int = 4,
) -> Iterator[tuple[T, int]]:
    """(item, number of its shot, from 0) of every frame, in order.

    The detectors tell of a cut some frames late, so that so many items are held back (`adaptive` 2, `content`
    `min_frames`, `none` 0); pictures are not held.

    Args:
        frames: (item, picture) of consecutive frames: an item is anything, a picture RGB uint8 [H, W, 3], compared
            with its longer side at most `DETECTION_SIDE`.
        method: `adaptive` compares the change of a frame with that of its neighbours and so tolerates fast camera
            motion; `content` takes a fixed threshold; `none` finds nothing.
        fps: frame rate, which the detectors only use for their book-keeping.
        min_frames: cuts closer than this to the one before are ignored (flashes).
    """
    if method == "none":
        for item, _ in frames:
            yield item, 0
        return
    detector = (AdaptiveDetector if method == "adaptive" else ContentDetector)(min_scene_len=min_frames)
    held: deque[tuple[int, T]] = deque()
    cuts: set[int] = set()
    shot = 0

    def oldest() -> tuple[T, int]:
        nonlocal shot
        number, item = held.popleft()
        if number > 0 and number in cuts:
            shot += 1
        cuts.discard(number)
        return item, shot

    last = FrameTimecode(0, float(fps))
    for number, (item, image) in enumerate(frames):
        last = FrameTimecode(number, float(fps))
        found = detector.process_frame(last, cv2.cvtColor(_shrink(image), cv2.COLOR_RGB2BGR))
        cuts.update(cut.frame_num for cut in found)
        held.append((number, item))
        if len(held) > detector.event_buffer_length:
            yield oldest()
    cuts.update(cut.frame_num for cut in detector.post_process(last))
    while held:
        yield oldest()


def _shrink(image: Image) -> Image:
    """The picture as frames are compared; the same where it is small already."""
    height, width = image.shape[:2]
    if max(width, height) <= DETECTION_SIDE:
        return image
    scale = DETECTION_SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
