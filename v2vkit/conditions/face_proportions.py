"""Retargeting of a face: the driver's landmarks with the target's proportions and place.

A frame's landmarks are x_i = t + s R u_i: u are its landmarks in a canonical frame, in which the rigid points (corners
of the eyes, bridge of the nose) have their centre at 0, a root mean square distance of 1, and level eyes. Rotation R
stays the driver's. Over a clip, u has medians m_i, and each part p (brow, eye, mouth, jaw with nose) a centre c_p and a
spread d_p along each axis. With D for the driver and T for the target:

    jaw, nose:          u' = m^T + (u - m^D) * d_p^T / d_p^D     (the shape of the skull is the target's)
    brows, eyes, mouth: u' = c^T + (u - c^D) * d_p^T / d_p^D     (the expression is the driver's)
    place:              t' = t^T + (t - t^D) * s^T / s^D,  s' = s * s^T / s^D
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from v2vkit.conditions.landmarks import (
    INNER_LIPS,
    JAW,
    LEFT_BROW,
    LEFT_EYE,
    NOSE_BASE,
    NOSE_BRIDGE,
    NUM_LANDMARKS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_EYE,
    Landmarks,
)

Floats = NDArray[np.float64]

_RIGID = [36, 39, 42, 45, *NOSE_BRIDGE]
_SHAPES = ([*JAW], [*NOSE_BRIDGE, *NOSE_BASE])
_MOVING = ([*RIGHT_BROW], [*LEFT_BROW], [*RIGHT_EYE], [*LEFT_EYE], [*OUTER_LIPS, *INNER_LIPS])
PARTS = (*_SHAPES, *_MOVING)
_IRIS_OF = {4: range(68, 73), 5: range(73, 78)}  # eyes in `PARTS`
_MOST = 3.0
"""A part is scaled by this factor at most, up or down: an eye that is shut in all frames has no height."""
Pair = tuple[float, float]


class FaceProportions(BaseModel):
    """Typical proportions and place of one face, in pixels of its frames where not canonical.

    Attributes:
        x, y: t, the centre of the rigid points.
        size: s, their root mean square distance from it.
        points: m, the canonical landmarks (x, y), 68 of them.
        spreads: d_p along x and y for each of `PARTS`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["face"] = "face"
    x: float = Field(allow_inf_nan=False)
    y: float = Field(allow_inf_nan=False)
    size: float = Field(gt=0, allow_inf_nan=False)
    points: tuple[Pair, ...] = Field(min_length=NUM_LANDMARKS, max_length=NUM_LANDMARKS)
    spreads: tuple[Pair, ...] = Field(min_length=len(PARTS), max_length=len(PARTS))

    def scaled(self, across: float, down: float) -> Self:
        """In frames that are wider and higher by these factors; the shape of the face stays."""
        return self.model_copy(
            update={"x": self.x * across, "y": self.y * down, "size": self.size * (across * down) ** 0.5}
        )


class _Pose(NamedTuple):
    """Where a face is: centre t [2], size s, rotation R [2, 2]."""

    t: Floats
    s: float
    r: Floats


def measure_face(faces: Iterable[Landmarks | None]) -> FaceProportions | None:
    """The proportions of one person's face from the landmarks of several frames; None without a face."""
    posed = [_canonical(points) for points in faces if points is not None]
    posed = [(pose, u) for pose, u in posed if pose.s >= 1]
    if not posed:
        return None
    all_u = np.stack([u for _, u in posed])
    middle, size = np.median([pose.t for pose, _ in posed], 0), float(np.median([pose.s for pose, _ in posed]))
    spreads = [np.median(all_u[:, part].std(1), 0) for part in PARTS]
    return FaceProportions(
        x=float(middle[0]),
        y=float(middle[1]),
        size=size,
        points=tuple((float(x), float(y)) for x, y in np.median(all_u, 0)),
        spreads=tuple((float(x), float(y)) for x, y in spreads),
    )


def retarget_face(
    points: Landmarks, driver: FaceProportions, target: FaceProportions, *, keep_place: bool = False
) -> Landmarks:
    """The landmarks [68, 2], or with irises [78, 2], with the target's proportions; irises move with their eyes.

    Args:
        keep_place: leave the face where it is and as large as it is; else it moves about the target's usual place.
    """
    pose, u = _canonical(points)
    ours, theirs = np.array(target.points), np.array(driver.points)
    changed = u.copy()
    for number, part in enumerate(PARTS):
        ratio = np.array(target.spreads[number]) / np.maximum(np.array(driver.spreads[number]), 1e-6)
        ratio = np.clip(ratio, 1 / _MOST, _MOST)
        shaped = number < len(_SHAPES)
        mine, his = (ours[part], theirs[part]) if shaped else (ours[part].mean(0), theirs[part].mean(0))
        part = [*part, *(_IRIS_OF.get(number, ()) if len(points) > NUM_LANDMARKS else ())]
        changed[part] = mine + (u[part] - his) * ratio
    if not keep_place:
        zoom = target.size / driver.size
        moved = np.array([target.x, target.y]) + (pose.t - np.array([driver.x, driver.y])) * zoom
        pose = _Pose(moved, pose.s * zoom, pose.r)
    return (pose.t + pose.s * changed @ pose.r.T).astype(np.float32)


def face_move(driver: FaceProportions, target: FaceProportions) -> Floats:
    """The affine map [2, 3] that brings the driver's usual place to the target's: x' = t^T + (x - t^D) s^T / s^D."""
    zoom = target.size / driver.size
    return np.array([[zoom, 0, target.x - driver.x * zoom], [0, zoom, target.y - driver.y * zoom]])


def _canonical(points: Landmarks) -> tuple[_Pose, Floats]:
    """Place of a face and its canonical landmarks [68, 2]."""
    x = points.astype(np.float64)
    rigid = x[_RIGID]
    t = rigid.mean(0)
    s = float(np.sqrt(((rigid - t) ** 2).sum(1).mean()))
    across = x[45] - x[36]
    cos, sin = across / max(float(np.hypot(*across)), 1e-6)
    r = np.array([[cos, -sin], [sin, cos]])
    return _Pose(t, s, r), (x - t) @ r / max(s, 1e-6)
