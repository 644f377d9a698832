"""The people of a frame as key points: format, JSON on disk (OpenPose's own), smoothing in time.

Points are float32 [N, 3] as (x, y, score), x and y in pixels (a point at x lies in pixel column floor(x)), score in
[0, 1], 0 = missing. A body has the 25 points of OpenPose's BODY_25:

    0 nose, 1 neck, 2-4 right shoulder, elbow, wrist, 5-7 left, 8 middle of the hips, 9-11 right hip, knee, ankle,
    12-14 left, 15 and 16 right and left eye, 17 and 18 ears, 19-21 left big toe, small toe, heel, 22-24 right

A face has 70 (iBUG-68 and the pupils), a hand 21 (the wrist, then four per finger, thumb first).
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.augment import Move, transform_points
from v2vkit.conditions.given import check_points
from v2vkit.conditions.smoothing import Interpolation, Missing, smooth_estimates
from v2vkit.errors import V2VError
from v2vkit.estimators.keypoints import NUM_BODY, NUM_FACE, NUM_HAND, NUM_POINTS, to_body_25

F = TypeVar("F")
Points = NDArray[np.float32]

NECK, MID_HIP = 1, 8

MIN_SCORE = 0.2  # of an estimator's points; points below it flicker from frame to frame
MAX_PEOPLE = 100  # more in one file means a damaged file
_MAX_COORDINATE = 1e5  # pixels; a point farther away means a damaged file
_DECIMALS = 3  # of pixels and scores, on disk and in memory alike
_SAME_PERSON = 0.25  # of a body's diagonal; a body farther away is another person's


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
_PARTS = (
    ("body", "pose_keypoints", NUM_BODY),
    ("face", "face_keypoints", NUM_FACE),
    ("left_hand", "hand_left_keypoints", NUM_HAND),
    ("right_hand", "hand_right_keypoints", NUM_HAND),
)


def map_points(person: Person, change: Callable[[Points], Points]) -> Person:
    """The person with `change` applied to each part that was estimated."""
    changed: dict[str, Any] = {name: change(points) for name, points in _parts(person).items()}
    return replace(person, **changed)


def check_person(person: Person) -> Person:
    """The person with float32 points.

    Raises:
        V2VError: a part has another shape, or points are not finite numbers.
    """
    checked: dict[str, Any] = {
        name: check_points(points, (number, 3), f"A person's {name.replace('_', ' ')}")
        for name, _, number in _PARTS
        if (points := getattr(person, name)) is not None
    }
    return replace(person, **checked)


def _parts(person: Person) -> dict[str, Any]:
    """The estimated parts by their names in `Person`."""
    parts = {name: getattr(person, name) for name, _, _ in _PARTS}
    return {name: points for name, points in parts.items() if points is not None}


def drop_uncertain(people: Persons, min_score: float) -> Persons | None:
    """The people with points that score less than `min_score` set to missing; None if nobody is left."""

    def keep(points: Points) -> Points:
        return np.where(points[:, 2:] < np.float32(min_score), np.float32(0), points)

    kept = (map_points(person, keep) for person in people)
    return tuple(person for person in kept if any((part[:, 2] > 0).any() for part in _parts(person).values())) or None


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


def people_to_json(people: Persons | None, *, found: bool, size: tuple[int, int], estimator: str) -> bytes:
    """The key point file of one frame: OpenPose's keys, and whether people were found in this frame, size, estimator.

    Args:
        people: of the frame; None or empty = nobody.
        size: (width, height) of the frame.
    """
    keys = {name: f"{key}_2d" for name, key, _ in _PARTS}
    listed = [{keys[name]: _plain(points) for name, points in _parts(person).items()} for person in people or ()]
    document = {"people": listed, "found": found, "width": size[0], "height": size[1], "estimator": estimator}
    return json.dumps(document).encode()


def _plain(points: Points) -> list[float]:
    return [float(v) for v in np.round(points.astype(np.float64), _DECIMALS).ravel()]


class PeopleFile(NamedTuple):
    """Content of a key point file: the people, and whether they were found in this very frame (in OpenPose's own files:
    whether there are any)."""

    persons: Persons
    found: bool


def people_from_json(data: bytes, where: str = "A key point file", *, layout: str = "body25") -> Persons:
    """The people in a file; see `read_people_file`."""
    return read_people_file(data, where, layout=layout).persons


def read_people_file(data: bytes, where: str = "A key point file", *, layout: str = "body25") -> PeopleFile:
    """Read a key point file written by `people_to_json` or OpenPose, or a bare list of people.

    Empty lists of points are parts that were not estimated. As in OpenPose, a point with x = 0 is missing.

    Args:
        where: the file, for messages.
        layout: of the bodies' points (`estimators.keypoints`). Layouts other than BODY_25 may use the key `keypoints`,
            as AlphaPose and COCO do.

    Raises:
        V2VError: not JSON, a person without OpenPose's keys or with 3-D points only, another number of points than the
            layout has, or a value that is not a pixel coordinate.
    """
    hint = (
        "Give OpenPose's JSON (BODY_25; --keypoints names other layouts of the body), or make poses with "
        "`v2v estimate-pose`."
    )
    try:
        document = json.loads(data)
        listed = document if isinstance(document, list) else document["people"]
        if not isinstance(listed, list) or not all(isinstance(person, dict) for person in listed):
            raise TypeError("there is no list of people")
        if len(listed) > MAX_PEOPLE:
            raise ValueError(f"it has {len(listed)} people; at most {MAX_PEOPLE} are read")
        persons = tuple(_person(person, layout) for person in listed)
        return PeopleFile(persons, bool(persons if isinstance(document, list) else document.get("found", persons)))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else f"{error}"
        raise V2VError("keypoints-damaged", f"{where} cannot be read: {what}.", hint) from None


def _person(document: dict[str, Any], layout: str) -> Person:
    other = layout != "body25"
    given = {name: document.get(f"{key}_2d", document.get(key)) for name, key, _ in _PARTS}
    if other and given["body"] is None:
        given["body"] = document.get("keypoints")
    if all(values is None for values in given.values()):
        raise ValueError("a person has none of OpenPose's keys (pose_keypoints_2d, ...)")
    if not any(given.values()) and any(document.get(f"{key}_3d") for _, key, _ in _PARTS):
        raise ValueError("a person has 3-D points only")
    parts: dict[str, Any] = {"body": np.zeros((NUM_BODY, 3), np.float32)}
    for name, key, count in _PARTS:
        if values := given[name]:
            parts[name] = _points(values, NUM_POINTS[layout] if name == "body" else count, key)
            if name == "body" and other:
                (parts[name],) = to_body_25(parts[name][None], layout)
    return Person(**parts)


def _points(values: Any, count: int, key: str) -> Points:
    """[count, 3] from the flat list x, y, score, ..., or from a list of triples."""
    if not isinstance(values, list):
        raise TypeError(f"{key} is not a list")
    flat = [v for triple in values for v in triple] if isinstance(values[0], list) else values
    if len(flat) != 3 * count:
        raise ValueError(f"{key} holds {len(flat)} numbers instead of {count} points (x, y, score)")
    numbers = [float(v) for v in flat]
    if not all(math.isfinite(v) and abs(v) <= _MAX_COORDINATE for v in numbers):
        raise ValueError(f"{key} holds a value that is not a pixel coordinate")
    points = np.asarray(numbers, np.float32).reshape(count, 3)
    points[:, 2] = np.where(points[:, 0] == 0, 0, np.clip(points[:, 2], 0, 1))
    return points


def smooth_people(
    frames: Iterable[F],
    estimate: Callable[[F], Points | Persons],
    *,
    smooth: int = 0,
    missing: Missing = "hold",
    min_score: float = 0.0,
    causal: bool = False,
) -> Iterator[tuple[F, Persons | None, bool]]:
    """People of one clip, gaps filled and smoothed: (frame, people or None, found); see `smooth_estimates`.

    Args:
        estimate: a pose estimator, RGB uint8 [H, W, 3] -> float32 [people, 25, 3], or a reader of its results.
        min_score: points that score less count as missing.
        smooth, missing, causal: as in `smooth_estimates` (`smooth` is its window).
    """
    return smooth_estimates(
        frames,
        lambda frame: estimated_people(estimate(frame), min_score),
        PEOPLE,
        window=smooth,
        missing=missing,
        causal=causal,
    )


def _match(person: Person, people: Persons) -> Person | None:
    """The same person in another frame: the nearest body; None if none is near enough."""
    there = person.body[:, 2] > 0
    if not there.any():
        return None
    limit = _SAME_PERSON * float(np.linalg.norm(np.ptp(person.body[there, :2], axis=0)))
    best: Person | None = None
    for other in people:
        shared = there & (other.body[:, 2] > 0)
        if shared.any():
            distance = float(np.linalg.norm(person.body[shared, :2] - other.body[shared, :2], axis=1).mean())
            if distance <= limit:
                best, limit = other, distance
    return best


def _blend(middle: Points, others: Sequence[tuple[Points | None, float]], weight: float) -> Points:
    """Weighted mean of x and y over those that have the point; scores and missing points are those of `middle`."""
    total, sums = middle[:, :2] * np.float32(weight), np.full((len(middle), 1), weight, np.float32)
    for points, share in others:
        if points is not None:
            there = (points[:, 2:] > 0) * np.float32(share)
            total, sums = total + there * points[:, :2], sums + there
    blended = np.concatenate([total / np.maximum(sums, np.float32(1e-6)), middle[:, 2:]], 1)
    return np.where((middle[:, 2:] > 0) & (sums > 0), blended, middle).astype(np.float32)


def _blend_person(person: Person, others: Sequence[tuple[Person | None, float]], weight: float) -> Person:
    blended: dict[str, Any] = {
        name: _blend(points, [(getattr(other, name), share) for other, share in others if other], weight)
        for name, points in _parts(person).items()
    }
    return replace(person, **blended)


def _between(before: Persons, after: Persons, share: float) -> Persons:
    """The people of `before` moved by `share` towards their positions in `after`; without a match they stay."""
    return tuple(_blend_person(person, [(_match(person, after), share)], 1 - share) for person in before)


def _mean(around: Sequence[Persons | None], weights: NDArray[np.float32]) -> Persons:
    radius = len(around) // 2
    middle = around[radius]
    assert middle is not None
    neighbours = [(people, float(weights[i])) for i, people in enumerate(around) if people is not None and i != radius]
    return tuple(
        _blend_person(person, [(_match(person, people), share) for people, share in neighbours], float(weights[radius]))
        for person in middle
    )


def _rounded(people: Persons) -> Persons:
    def keep(points: Points) -> Points:
        kept = np.round(points.astype(np.float64), _DECIMALS).astype(np.float32)
        kept[kept[:, 0] == 0, 2] = 0  # so that memory equals what is read from the file
        return kept

    return tuple(map_points(person, keep) for person in people)


PEOPLE: Interpolation[Persons] = Interpolation(_between, _mean, _rounded)
"""Interpolation and averaging of people in time."""
