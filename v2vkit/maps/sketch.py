"""Face sketches: 68 landmarks -> curves, facial parts, background edges, and the 15 channels of the network.

The drawing follows vid2vid's face pre-processing (parabolas through overlapping triples of landmarks, a 2 x 2 pen, L1
distance maps), checked against the reference's own output in tests/golden. Landmarks: float32 [68, 2], see
`v2vkit.maps.landmarks`; sizes are (width, height).
"""

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.maps.landmarks import (
    FOREHEAD,
    INNER_LIPS,
    JAW,
    LEFT_BROW,
    LEFT_EYE,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    Image,
    Landmarks,
    add_forehead,
)

Gray = NDArray[np.uint8]

NUM_CURVES = 14
NUM_CHANNELS = 1 + NUM_CURVES

_CONTOUR = (*JAW, *FOREHEAD)
# The nose is drawn from point 28 on: the upper bridge (27) has no contour of its own.
CURVES: tuple[tuple[int, ...], ...] = (
    (*_CONTOUR, 0),
    tuple(RIGHT_BROW),
    tuple(LEFT_BROW),
    (28, 31),
    (31, 32, 33, 34, 35),
    (35, 28),
    (36, 37, 38, 39),
    (39, 40, 41, 36),
    (42, 43, 44, 45),
    (45, 46, 47, 42),
    (48, 49, 50, 51, 52, 53, 54),
    (54, 55, 56, 57, 58, 59, 48),
    (60, 61, 62, 63, 64),
    (64, 65, 66, 67, 60),
)

PARTS = ("background", "face", "brows", "nose", "eyes", "mouth", "tongue")  # value in the part map = position here
_PART_POLYGONS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (1, _CONTOUR),
    (2, tuple(RIGHT_BROW)),
    (2, tuple(LEFT_BROW)),
    (3, (28, 31, 32, 33, 34, 35)),
    (4, tuple(RIGHT_EYE)),
    (4, tuple(LEFT_EYE)),
    (5, tuple(OUTER_LIPS)),
    (6, tuple(INNER_LIPS)),
)

_PEN = 2  # pixels
_MAX_CURVATURE = 1.0  # quadratic coefficient (1 / pixel) above which a fit is an artefact of nearly coincident points
_MAX_OVERSHOOT = 0.15  # of the longer side of the points' box; fits on real faces stay below 0.06 where they are good
_FAR = 30000  # pixels; keeps polygon corners inside OpenCV's fixed-point range
_MAX_SAMPLES = 1 << 16
# floor() of a fitted value must not drop a pixel because 9.9999999 came out where 10 went in
_ROUNDING = 1e-6

Points = NDArray[np.float64]


def _through(points: Points) -> Points:
    """Points about one pixel apart on a curve through two or three landmarks, float64 [N, 2].

    A parabola as in vid2vid: the axis in which the landmarks step farther is the independent variable. Where that
    fails (a wide-open mouth, a face in profile: too curved, or far beyond the landmarks) the reference draws a stray
    loop or drops the piece, so that it flickers; here a quadratic curve over the chord length takes its place.
    """
    steps = np.abs(np.diff(points, axis=0)).max(0)
    along = 0 if steps[0] >= steps[1] else 1
    drawn = _parabola(points[:, along], points[:, 1 - along])
    if drawn is not None:
        drawn = drawn if along == 0 else drawn[:, ::-1]
        beyond = max((points.min(0) - drawn.min(0)).max(), (drawn.max(0) - points.max(0)).max())
        if beyond <= _MAX_OVERSHOOT * np.ptp(points, axis=0).max():
            return drawn
    return _arc(points)


def _parabola(u: NDArray[np.float64], v: NDArray[np.float64]) -> Points | None:
    """(u, v) at unit spacing in u on the parabola (line) through three (two) points; None if there is no good one."""
    directions = np.sign(np.diff(u))
    if not directions.all() or directions[0] != directions[-1]:
        return None
    # Newton's form: v = v0 + slope (u - u0) + curvature (u - u0) (u - u1)
    slope, curvature = (v[1] - v[0]) / (u[1] - u[0]), 0.0
    if len(u) == 3:
        curvature = ((v[2] - v[1]) / (u[2] - u[1]) - slope) / (u[2] - u[0])
    if abs(curvature) > _MAX_CURVATURE:
        return None

    def sample(count: int) -> Points:
        t = np.linspace(u[0], u[-1], count)
        return np.stack([t, v[0] + (t - u[0]) * (slope + curvature * (t - u[1]))], axis=1)

    count = _num_samples(abs(u[-1] - u[0]))
    drawn = sample(count)
    gap = float(np.abs(np.diff(drawn, axis=0)).max())
    return drawn if gap <= _PEN else sample(_num_samples(count * gap))


