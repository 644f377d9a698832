"""Shot cuts with PySceneDetect, fed with our own frames so that the frame numbers are ours."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

CutMethod = Literal["adaptive", "content", "none"]
DETECTION_SIDE = 256
"""Longer side at which frames are compared; the detectors' thresholds were tuned at about this size."""


def find_cuts(
    images: Iterable[NDArray[np.uint8]],
    *,
    method: CutMethod = "adaptive",
    fps: Fraction = Fraction(25),
    min_frames: int = 4,
) -> list[int]:
    """Numbers of the frames with which a new shot begins (frame 0 is not among them).

    Memory is constant: only a few frames are held, whatever the length.

    Args:
        images: consecutive frames, RGB uint8 [H, W, 3], small (`decode(..., long_side=DETECTION_SIDE)`).
        method: `adaptive` compares the change of a frame with that of its neighbours and so tolerates fast camera
            motion; `content` takes a fixed threshold; `none` finds nothing.
        fps: frame rate, which the detectors only use for their book-keeping.
        min_frames: cuts closer than this to the one before are ignored (flashes).
    """
    if method == "none":
        for _ in images:
            pass
        return []
    detector = (AdaptiveDetector if method == "adaptive" else ContentDetector)(min_scene_len=min_frames)
    cuts: list[int] = []
    last = FrameTimecode(0, float(fps))
    for number, image in enumerate(images):
        last = FrameTimecode(number, float(fps))
        cuts.extend(cut.frame_num for cut in detector.process_frame(last, cv2.cvtColor(image, cv2.COLOR_RGB2BGR)))
    cuts.extend(cut.frame_num for cut in detector.post_process(last))
    return sorted({cut for cut in cuts if cut > 0})
