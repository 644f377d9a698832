"""People drawn as coloured skeletons, as the condition `pose` shows them.

The drawing equals vid2vid's pose pre-processing in every pixel (tests/golden): straight strokes of a square pen, discs
at both ends of each, one colour per limb and finger, faces white. Key points are those of
`v2vkit.conditions.people`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.conditions.people import Person, Persons, Points

Canvas = NDArray[np.int32]  # red, green and blue of a pixel packed into one number, so that one operation averages them
Places = NDArray[np.int64]
Shifts = tuple[tuple[int, int], ...]
Color = tuple[int, int, int]

NUM_CHANNELS = 3

# fmt: off
LIMBS: tuple[tuple[int, int, Color], ...] = (
    (17, 15, (153, 0, 153)), (15, 0, (153, 0, 102)), (0, 16, (102, 0, 153)), (16, 18, (51, 0, 153)),
    (0, 1, (153, 0, 51)), (1, 8, (153, 0, 0)),
    (1, 2, (153, 51, 0)), (2, 3, (153, 102, 0)), (3, 4, (153, 153, 0)),
    (1, 5, (102, 153, 0)), (5, 6, (51, 153, 0)), (6, 7, (0, 153, 0)),
    (8, 9, (0, 153, 51)), (9, 10, (0, 153, 102)),
    (10, 11, (0, 153, 153)), (11, 24, (0, 153, 153)), (11, 22, (0, 153, 153)), (22, 23, (0, 153, 153)),
    (8, 12, (0, 102, 153)), (12, 13, (0, 51, 153)),
    (13, 14, (0, 0, 153)), (14, 21, (0, 0, 153)), (14, 19, (0, 0, 153)), (19, 20, (0, 0, 153)),
)
"""Two points of the body and the colour of the stroke between them, in the order of drawing."""
# fmt: on
FINGERS: tuple[tuple[tuple[int, ...], Color], ...] = (
    ((0, 1, 2, 3, 4), (204, 0, 0)),
    ((0, 5, 6, 7, 8), (163, 204, 0)),
    ((0, 9, 10, 11, 12), (0, 204, 82)),
    ((0, 13, 14, 15, 16), (0, 82, 204)),
    ((0, 17, 18, 19, 20), (163, 0, 204)),
)
FACE_LINES: tuple[tuple[int, ...], ...] = (
    (17, 18, 19, 20, 21),
    (22, 23, 24, 25, 26),
    (27, 28, 29, 30),
    (31, 32, 33, 34, 35),
    (36, 37, 38, 39),
    (39, 40, 41, 36),
    (42, 43, 44, 45),
    (45, 46, 47, 42),
    (48, 49, 50, 51, 52, 53, 54),
    (54, 55, 56, 57, 58, 59, 48),
)
_FACE_COLOR = (255, 255, 255)

# A stroke is drawn where its points score more than this.
_BODY_SCORE, _HAND_SCORE, _FACE_SCORE = np.float32(0.01), np.float32(0.01), np.float32(0.1)

_BODY_STROKE = 3  # pixels, half of a body's stroke in a frame of `_STROKE_HEIGHT`
_STROKE_HEIGHT = 512
_SHIFTS = (0, 10, 20)  # of red, green and blue in a `Canvas`
_MASK = sum(255 << shift for shift in _SHIFTS)
_MOST_COMPARISONS = 4000  # more would take longer than they save
_DECIMALS = 3  # of a pixel, so that float32 rounding does not change the pixel


def default_stroke(height: int) -> int:
    """Half the width of a body's strokes in pixels: 3 for a frame height of 512, proportional to it, at least 1."""
    return max(1, round(_BODY_STROKE * height / _STROKE_HEIGHT))


def draw_people(people: Persons | None, size: tuple[int, int], *, stroke: int = 0) -> Image:
    """The skeletons of all people of a frame, RGB uint8 [H, W, 3] on black.

    A limb (two points), a finger (five) or a line of a face is drawn only if none of its points is missing. Overlapping
    strokes of one person are averaged; people are added, at most 255. Points may lie outside the frame.

    Args:
        people: None or empty = nobody: all black.
        size: (width, height).
        stroke: half the width of a body's strokes in pixels; joints have discs of radius 2 `stroke`, hands and faces
            are drawn with a third of it, at least 1. 0 = `default_stroke` of the height. The reference uses 3.
    """
    width, height = size
    stroke = stroke or default_stroke(height)
    picture = np.zeros((height, width, 3), np.uint8)
    for person in people or ():
        picture = cv2.add(picture, _draw_person(person, size, stroke)).astype(np.uint8, copy=False)
    return picture


def skeleton_channels(drawing: Image) -> Image:
    """The channels of the condition `pose`: RGB uint8 [H, W, 3] -> uint8 [3, H, W]."""
    return np.ascontiguousarray(drawing.transpose(2, 0, 1))


def drop_parts(people: Persons, rng: np.random.Generator, probability: float = 0.05) -> Persons:
    """People with some parts left out, so that a model learns to work without them (vid2vid's training).

    Each limb, each whole hand and each whole face is left out with this probability, independently.

    Args:
        rng: the only source of randomness.
    """
    return tuple(_drop(person, rng.random(len(LIMBS) + 3) < probability) for person in people)


def _drop(person: Person, dropped: NDArray[np.bool_]) -> Person:
    limbs, (face, left, right) = np.flatnonzero(dropped[: len(LIMBS)]), dropped[len(LIMBS) :]
    return replace(
        person,
        hidden=person.hidden | {int(limb) for limb in limbs},
        face=None if face else person.face,
        left_hand=None if left else person.left_hand,
        right_hand=None if right else person.right_hand,
    )