def _arc(points: Points) -> Points:
    """The curve through the points that is quadratic in chord length in both coordinates; repeats count once."""
    moved = np.append(True, np.any(np.diff(points, axis=0) != 0, axis=1))
    points = points[moved]
    chords = np.append(0.0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    t = np.linspace(0, chords[-1], _num_samples(chords[-1]))[:, None]
    curve = np.zeros((len(t), 2))
    for i, point in enumerate(points):
        others = [chord for j, chord in enumerate(chords) if j != i]
        curve += point * np.prod([(t - other) / (chords[i] - other) for other in others], axis=0)
    return curve


def _num_samples(length: float) -> int:
    return min(max(2, round(length)), _MAX_SAMPLES)


def curve_pixels(landmarks: Landmarks, size: tuple[int, int]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The pixels of each of the 14 curves, in the order of `CURVES`: (rows, columns), inside the frame.

    A curve is cut into overlapping triples of landmarks (step 2, shared ends), each replaced by a parabola and drawn
    with a 2 x 2 pen. Landmarks outside the frame are fine: what lies outside is not drawn.
    """
    width, height = size
    points = add_forehead(landmarks).astype(np.float64)
    for curve in CURVES:
        corners = points[list(curve)]
        drawn = np.concatenate([_through(corners[i : i + 3]) for i in range(0, len(curve) - 1, 2)])
        x, y = np.floor(drawn.T + _ROUNDING).astype(np.int64)
        x, y = np.concatenate([x, x - 1, x, x - 1]), np.concatenate([y, y, y - 1, y - 1])
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        yield y[inside], x[inside]


def draw_curves(landmarks: Landmarks, size: tuple[int, int]) -> Gray:
    """The union of the 14 curves, uint8 [H, W], 255 on 0."""
    canvas = np.zeros((size[1], size[0]), np.uint8)
    for rows, columns in curve_pixels(landmarks, size):
        canvas[rows, columns] = 255
    return canvas


def draw_parts(landmarks: Landmarks, size: tuple[int, int]) -> Gray:
    """The facial-part label map, uint8 [H, W] with values 0..6 (`PARTS`): filled polygons, later parts on top."""
    canvas = np.zeros((size[1], size[0]), np.uint8)
    points = np.clip(np.floor(add_forehead(landmarks)), -_FAR, _FAR).astype(np.int32)
    for part, corners in _PART_POLYGONS:
        cv2.fillPoly(canvas, [points[list(corners)]], (part,))
    return canvas


@lru_cache(maxsize=4)
def _inside_share(width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The Gaussian kernel of sigma 1 (radius 4) and its weight that falls inside the frame, per pixel."""
    kernel = np.exp(-0.5 * np.arange(-4, 5, dtype=np.float64) ** 2)
    kernel32 = (kernel / kernel.sum()).astype(np.float32)
    ones = np.ones((height, width), np.float32)
    share = cv2.sepFilter2D(ones, -1, kernel32, kernel32, borderType=cv2.BORDER_CONSTANT)
    return kernel32, share.astype(np.float32)


def background_edges(frame: Image, parts: Gray) -> Gray:
    """Canny edges of the frame where the part map is 0, uint8 [H, W], 255 on 0.

    The edges are scikit-image's `canny` with its defaults (sigma 1, thresholds 0.1 and 0.2 of the range), because the
    reference used it: OpenCV's Canny thins edges along four fixed directions and has no smoothing of its own, and so
    marks other pixels. Only the smoothing is done by OpenCV, with the same kernel and the same normalisation at the
    border: half of the time, the same edges.
    """
    from skimage.feature import canny  # costs a second, and only this function needs it

    height, width = parts.shape
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)
    kernel, share = _inside_share(width, height)
    smooth = cv2.sepFilter2D(gray, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT) / share
    edges = canny(smooth, sigma=0, mode="nearest")
    return (edges & (parts == 0)).astype(np.uint8) * np.uint8(255)


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
            maps[index] = np.minimum(distance / 3, 255)
    return maps


def face_channels(landmarks: Landmarks | None, sketch: Gray) -> NDArray[np.float32]:
    """The conditioning channels of the face domain, float32 [15, H, W] in [0, 1]: the sketch, then 14 distance maps.

    Args:
        landmarks: float32 [68, 2], or None for a blank frame.
        sketch: uint8 [H, W] from `draw_sketch` of the same frame.
    """
    height, width = sketch.shape
    stacked = np.concatenate([sketch[None], distance_maps(landmarks, (width, height))])
    return stacked.astype(np.float32) / np.float32(255)
