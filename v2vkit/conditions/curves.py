"""The 14 curves of a face: the landmarks that they connect, and the pixels that they cover.

The geometry follows vid2vid's face pre-processing (parabolas through overlapping triples of landmarks, a 2 x 2 pen),
checked against the reference's own output in tests/golden. All pieces are computed at once, because this runs in a
thread beside the estimator, where Python's lock is the bottleneck.

Shapes: P pieces, 3 points each; N drawn points.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.landmarks import FOREHEAD, JAW, LEFT_BROW, RIGHT_BROW, Landmarks, add_forehead

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

CONTOUR = (*JAW, *FOREHEAD)
# The nose is drawn from point 28 on: the upper bridge (27) has no contour of its own.
CURVES: tuple[tuple[int, ...], ...] = (
    (*CONTOUR, 0),
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
NUM_CURVES = len(CURVES)

PEN = 2  # pixels
_MAX_CURVATURE = 1.0  # quadratic coefficient (1 / pixel) above which a fit is an artefact of nearly coincident points
_MAX_OVERSHOOT = 0.15  # of the longer side of the points' box; good fits on real faces stay below 0.06
_MAX_SAMPLES = 1 << 16
# added before floor(), so that a fit of 9.9999999 instead of 10 does not change the pixel
_ROUNDING = 1e-6


def _pieces() -> tuple[Indices, NDArray[np.bool_], Indices]:
    """Overlapping triples of landmarks (step 2, shared ends) as first, middle and last; a pair repeats its first.

    Returns:
        int64 [P, 3] landmarks; [P] which pieces are pairs; [P] the curve of each piece.
    """
    triples = [(n, curve[i : i + 3]) for n, curve in enumerate(CURVES) for i in range(0, len(curve) - 1, 2)]
    points = [piece if len(piece) == 3 else (piece[0], *piece) for _, piece in triples]
    pairs = [len(piece) == 2 for _, piece in triples]
    return np.array(points), np.array(pairs), np.array([n for n, _ in triples])


_POINTS, _PAIRS, _CURVE_OF = _pieces()


class Strokes(NamedTuple):
    """Pen positions along the 14 curves of a face, and the curve of each position; int64 [N] each."""

    columns: Indices
    rows: Indices
    curve: Indices


def curve_pixels(
    landmarks: Landmarks, size: tuple[int, int], *, strokes: Strokes | None = None
) -> list[tuple[Indices, Indices]]:
    """The pixels of each of the 14 curves, in the order of `CURVES`: (rows, columns), inside the frame.

    Each triple of landmarks becomes a parabola over the axis along which the landmarks are farther apart. Where that
    fails (a wide-open mouth, a face in profile: too curved, turning back, or far beyond the landmarks) the reference
    draws a stray loop or drops the piece, and flickers; here a curve that is quadratic in chord length replaces it.
    Landmarks may lie outside the frame; pixels outside are not drawn.

    Args:
        landmarks: float32 [68, 2].
        size: (width, height).
        strokes: `strokes_of` these landmarks, if computed already.
    """
    width, height = size
    x, y, curve = pen_positions(landmarks) if strokes is None else strokes
    columns, rows = np.concatenate([x, x - 1, x, x - 1]), np.concatenate([y, y, y - 1, y - 1])
    curve = np.tile(curve, PEN * PEN)
    inside = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    rows, columns, curve = rows[inside], columns[inside], curve[inside]
    order = np.argsort(curve, kind="stable")
    ends = np.cumsum(np.bincount(curve, minlength=NUM_CURVES))[:-1]
    return list(zip(np.split(rows[order], ends), np.split(columns[order], ends), strict=True))


def pen_positions(landmarks: Landmarks) -> Strokes:
    """`strokes_of` one face, float32 [68, 2]."""
    return _strokes([landmarks])[0]


def strokes_of(faces: Sequence[Landmarks | None]) -> list[Strokes | None]:
    """Pen positions along the curves of each face, also outside the frame; None for None.

    At each position the pen covers 2 x 2 pixels: that one, its left, upper and upper left neighbours. Eight faces at
    once take a third of the time of one after the other; the pixels are the same.

    Args:
        faces: float32 [68, 2] each.
    """
    strokes = iter(_strokes([face for face in faces if face is not None]))
    return [None if face is None else next(strokes) for face in faces]


def _strokes(faces: Sequence[Landmarks]) -> list[Strokes]:
    if not faces:
        return []
    landmarks = np.stack([add_forehead(face) for face in faces]).astype(np.float64)
    points = landmarks[:, _POINTS]
    points[:, _PAIRS, 1] = (points[:, _PAIRS, 0] + points[:, _PAIRS, 2]) / 2
    drawn, piece = _draw(points.reshape(-1, 3, 2))
    positions = np.floor(drawn + _ROUNDING).astype(np.int64)
    curve = np.tile(_CURVE_OF, len(faces))[piece]
    ends = np.searchsorted(piece, np.arange(1, len(faces)) * len(_POINTS))
    split = zip(np.split(positions, ends, axis=1), np.split(curve, ends), strict=True)
    return [Strokes(x, y, curve) for (x, y), curve in split]


def _draw(points: Floats) -> tuple[Floats, Indices]:
    """Points at most `PEN` pixels apart on every piece: [P, 3, 2] -> [2, N] and the piece of each, [N]."""
    everything = np.arange(len(points))
    steps = np.abs(np.diff(points, axis=1))
    along = np.where(steps[:, :, 0].max(1) >= steps[:, :, 1].max(1), 0, 1)
    u, v = points[everything, :, along], points[everything, :, 1 - along]
    one_way = np.prod(np.sign(np.diff(u, axis=1)), axis=1) > 0
    # Newton's form: v = v0 + slope (u - u0) + curvature (u - u0) (u - u1), with placeholder numbers where it fails
    safe = np.where(one_way[:, None], u, [0.0, 1.0, 2.0])
    slope = (v[:, 1] - v[:, 0]) / (safe[:, 1] - safe[:, 0])
    curvature = ((v[:, 2] - v[:, 1]) / (safe[:, 2] - safe[:, 1]) - slope) / (safe[:, 2] - safe[:, 0])
    chords = np.linalg.norm(np.diff(points, axis=1), axis=2)
    parabola = one_way & (np.abs(curvature) <= _MAX_CURVATURE)

    def sample(parabola: NDArray[np.bool_], counts: Indices) -> tuple[Floats, Indices, Indices]:
        """Drawn points, the piece of each, and where each piece starts."""
        piece, starts = np.repeat(everything, counts), np.cumsum(counts) - counts
        share = (np.arange(len(piece)) - starts[piece]) / (counts - 1)[piece]
        u0, u1 = u[:, 0][piece], u[:, 1][piece]
        on_u = u0 + share * (u[:, 2] - u[:, 0])[piece]
        on_v = v[:, 0][piece] + (on_u - u0) * (slope[piece] + curvature[piece] * (on_u - u1))
        level = (along == 0)[piece]
        drawn = np.stack([np.where(level, on_u, on_v), np.where(level, on_v, on_u)])
        if not parabola.all():
            others = np.flatnonzero(~parabola[piece])
            drawn[:, others] = _arc(points[piece[others]], chords[piece[others]], share[others]).T
        return drawn, piece, starts

    counts = _counts(np.where(parabola, np.abs(u[:, 2] - u[:, 0]), chords.sum(1)))
    drawn, piece, starts = sample(parabola, counts)
    low, high = np.minimum.reduceat(drawn, starts, axis=1), np.maximum.reduceat(drawn, starts, axis=1)
    beyond = np.maximum(points.min(1).T - low, high - points.max(1).T).max(0)
    good = parabola & (beyond <= _MAX_OVERSHOOT * np.ptp(points, axis=1).max(1))
    if not np.array_equal(good, parabola):
        counts = np.where(good, counts, _counts(chords.sum(1)))
        drawn, piece, starts = sample(good, counts)
    step = np.abs(np.diff(drawn, axis=1, append=drawn[:, -1:])).max(0)
    step[starts[1:] - 1] = 0  # from one piece to the next
    gap = np.maximum.reduceat(step, starts)
    if (gap > PEN).any():
        drawn, piece, _ = sample(good, np.where(gap > PEN, _counts(counts * gap), counts))
    return drawn, piece


def _counts(lengths: Floats) -> Indices:
    return np.clip(np.round(lengths), 2, _MAX_SAMPLES).astype(np.int64)


def _arc(points: Floats, chords: Floats, share: Floats) -> Floats:
    """Quadratic in chord length through three points, in both coordinates: [N, 3, 2], [N, 2], [N] -> [N, 2].

    Where two neighbours coincide it is the straight line.
    """
    whole = chords.sum(1)
    middle = np.divide(chords[:, 0], whole, out=np.full_like(whole, 0.5), where=whole > 0)
    line = points[:, 0] + share[:, None] * (points[:, 2] - points[:, 0])
    bent = (middle > 0) & (middle < 1)
    middle = np.where(bent, middle, 0.5)
    at_middle = points[:, 0] + middle[:, None] * (points[:, 2] - points[:, 0])
    bend = share * (1 - share) / (middle * (1 - middle)) * bent
    return line + bend[:, None] * (points[:, 1] - at_middle)
