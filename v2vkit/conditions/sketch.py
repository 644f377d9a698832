"""Face sketches: from 68 landmarks to curves, facial parts, background edges, and the 15 channels of the network.

The drawing follows vid2vid's face pre-processing, checked against the reference's own output in tests/golden; the
curves themselves are in `v2vkit.conditions.curves`. Landmarks: float32 [68, 2], see
`v2vkit.conditions.landmarks`; sizes are (width, height).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.conditions.canny import canny as canny_edges
from v2vkit.conditions.curves import CONTOUR, NUM_CURVES, PEN, Strokes, curve_pixels, pen_positions
from v2vkit.conditions.landmarks import (
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    Landmarks,
    add_forehead,
)

Gray = NDArray[np.uint8]

NUM_CHANNELS = 1 + NUM_CURVES

PARTS = ("background", "face", "brows", "nose", "eyes", "mouth", "tongue")  # the index is the value in the part map
_PART_POLYGONS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (1, CONTOUR),
    (2, tuple(RIGHT_BROW)),
    (2, tuple(LEFT_BROW)),
    (3, (28, 31, 32, 33, 34, 35)),
    (4, tuple(RIGHT_EYE)),
    (4, tuple(LEFT_EYE)),
    (5, tuple(OUTER_LIPS)),
    (6, tuple(INNER_LIPS)),
)

_PEN = np.ones((PEN, PEN), np.uint8)
_AS_BITS = {
    cv2.IMWRITE_PNG_BILEVEL: 1,
    cv2.IMWRITE_PNG_COMPRESSION: 1,
    cv2.IMWRITE_PNG_STRATEGY: cv2.IMWRITE_PNG_STRATEGY_RLE,
}
_SUBPIXEL = 16  # steps of a pixel in which irises are placed
_FAR = 30000  # pixels; keeps polygon corners inside OpenCV's fixed-point range


def draw_curves(landmarks: Landmarks, size: tuple[int, int], *, strokes: Strokes | None = None) -> Gray:
    """The union of the 14 curves, uint8 [H, W], 255 on 0; `strokes` as in `draw_sketch`."""
    width, height = size
    x, y, _ = pen_positions(landmarks) if strokes is None else strokes
    near = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)  # at width or height, half of the pen is in the frame
    pen = np.zeros((height + 1, width + 1), np.uint8)
    pen[y[near], x[near]] = 255
    return np.asarray(cv2.dilate(pen, _PEN, anchor=(0, 0)), np.uint8)[:height, :width]


def draw_parts(landmarks: Landmarks, size: tuple[int, int]) -> Gray:
    """The facial-part label map, uint8 [H, W] with values 0..6 (`PARTS`): filled polygons, later parts on top."""
    canvas = np.zeros((size[1], size[0]), np.uint8)
    points = np.clip(np.floor(add_forehead(landmarks)), -_FAR, _FAR).astype(np.int32)
    for part, corners in _PART_POLYGONS:
        cv2.fillPoly(canvas, [points[list(corners)]], (part,))
    return canvas


def background_edges(frame: Image, parts: Gray) -> Gray:
    """Canny edges of the frame where the part map is 0, uint8 [H, W], 255 on 0."""
    gray = np.true_divide(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.float32(255), dtype=np.float32)
    edges = canny_edges(gray).view(np.uint8)
    return np.asarray(cv2.compare(edges, parts, cv2.CMP_GT), np.uint8)  # an edge is 1, the background is part 0


def draw_sketch(
    frame: Image, landmarks: Landmarks | None, *, canny: bool = True, strokes: Strokes | None = None
) -> tuple[Gray, Gray]:
    """Sketch and part map of one frame: (curves and background edges, 255 on 0; labels 0..6), both uint8 [H, W].

    Args:
        frame: RGB uint8 [H, W, 3].
        landmarks: float32 [68, 2]; None gives two empty maps.
        canny: also draw Canny edges of the background.
        strokes: `strokes_of` these landmarks, if computed already.
    """
    height, width = frame.shape[:2]
    if landmarks is None:
        return np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    size = (width, height)
    sketch, parts = draw_curves(landmarks, size, strokes=strokes), draw_parts(landmarks, size)
    if canny:
        sketch |= background_edges(frame, parts)
    return sketch, parts


def distance_maps(
    landmarks: Landmarks | None, size: tuple[int, int], *, strokes: Strokes | None = None
) -> NDArray[np.uint8]:
    """Distance of every pixel from each of the 14 curves: uint8 [14, H, W], a third of the L1 distance, at most 255.

    A curve that is not drawn (no landmarks, outside the frame) is 255 everywhere. `strokes` as in `draw_sketch`.
    """
    width, height = size
    maps = np.full((NUM_CURVES, height, width), 255, np.uint8)
    if landmarks is None:
        return maps
    for index, (rows, columns) in enumerate(curve_pixels(landmarks, size, strokes=strokes)):
        if len(rows):
            canvas = np.ones((height, width), np.uint8)
            canvas[rows, columns] = 0
            distance = cv2.distanceTransform(canvas, cv2.DIST_L1, 3)
            # for integers d, floor(d / 3) = round((d - 1) / 3), which OpenCV computes and saturates in one pass
            cv2.convertScaleAbs(distance, maps[index], 1 / 3, -1 / 3)
    return maps


def face_channels(landmarks: Landmarks | None, sketch: Gray, *, strokes: Strokes | None = None) -> NDArray[np.uint8]:
    """The channels of the condition `face`, uint8 [15, H, W]: the sketch, then 14 distance maps.

    Args:
        landmarks: float32 [68, 2], or None for a blank frame.
        sketch: uint8 [H, W] from `draw_sketch` of the same frame.
        strokes: as in `draw_sketch`.
    """
    height, width = sketch.shape
    return np.concatenate([sketch[None], distance_maps(landmarks, (width, height), strokes=strokes)])


def draw_irises(irises: Landmarks | None, size: tuple[int, int]) -> Gray:
    """The irises as filled discs, uint8 [H, W], 255 on 0.

    Args:
        irises: float32 [10, 2]: centre and four points of the rim of the right and of the left one; None = none.
        size: (width, height).
    """
    canvas = np.zeros((size[1], size[0]), np.uint8)
    for eye in () if irises is None else (irises[:5], irises[5:]):
        radius = float(np.linalg.norm(eye[1:] - eye[0], axis=1).mean())
        centre = np.clip(np.round(eye[0] * _SUBPIXEL), -_FAR, _FAR).astype(int)
        radius_fixed = round(min(max(radius, 0.5), size[0]) * _SUBPIXEL)
        cv2.circle(canvas, (int(centre[0]), int(centre[1])), radius_fixed, (255,), -1, shift=_SUBPIXEL.bit_length() - 1)
    return canvas


def encode_drawing(drawing: Gray, *, strokes: bool = False) -> bytes:
    """Lossless PNG of a part map or, with `strokes`, of a drawing of 0 and 255 with one bit per pixel.

    For part maps OpenCV's own filter and strategy take a third of the time of an explicit compression level, and fewer
    bytes. Strokes are fastest to write and read as run-length coded bits, and a third smaller.
    """
    flags = [number for flag in _AS_BITS.items() for number in flag] if strokes else []
    ok, data = cv2.imencode(".png", drawing, flags)
    assert ok, "a uint8 image can always be encoded"
    return data.tobytes()
