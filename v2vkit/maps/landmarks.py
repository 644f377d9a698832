"""The 68 facial landmarks: which is which, the forehead, gaps and smoothing in time, the JSON on disk.

Shapes: landmarks are float32 [68, 2] as (x, y) in pixels, in dlib (iBUG-68) order; a landmark at x lies in pixel column
floor(x). A frame without landmarks is None.

Everything in time is a generator with a bounded look-ahead, used for whole clips and for streams alike, so that
`render` sees the same numbers as training did.
"""

import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError

Landmarks = NDArray[np.float32]
Image = NDArray[np.uint8]
Missing = Literal["hold", "blank"]

NUM_LANDMARKS = 68
JAW = range(17)
RIGHT_BROW, LEFT_BROW = range(17, 22), range(22, 27)
NOSE_BRIDGE, NOSE_BASE = range(27, 31), range(31, 36)
RIGHT_EYE, LEFT_EYE = range(36, 42), range(42, 48)
OUTER_LIPS, INNER_LIPS = range(48, 60), range(60, 68)
INNER_POINTS = slice(17, 68)  # without the jaw line
FOREHEAD = range(68, 83)  # made by `add_forehead`

HOLD_FRAMES = 15  # look-ahead of `fill_gaps`: half a second of video
_MAX_COORDINATE = 1e5  # a landmark farther away than this is damage, not a face at the border
_DECIMALS = 3  # of a pixel, on disk and in memory alike


def add_forehead(landmarks: Landmarks) -> NDArray[np.float32]:
    """The landmarks and the 15 synthetic points of the forehead (68..82), float32 [83, 2].

    Jaw points 15..1 are mirrored about the mean height of the jaw's two ends, with 2/3 of the distance (vid2vid's face
    pre-processing), so that 0..16 and 68..82 together run once around the face.
    """
    axis = (landmarks[0, 1] + landmarks[16, 1]) / 2
    forehead = landmarks[15:0:-1].copy()
    forehead[:, 1] = axis - (forehead[:, 1] - axis) * np.float32(2 / 3)
    return np.concatenate([landmarks, forehead])


def outer_eye_distance(landmarks: Landmarks) -> float:
    """Distance in pixels between the outer corners of the eyes (points 36 and 45)."""
    return float(np.linalg.norm(landmarks[36] - landmarks[45]))


def landmark_error(estimate: Landmarks, truth: Landmarks) -> NDArray[np.float32]:
    """Normalised error of every landmark: its distance divided by the outer eye distance of `truth`, float32 [68].

    The mean over all points is the usual NME of 300-W; over `INNER_POINTS` it leaves out the jaw line.
    """
    distance = np.linalg.norm(estimate - truth, axis=1) / max(outer_eye_distance(truth), 1e-6)
    return distance.astype(np.float32)


def fill_gaps(found: Iterable[Landmarks | None], *, look_ahead: int = HOLD_FRAMES) -> Iterator[Landmarks | None]:
    """Landmarks for the frames in which no face was found (policy `hold`).

    A gap of at most `look_ahead` frames is interpolated linearly between its neighbours. In a longer one the last face
    is held, and the last `look_ahead` frames move linearly to the next face. After the last face it is held; before the
    first one, that one is held for at most `look_ahead` frames and the frames before them stay None. So a frame never
    depends on anything more than `look_ahead` frames later, and a stream gives the numbers of the whole clip.
    """
    last: Landmarks | None = None
    waiting = 0
    for landmarks in found:
        if landmarks is None:
            waiting += 1
            if waiting > look_ahead:
                waiting -= 1
                yield last
            continue
        for step in range(1, waiting + 1):
            yield landmarks if last is None else last + (landmarks - last) * np.float32(step / (waiting + 1))
        waiting, last = 0, landmarks
        yield landmarks
    for _ in range(waiting):
        yield last