def _draw_person(person: Person, size: tuple[int, int], stroke: int) -> Image:
    """One person alone, RGB uint8 [H, W, 3]."""
    width, height = size
    margin = 4 * stroke  # so that the pen stays within the canvas
    canvas = np.zeros((height + 2 * margin) * (width + 2 * margin), np.int32)
    for first, last, half, color in _strokes(person, stroke):
        places = _segment(first, last)
        inside = (places >= -2 * stroke) & (places < np.array(size) + 2 * stroke)
        for chosen, offsets in (
            (places[inside.all(1)], _square(half)),
            (places[[0, -1]][inside[[0, -1]].all(1)], _disc(2 * half)),
        ):
            if len(chosen):
                start = (chosen[:, 1] + margin) * (width + 2 * margin) + chosen[:, 0] + margin
                for group in _independent(offsets, _distances(chosen, offsets)):
                    _stamp(canvas, start, group @ np.array([1, width + 2 * margin]), color)
    drawn = canvas.reshape(height + 2 * margin, width + 2 * margin)[margin : margin + height, margin : margin + width]
    picture = np.empty((height, width, 3), np.uint8)
    for number, shift in enumerate(_SHIFTS):
        picture[..., number] = drawn >> shift & 255
    return picture


def _strokes(person: Person, stroke: int) -> Iterator[tuple[Points, Points, int, Color]]:
    """(first point, last point, half the pen's width, colour) of every stroke, in the order of drawing."""
    for number, (first, last, color) in enumerate(LIMBS):
        if number not in person.hidden and person.body[[first, last], 2].min() > _BODY_SCORE:
            yield person.body[first], person.body[last], stroke, color
    fine = max(1, round(stroke / 3))
    lines: list[tuple[Points | None, Sequence[int], np.float32, Color]] = []
    lines += [(person.face, line, _FACE_SCORE, _FACE_COLOR) for line in FACE_LINES]
    lines += [
        (hand, line, _HAND_SCORE, color) for hand in (person.left_hand, person.right_hand) for line, color in FINGERS
    ]
    for points, line, score, color in lines:
        if points is not None and points[list(line), 2].min() > score:
            for first, last in pairwise(line):
                yield points[first], points[last], fine, color


def _segment(first: Points, last: Points) -> Places:
    """The pixels of a straight line, int64 [N, 2] as (x, y), in steps of about one pixel along its longer axis.

    It runs in the direction in which that axis grows and is one pixel short, which the width of the pen covers.
    """
    ends = np.stack([first[:2], last[:2]]).astype(np.float64).round(_DECIMALS)
    length = np.abs(ends[1] - ends[0])
    axis = 0 if length[0] >= length[1] else 1
    if ends[0, axis] > ends[1, axis]:
        ends = ends[::-1]
    share = np.linspace(0, 1, max(1, int(length[axis])))
    places: Places = np.floor(ends[0] + share[:, None] * (ends[1] - ends[0]) + 1e-9).astype(np.int64)
    return places


@cache
def _square(half: int) -> Shifts:
    """Offsets (x, y) covered by a square pen, row by row from the top left."""
    steps = range(-half, half)
    return tuple((x, y) for y in steps for x in steps)


@cache
def _disc(radius: int) -> Shifts:
    return tuple((x, y) for x, y in _square(radius) if x**2 + y**2 < radius**2)


def _distances(places: Places, shifts: Shifts) -> frozenset[tuple[int, int]]:
    """The distances (x, y) between two of the places that are distances of two shifts too: their copies overlap."""
    longest = shifts[-1][1] - shifts[0][1]
    found: set[tuple[int, int]] = set()
    for k in range(1, min(longest + 1, len(places))):  # places are at least a pixel apart
        between = places[k:] - places[:-k]
        found.update(map(tuple, between[(np.abs(between) <= longest).all(1)].tolist()))
    return frozenset(found)


@cache
def _one_by_one(shifts: Shifts) -> tuple[Places, ...]:
    return tuple(np.array([shift]) for shift in shifts)


@lru_cache(1024)
def _independent(shifts: Shifts, distances: frozenset[tuple[int, int]]) -> tuple[Places, ...]:
    """The shifts in groups, the copies of each of which have no pixel in common: drawn group by group they give what
    they give one after another, with fewer operations. Very wide strokes stay one after another."""
    if len(shifts) * len(distances) > _MOST_COMPARISONS:
        return _one_by_one(shifts)
    rounds: dict[tuple[int, int], int] = {}
    for x, y in shifts:
        before = [rounds.get((x + sign * dx, y + sign * dy), -1) for dx, dy in distances for sign in (1, -1)]
        rounds[x, y] = 1 + max(before, default=-1)
    last = max(rounds.values())
    return tuple(np.array([shift for shift in shifts if rounds[shift] == number]) for number in range(last + 1))


def _stamp(canvas: Canvas, places: Places, shifts: Places, color: Color) -> None:
    """Draw all places once per shift into `canvas`; the copies have no pixel in common.

    As in the reference, a shifted copy that overlaps anything drawn before is averaged as a whole with what lies below,
    black included, rounded down; otherwise it overwrites. Slanted strokes therefore have soft edges, because copies of
    a stroke overlap each other.
    """
    ink = sum(part << shift for part, shift in zip(color, _SHIFTS, strict=True))
    copies = places + shifts[:, None]
    below = canvas[copies]
    drawn, mixed = below.any(1, keepdims=True), (below + ink >> 1) & _MASK
    canvas[copies] = mixed if drawn.all() else np.where(drawn, mixed, ink)
