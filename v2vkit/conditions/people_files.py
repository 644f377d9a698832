"""Key points of people as JSON: our own files, and those of OpenPose."""

import json
import math
from typing import Any, NamedTuple

import numpy as np

from v2vkit.conditions.people import DECIMALS, PARTS, Person, Persons, Points, parts_of
from v2vkit.errors import V2VError
from v2vkit.estimators.keypoints import NUM_BODY, NUM_POINTS, to_body_25

MAX_PEOPLE = 100  # more in one file means a damaged file
_MAX_COORDINATE = 1e5  # pixels; a point farther away means a damaged file


def people_to_json(people: Persons | None, *, found: bool, size: tuple[int, int], estimator: str) -> bytes:
    """The key point file of one frame: OpenPose's keys, and whether people were found in this frame, size, estimator.

    Args:
        people: of the frame; None or empty = nobody.
        size: (width, height) of the frame.
    """
    keys = {name: f"{key}_2d" for name, key, _ in PARTS}
    listed = [{keys[name]: _plain(points) for name, points in parts_of(person).items()} for person in people or ()]
    document = {"people": listed, "found": found, "width": size[0], "height": size[1], "estimator": estimator}
    return json.dumps(document).encode()


def _plain(points: Points) -> list[float]:
    return [float(v) for v in np.round(points.astype(np.float64), DECIMALS).ravel()]


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
    given = {name: document.get(f"{key}_2d", document.get(key)) for name, key, _ in PARTS}
    if other and given["body"] is None:
        given["body"] = document.get("keypoints")
    if all(values is None for values in given.values()):
        raise ValueError("a person has none of OpenPose's keys (pose_keypoints_2d, ...)")
    if not any(given.values()) and any(document.get(f"{key}_3d") for _, key, _ in PARTS):
        raise ValueError("a person has 3-D points only")
    parts: dict[str, Any] = {"body": np.zeros((NUM_BODY, 3), np.float32)}
    for name, key, count in PARTS:
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
