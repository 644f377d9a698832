"""The people of a frame as key points: `people_files` reads and writes them, `people_smoothing` smooths them.

Points are float32 [N, 3] as (x, y, score), x and y in pixels (a point at x lies in pixel column floor(x)), score in
[0, 1], 0 = missing. A body has the 25 points of OpenPose's BODY_25:

    0 nose, 1 neck, 2-4 right shoulder, elbow, wrist, 5-7 left, 8 middle of the hips, 9-11 right hip, knee, ankle,
    12-14 left, 15 and 16 right and left eye, 17 and 18 ears, 19-21 left big toe, small toe, heel, 22-24 right

A face has 70 (iBUG-68 and the pupils), a hand 21 (the wrist, then four per finger, thumb first).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.augment import Move, transform_points
from v2vkit.conditions.given import check_points
from v2vkit.estimators.keypoints import NUM_BODY, NUM_FACE, NUM_HAND

F = TypeVar("F")
Points = NDArray[np.float32]

NECK, MID_HIP = 1, 8

MIN_SCORE = 0.2  # of an estimator's points; points below it flicker from frame to frame
DECIMALS = 3  # of pixels and scores, on disk and in memory alike


@dataclass(frozen=True, eq=False)
class Person:
    """One person.

    Attributes:
        body: float32 [25, 3].
        face: float32 [70, 3]; None = not estimated.
        left_hand, right_hand: float32 [21, 3], likewise.
        hidden: limbs (positions in `skeleton.LIMBS`) that are not drawn.
    """

    body: Points
    face: Points | None = None
    left_hand: Points | None = None
    right_hand: Points | None = None
    hidden: frozenset[int] = frozenset()


Persons = tuple[Person, ...]

# Name in `Person`, key in OpenPose's JSON (before version 1.3 without the "_2d"), number of points.
PARTS = (
    ("body", "pose_keypoints", NUM_BODY),
    ("face", "face_keypoints", NUM_FACE),
    ("left_hand", "hand_left_keypoints", NUM_HAND),
    ("right_hand", "hand_right_keypoints", NUM_HAND),
)


def map_points(person: Person, change: Callable[[Points], Points]) -> Person:
    """The person with `change` applied to each part that was estimated."""
    changed: dict[str, Any] = {name: change(points) for name, points in parts_of(person).items()}
    return replace(person, **changed)


def check_person(person: Person) -> Person:
    """The person with float32 points.

    Raises:
        V2VError: a part has another shape, or points are not finite numbers.
    """
    checked: dict[str, Any] = {
        name: check_points(points, (number, 3), f"A person's {name.replace('_', ' ')}")
        for name, _, number in PARTS
        if (points := getattr(person, name)) is not None
    }
    return replace(person, **checked)


def parts_of(person: Person) -> dict[str, Any]:
    """The estimated parts by their names in `Person`."""
    parts = {name: getattr(person, name) for name, _, _ in PARTS}
    return {name: points for name, points in parts.items() if points is not None}


def drop_uncertain(people: Persons, min_score: float) -> Persons | None:
    """The people with points that score less than `min_score` set to missing; None if nobody is left."""

    def keep(points: Points) -> Points:
        return np.where(points[:, 2:] < np.float32(min_score), np.float32(0), points)

    kept = (map_points(person, keep) for person in people)
    return tuple(person for person in kept if any((part[:, 2] > 0).any() for part in parts_of(person).values())) or None


def estimated_people(found: NDArray[np.float32] | Persons, min_score: float) -> Persons | None:
    """The people that a pose estimator found (`PoseEstimator`), or a file holds, after `drop_uncertain`.

    None = nobody.
    """
    return drop_uncertain(found if isinstance(found, tuple) else tuple(map(_split, found)), min_score)


def _split(points: Points) -> Person:
    """The person of an estimator's points [25, 3] or [137, 3]; parts without a point were not found."""
    ends = np.cumsum([NUM_BODY, NUM_FACE, NUM_HAND])
    body, *others = np.split(points, ends) if len(points) > NUM_BODY else [points]
    face, left, right = (part if part[:, 2].any() else None for part in others or [points[:0]] * 3)
    return Person(body, face, left, right)


def transform_people(people: Persons, move: Move) -> Persons:
    """People after a move of their frame (`v2vkit.conditions.augment`); missing points stay missing."""
    return tuple(
        map_points(person, lambda points: np.concatenate([transform_points(points[:, :2], move), points[:, 2:]], 1))
        for person in people
    )
