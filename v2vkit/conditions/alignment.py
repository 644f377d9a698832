"""Position and size of the subject (a face or a person) in a frame, to align a source video with training footage."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from v2vkit.conditions.landmarks import INNER_POINTS, Landmarks
from v2vkit.conditions.people import NECK, Persons

_UPPER = [0, NECK, 2, 5]  # nose, neck, shoulders: visible in close-ups too, and independent of moving limbs


class Placement(BaseModel):
    """Position and size of a subject in its frame, in pixels.

    Attributes:
        x, y: the mean of its points.
        size: their root mean square distance from the mean (Procrustes' scale; turning the head changes it little).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: float = Field(allow_inf_nan=False)
    y: float = Field(allow_inf_nan=False)
    size: float = Field(ge=1, allow_inf_nan=False)


def place_points(points: NDArray[np.floating]) -> Placement | None:
    """The placement of points [N, 2] (x, y); None if its size is below one pixel."""
    middle = points.mean(axis=0, dtype=np.float64)
    size = float(np.sqrt(((points - middle) ** 2).sum(axis=1).mean()))
    return Placement(x=float(middle[0]), y=float(middle[1]), size=size) if size >= 1 else None


def place_face(landmarks: Landmarks | None) -> Placement | None:
    """The placement of a face by its brows, eyes, nose and mouth; None without landmarks."""
    return None if landmarks is None else place_points(landmarks[INNER_POINTS])


def place_people(people: Persons | None) -> Placement | None:
    """The placement of the largest person by nose, neck and shoulders; None if nobody shows all of them."""
    uppers = [person.body[_UPPER] for person in people or ()]
    placed = (place_points(upper[:, :2]) for upper in uppers if (upper[:, 2] > 0).all())
    return max((one for one in placed if one is not None), key=lambda one: one.size, default=None)


def median_placement(placements: Iterable[Placement | None]) -> Placement | None:
    """The median position and size; None if there are no placements."""
    rows = [(one.x, one.y, one.size) for one in placements if one is not None]
    if not rows:
        return None
    x, y, size = np.median(np.array(rows), axis=0)
    return Placement(x=float(x), y=float(y), size=float(size))