def smooth_landmarks(landmarks: Iterable[Landmarks | None], window: int) -> Iterator[Landmarks | None]:
    """Landmarks smoothed in time with a centred Gaussian over `window` frames; 0 or 1 changes nothing.

    The standard deviation is a quarter of the window. At the ends of the clip and beside frames without landmarks the
    weights that remain are renormalised; frames without landmarks stay None. It yields with a delay of
    `window // 2` frames, and a stream gives exactly the numbers of the whole clip.

    Args:
        landmarks: one entry per frame.
        window: number of frames, odd (an even one counts as the next odd one).
    """
    radius = window // 2
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(window / 4, 1e-6)) ** 2).astype(np.float32)
    around: deque[Landmarks | None] = deque([None] * (2 * radius + 1), maxlen=2 * radius + 1)
    for count, current in enumerate(chain(landmarks, [None] * radius), start=1):
        around.append(current)
        if count > radius:
            yield _weighted_mean(around, weights)


def _weighted_mean(around: Sequence[Landmarks | None], weights: NDArray[np.float32]) -> Landmarks | None:
    if around[len(around) // 2] is None:
        return None
    total, weight_sum = np.zeros((NUM_LANDMARKS, 2), np.float32), np.float32(0)
    for landmarks, weight in zip(around, weights, strict=True):
        if landmarks is not None:
            total += weight * landmarks
            weight_sum += weight
    return total / weight_sum


def follow_face(
    frames: Iterable[Image],
    estimate: Callable[[Image], Landmarks | None],
    *,
    smooth: int = 0,
    missing: Missing = "hold",
) -> Iterator[tuple[Image, Landmarks | None, bool]]:
    """The landmarks of one clip as the maps use them: (frame, landmarks or None, found) in frame order.

    `found` tells whether the estimator saw a face in this very frame. Frames are pulled only as far ahead as needed:
    `smooth // 2`, and `HOLD_FRAMES` more while no face is found. Values are rounded to what the JSON keeps, so that a
    map drawn now and one drawn later from disk are the same.

    Args:
        frames: RGB uint8 [H, W, 3], consecutive frames of one shot.
        estimate: a face estimator.
        smooth: window of `smooth_landmarks` in frames, 0 = off.
        missing: `hold` fills frames without a face (`fill_gaps`), `blank` leaves them None.
    """
    buffered: deque[tuple[Image, bool]] = deque()

    def estimates() -> Iterator[Landmarks | None]:
        for frame in frames:
            landmarks = estimate(frame)
            buffered.append((frame, landmarks is not None))
            yield landmarks

    filled = fill_gaps(estimates()) if missing == "hold" else estimates()
    for landmarks in smooth_landmarks(filled, smooth) if smooth > 1 else filled:
        frame, found = buffered.popleft()
        yield frame, None if landmarks is None else np.round(landmarks, _DECIMALS), found


def landmarks_to_json(landmarks: Landmarks | None, *, found: bool, size: tuple[int, int], estimator: str) -> bytes:
    """The landmark file of one frame: points (or null), whether this frame's face was found, image size, estimator."""
    points = None if landmarks is None else np.round(landmarks.astype(np.float64), _DECIMALS).tolist()
    document = {"landmarks": points, "found": found, "width": size[0], "height": size[1], "estimator": estimator}
    return json.dumps(document).encode()


def landmarks_from_json(data: bytes) -> tuple[Landmarks | None, tuple[int, int]]:
    """Landmarks (float32 [68, 2] or None) and image size (width, height) from `landmarks_to_json`.

    Raises:
        V2VError: not JSON, not 68 points, or a value that is no finite pixel coordinate.
    """
    hint = "Run `v2v make-sketches --overwrite` again."
    try:
        document = json.loads(data)
        size = int(document["width"]), int(document["height"])
        points = document["landmarks"]
        if points is None:
            return None, size
        values = [[float(v) for v in point] for point in points]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise V2VError(f"A landmark file cannot be read: {type(error).__name__}: {error}.", hint) from None
    if len(values) != NUM_LANDMARKS or any(len(point) != 2 for point in values):
        raise V2VError(f"A landmark file holds {len(values)} entries instead of {NUM_LANDMARKS} points (x, y).", hint)
    if not all(math.isfinite(v) and abs(v) <= _MAX_COORDINATE for point in values for v in point):
        raise V2VError("A landmark file holds a value that is no pixel coordinate.", hint)
    return np.asarray(values, np.float32), size
