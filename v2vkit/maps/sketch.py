"""Face sketches: 68 landmarks -> curves, facial parts, background edges, and the 15 channels of the network.

The drawing follows vid2vid's face pre-processing, checked against the reference's own output in tests/golden; the
curves themselves are in `v2vkit.maps.curves`. Landmarks: float32 [68, 2], see
`v2vkit.maps.landmarks`; sizes are (width, height).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.config import DistanceMaps
from v2vkit.maps.canny import canny as canny_edges
from v2vkit.maps.curves import CONTOUR, NUM_CURVES, PEN, curve_pixels, curve_points, pen_positions
from v2vkit.maps.following import Image
from v2vkit.maps.landmarks import (
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

PARTS = ("background", "face", "brows", "nose", "eyes", "mouth", "tongue")  # value in the part map = position here
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

_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)  # grey level -> [0, 1]
_PEN = np.ones((PEN, PEN), np.uint8)
_HALF_WAY = 16.0  # pixels; the distance at which a subpixel map is half of 255
_FAR = 30000  # pixels; keeps polygon corners inside OpenCV's fixed-point range


def draw_curves(landmarks: Landmarks, size: tuple[int, int]) -> Gray:
    """The union of the 14 curves, uint8 [H, W], 255 on 0."""
    width, height = size
    x, y, _ = pen_positions(landmarks)
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
    gray = cv2.LUT(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), _UNIT)
    edges = canny_edges(np.asarray(gray, np.float32)).view(np.uint8)
    return np.asarray(cv2.compare(edges, parts, cv2.CMP_GT), np.uint8)  # an edge is 1, the background is part 0


def draw_sketch(frame: Image, landmarks: Landmarks | None, *, canny: bool = True) -> tuple[Gray, Gray]:
    """Sketch and part map of one frame: (curves and background edges, 255 on 0; labels 0..6), both uint8 [H, W].

    Args:
        frame: RGB uint8 [H, W, 3].
        landmarks: float32 [68, 2]; None gives two empty maps.
        canny: draw the edges of the background too.
    """
    height, width = frame.shape[:2]
    if landmarks is None:
        return np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    sketch, parts = draw_curves(landmarks, (width, height)), draw_parts(landmarks, (width, height))
    if canny:
        sketch |= background_edges(frame, parts)
    return sketch, parts


def distance_maps(landmarks: Landmarks | None, size: tuple[int, int]) -> NDArray[np.uint8]:
    """How far every pixel is from each of the 14 curves: uint8 [14, H, W], a third of the L1 distance, at most 255.

    A curve that is not drawn (no landmarks, outside the frame) is 255 everywhere.
    """
    width, height = size
    maps = np.full((NUM_CURVES, height, width), 255, np.uint8)
    if landmarks is None:
        return maps
    for index, (rows, columns) in enumerate(curve_pixels(landmarks, size)):
        if len(rows):
            canvas = np.ones((height, width), np.uint8)
            canvas[rows, columns] = 0
            distance = cv2.distanceTransform(canvas, cv2.DIST_L1, 3)
            # whole distances d: floor(d / 3) = round((d - 1) / 3), which OpenCV does and saturates in one pass
            cv2.convertScaleAbs(distance, maps[index], 1 / 3, -1 / 3)
    return maps


def subpixel_distance_maps(landmarks: Landmarks | None, size: tuple[int, int]) -> NDArray[np.uint8]:
    """How far every pixel's centre is from each of the 14 curves, to a fraction of a pixel: uint8 [14, H, W].

    The value of the Euclidean distance d in pixels is 255 d / (d + 16): at a curve one pixel is 16 levels, and far away
    there still is a slope. `distance_maps` count whole pixels in threes, so that a face that moves by less is drawn in
    the same place, and then jumps. A curve that is not drawn is 255 everywhere, as there.
    """
    width, height = size
    maps = np.full((NUM_CURVES, height, width), 255, np.uint8)
    if landmarks is None:
        return maps
    points, of_curve = curve_points(landmarks)
    for index in range(NUM_CURVES):
        distance = _distance(points[:, of_curve == index].astype(np.float32), size)
        if distance is not None:
            maps[index] = np.rint(255 * distance / (distance + _HALF_WAY))
    return maps


def _distance(curve: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32] | None:
    """Euclidean distance of every pixel's centre from a line through points [2, N], [H, W]; None where none is seen.

    Not exact: measured from the two pieces of the line at the nearest pixel with a point in it.
    """
    width, height = size
    columns, rows = np.floor(curve).astype(np.int64)
    seen = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    if not seen.any():
        return None
    columns, rows = columns[seen], rows[seen]
    canvas = np.ones((height, width), np.uint8)
    canvas[rows, columns] = 0
    _, nearest = cv2.distanceTransformWithLabels(canvas, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    padded = np.pad(curve, ((0, 0), (1, 1)), mode="edge")
    # point, step from the one before, step to the next, of the nearest pixel's point
    table = np.zeros((6, int(nearest.max()) + 1), np.float32)
    steps = np.diff(padded, axis=1)
    table[:, nearest[rows, columns]] = np.concatenate([curve, -steps[:, :-1], steps[:, 1:]])[:, seen]
    at_x, at_y, *pieces = (of_label.take(nearest, mode="clip") for of_label in table)
    right = np.arange(width, dtype=np.float32) + 0.5 - at_x
    down = np.arange(height, dtype=np.float32)[:, None] + 0.5 - at_y
    before, after = (_from_piece(right, down, *piece) for piece in (pieces[:2], pieces[2:]))
    return np.minimum(before, after)


def _from_piece(
    right: NDArray[np.float32], down: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Distances of (right, down) from the straight pieces between zero and (x, y), all [H, W]."""
    share = (right * x + down * y) / np.maximum(x * x + y * y, 1e-12)
    np.clip(share, 0, 1, out=share)
    return np.asarray(cv2.magnitude(right - share * x, down - share * y), np.float32)


def face_channels(
    landmarks: Landmarks | None, sketch: Gray, distances: DistanceMaps = "published"
) -> NDArray[np.uint8]:
    """The conditioning channels of the face domain, uint8 [15, H, W]: the sketch, then 14 distance maps.

    Args:
        landmarks: float32 [68, 2], or None for a blank frame.
        sketch: uint8 [H, W] from `draw_sketch` of the same frame.
        distances: `distance_maps` as published, or `subpixel_distance_maps`.
    """
    height, width = sketch.shape
    maps = subpixel_distance_maps if distances == "subpixel" else distance_maps
    return np.concatenate([sketch[None], maps(landmarks, (width, height))])


def encode_drawing(drawing: Gray, *, strokes: bool = False) -> bytes:
    """PNG bytes of a part map, or of `strokes` (0 and 255 only: a bit per pixel), lossless.

    OpenCV's own choice of filter and strategy: on drawings it takes a third of the time of an explicit compression
    level, and fewer bytes. Strokes take half of that again, and a third to read.
    """
    ok, data = cv2.imencode(".png", drawing, [cv2.IMWRITE_PNG_BILEVEL, 1] if strokes else [])
    assert ok, "a uint8 image can always be encoded"
    return data.tobytes()
