"""Layouts of body key points, and their conversion to OpenPose's BODY_25.

The orders are those of the programs' own tables: OpenPose (`poseParameters.cpp`: BODY_25, BODY_25B, COCO with 18
points), COCO key points (17), Halpe full body (AlphaPose, the first 26 of 136). numpy is imported in the
function, because `--help` needs the names of the layouts.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUM_BODY, NUM_FACE, NUM_HAND = 25, 70, 21

# For each point of BODY_25 its points in the other layout; two mean their midpoint (neck, middle of the hips), none =
# missing. BODY_25 has the neck between the shoulders; other layouts with a neck have it higher.
_COCO_17: tuple[tuple[int, ...], ...] = (
    *((0,), (5, 6)),
    *((6,), (8,), (10,), (5,), (7,), (9,)),
    (11, 12),
    *((12,), (14,), (16,), (11,), (13,), (15,)),
    *((2,), (1,), (4,), (3,)),
    *((),) * 6,
)
_COCO_18: tuple[tuple[int, ...], ...] = (
    *((number,) for number in range(8)),
    (8, 11),
    *((number,) for number in range(8, 18)),
    *((),) * 6,
)
_SOURCES: dict[str, tuple[tuple[int, ...], ...]] = {
    "body25": tuple((number,) for number in range(NUM_BODY)),
    "body25b": (*_COCO_17[:19], *((number,) for number in range(19, 25))),
    "coco17": _COCO_17,
    "coco18": _COCO_18,
    "halpe26": (*_COCO_17[:19], (20,), (22,), (24,), (21,), (23,), (25,)),
}
NUM_POINTS = {"body25": 25, "body25b": 25, "coco17": 17, "coco18": 18, "halpe26": 26}
"""Layout -> number of points, which several layouts share."""


def layouts() -> tuple[str, ...]:
    """The names of the layouts."""
    return tuple(NUM_POINTS)


def to_body_25(points: "NDArray[np.float32]", layout: str) -> "NDArray[np.float32]":
    """Bodies [people, N, 3] of a layout as BODY_25 [people, 25, 3], (x, y, score), score 0 = missing.

    A midpoint has the lower of the two scores.
    """
    import numpy as np

    sources = _SOURCES[layout]
    there = [number for number, behind in enumerate(sources) if behind]
    first, last = ([sources[number][end] for number in there] for end in (0, -1))
    body = np.zeros((len(points), NUM_BODY, 3), np.float32)
    body[:, there] = (points[:, first] + points[:, last]) / 2
    body[:, there, 2] = np.clip(np.minimum(points[:, first, 2], points[:, last, 2]), 0, 1)
    body[body[..., 2] == 0] = 0
    return body
