"""Shot detection with PySceneDetect on frames that v2vkit decodes, so that the frame numbers agree."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Literal, TypeVar

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from v2vkit.arrays import Image
from v2vkit.config import DEFAULT_RATE

T = TypeVar("T")
CutMethod = Literal["adaptive", "content", "none"]
DETECTION_SIDE = 256
"""Longer side in pixels at which frames are compared; the detectors' thresholds were tuned at about this size."""
MIN_SHOT = 4
"""Shortest shot in frames; closer cuts (flashes) are ignored."""


def find_cuts(
    images: Iterable[Image],
    *,
    method: CutMethod = "adaptive",
    fps: Fraction = DEFAULT_RATE,
) -> list[int]:
    """Numbers of the frames that begin a new shot, without frame 0.

    Holds only a few frames in memory. Settings as in `number_shots`.

    Args:
        images: consecutive frames, RGB uint8 [H, W, 3]; best small: `decode(..., long_side=DETECTION_SIDE)`.
    """
    numbered = number_shots(((None, image) for image in images), method=method, fps=fps)
    shots = (shot for _, shot in numbered)
    return [number for number, (before, shot) in enumerate(pairwise(shots), start=1) if shot != before]


def number_shots(
    frames: Iterable[tuple[T, Image]],
    *,
    method: CutMethod = "adaptive",
    fps: Fraction = DEFAULT_RATE,
) -> Iterator[tuple[T, int]]:
    """(item, number of its shot, from 0) of every frame, in order.

    Detectors report a cut some frames late, so items are delayed (by 2 frames with `adaptive`, `MIN_SHOT` with
    `content`, 0 with `none`); pictures are not kept.

    Args:
        frames: (item, picture) of consecutive frames. An item is any value; a picture is RGB uint8 [H, W, 3], compared
            with its longer side at most `DETECTION_SIDE`.
        method: `adaptive` compares the change of a frame with that of its neighbours, so it tolerates fast camera
            motion; `content` uses a fixed threshold; `none` finds no cuts.
        fps: frame rate; only for the detectors' time codes.
    """
    if method == "none":
        for item, _ in frames:
            yield item, 0
        return
    detector = (AdaptiveDetector if method == "adaptive" else ContentDetector)(min_scene_len=MIN_SHOT)
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
    """The picture with its longer side at most `DETECTION_SIDE`."""
    height, width = image.shape[:2]
    if max(width, height) <= DETECTION_SIDE:
        return image
    scale = DETECTION_SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
