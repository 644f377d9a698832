"""The 68 facial landmarks: indices, forehead, smoothing in time, JSON on disk.

Shapes: landmarks are float32 [68, 2] as (x, y) in pixels, in dlib (iBUG-68) order; a landmark at x lies in pixel column
floor(x). A frame without landmarks is None.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.smoothing import Interpolation, Missing, smooth_estimates
from v2vkit.errors import V2VError

F = TypeVar("F")
Real = TypeVar("Real", np.float32, np.float64)
Landmarks = NDArray[np.float32]

NUM_LANDMARKS, NUM_IRISES = 68, 10
JAW = range(17)
RIGHT_BROW, LEFT_BROW = range(17, 22), range(22, 27)
NOSE_BRIDGE, NOSE_BASE = range(27, 31), range(31, 36)
RIGHT_EYE, LEFT_EYE = range(36, 42), range(42, 48)
OUTER_LIPS, INNER_LIPS = range(48, 60), range(60, 68)
INNER_POINTS = slice(17, 68)  # without the jaw line
FOREHEAD = range(68, 83)  # made by `add_forehead`

_MAX_COORDINATE = 1e5  # pixels; a landmark farther away means a damaged file
_DECIMALS = 3  # of a pixel, on disk and in memory alike


def add_forehead(landmarks: Landmarks) -> NDArray[np.float32]:
    """The landmarks and the 15 synthetic points of the forehead (68..82), float32 [83, 2].

    Jaw points 15..1 are mirrored about the mean height of the jaw's two ends, with 2/3 of the distance (vid2vid's face
    pre-processing), so that 0..16 and 68..82 together form a closed contour of the face.
    """
    axis = (landmarks[0, 1] + landmarks[16, 1]) / 2
    forehead = landmarks[15:0:-1].copy()
    forehead[:, 1] = axis - (forehead[:, 1] - axis) * np.float32(2 / 3)
    return np.concatenate([landmarks, forehead])


def outer_eye_distance(landmarks: NDArray[Real]) -> float:
    """Distance in pixels between the outer corners of the eyes (points 36 and 45)."""
    return float(np.linalg.norm(landmarks[36] - landmarks[45]))


def landmark_errors(estimate: NDArray[Real], truth: NDArray[Real]) -> NDArray[Real]:
    """Normalised error of every landmark: its distance divided by the outer eye distance of `truth`, [68].

    The mean over all points is the NME of 300-W; over `INNER_POINTS` it excludes the jaw line.
    """
    return np.linalg.norm(estimate - truth, axis=1) / max(outer_eye_distance(truth), 1e-6)


def _between(before: Landmarks, after: Landmarks, share: float) -> Landmarks:
    return before + (after - before) * np.float32(share)


def _weighted_mean(around: Sequence[Landmarks | None], weights: NDArray[np.float32]) -> Landmarks:
    there = [(landmarks, weight) for landmarks, weight in zip(around, weights, strict=True) if landmarks is not None]
    total, weight_sum = np.zeros_like(there[0][0]), np.float32(0)
    for landmarks, weight in there:
        total += weight * landmarks
        weight_sum += weight
    return total / weight_sum


FACE: Interpolation[Landmarks] = Interpolation(
    _between, _weighted_mean, lambda landmarks: np.round(landmarks, _DECIMALS)
)
"""Interpolation and averaging of landmarks in time."""


def smooth_face(
    frames: Iterable[F],
    estimate: Callable[[F], Landmarks | None],
    *,
    smooth: int = 0,
    missing: Missing = "hold",
    causal: bool = False,
) -> Iterator[tuple[F, Landmarks | None, bool]]:
    """Landmarks of one clip, gaps filled and smoothed: (frame, landmarks or None, found); see `smooth_estimates`."""
    return smooth_estimates(frames, estimate, FACE, window=smooth, missing=missing, causal=causal)


def landmarks_to_json(
    landmarks: Landmarks | None,
    *,
    found: bool,
    size: tuple[int, int],
    estimator: str,
    irises: Landmarks | None = None,
) -> bytes:
    """The landmark file of one frame: points (or null), whether the face was found in this frame, size, estimator.

    Args:
        irises: float32 [10, 2], of the right and the left eye: centre, then four points of the rim; None = left out.
    """
    points = None if landmarks is None else np.round(landmarks.astype(np.float64), _DECIMALS).tolist()
    document = {"landmarks": points, "found": found, "width": size[0], "height": size[1], "estimator": estimator}
    if irises is not None:
        document["irises"] = np.round(irises.astype(np.float64), _DECIMALS).tolist()
    return json.dumps(document).encode()


class LandmarkFile(NamedTuple):
    """Content of a landmark file: points float32 [68, 2] or None, image size (width, height), and whether the face was
    found in this very frame (if not, the points, if any, were interpolated from frames around it); irises float32
    [10, 2] or None."""

    landmarks: Landmarks | None
    size: tuple[int, int]
    found: bool
    irises: Landmarks | None = None


def landmarks_from_json(data: bytes) -> LandmarkFile:
    """What `landmarks_to_json` wrote.

    Raises:
        V2VError: not JSON, not 68 points, or a value that is not a finite pixel coordinate.
    """
    hint = "Run `v2v make-sketches --overwrite` again."
    try:
        document = json.loads(data)
        size = int(document["width"]), int(document["height"])
        points, found = document["landmarks"], bool(document.get("found"))
        if points is None:
            return LandmarkFile(None, size, found)
        values = [[float(v) for v in point] for point in [*points, *(document.get("irises") or ())]]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise V2VError(
            "landmarks-damaged", f"A landmark file cannot be read: {type(error).__name__}: {error}.", hint
        ) from None
    counts = (NUM_LANDMARKS, NUM_LANDMARKS + NUM_IRISES)
    if len(values) not in counts or any(len(point) != 2 for point in values):
        raise V2VError(
            "landmarks-damaged",
            f"A landmark file holds {len(values)} entries instead of {NUM_LANDMARKS} points (x, y).",
            hint,
        )
    if not all(math.isfinite(v) and abs(v) <= _MAX_COORDINATE for point in values for v in point):
        raise V2VError("landmarks-damaged", "A landmark file holds a value that is not a pixel coordinate.", hint)
    numbers = np.asarray(values, np.float32)
    irises = numbers[NUM_LANDMARKS:] if len(values) > NUM_LANDMARKS else None
    return LandmarkFile(numbers[:NUM_LANDMARKS], size, found, irises)
