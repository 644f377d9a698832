"""Retargeting of a body: the driver's skeleton with the target's limb lengths, height and ground line.

After the global pose normalisation of Everybody Dance Now (section 3), which maps height and ankle position of the
driver to those of the target, with two differences: limbs get the target's lengths one by one, and scale and ground
line are constants of a shot (the paper interpolates the scale between the nearest and the farthest position, which
needs the whole video before its first frame).

A limb's length is the 90th percentile over the frames: projection makes limbs shorter, never longer.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from v2vkit.conditions.people import MID_HIP, NECK, Person, Persons, Points
from v2vkit.conditions.skeleton import LIMBS

Floats = NDArray[np.float64]

BONES = tuple(sorted({(first, last) for first, last, _ in LIMBS}))
"""Limbs as pairs of points of BODY_25."""
_MIRRORED = {2: 5, 3: 6, 4: 7, 9: 12, 10: 13, 11: 14, 15: 16, 17: 18, 22: 19, 23: 20, 24: 21}
_OTHER_SIDE = _MIRRORED | {left: right for right, left in _MIRRORED.items()}
_ANKLES, _WRISTS, _NOSE = (11, 14), {"right_hand": 4, "left_hand": 7}, 0
_LONG, _LOW = 90, 95  # percentiles
_LEAST = 0.1  # of the frames must show a limb, so that its length is known
Pair = tuple[float, float]


class BodyProportions(BaseModel):
    """Typical proportions and place of one person, in pixels of the frames.

    Attributes:
        lengths: of each of `BONES`, the same left and right; None = unknown.
        hip, neck: where these points are; None = unknown.
        ground: height (y) of the lowest ankle; None = the feet are not seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["body"] = "body"
    lengths: tuple[float | None, ...] = Field(min_length=len(BONES), max_length=len(BONES))
    hip: Pair | None = None
    neck: Pair | None = None
    ground: float | None = Field(default=None, allow_inf_nan=False)

    def scaled(self, across: float, down: float) -> Self:
        """In frames that are wider and higher by these factors."""
        both = (across * down) ** 0.5
        places = {name: (at[0] * across, at[1] * down) for name in ("hip", "neck") if (at := getattr(self, name))}
        lengths = tuple(None if length is None else length * both for length in self.lengths)
        ground = None if self.ground is None else self.ground * down
        return self.model_copy(update={**places, "lengths": lengths, "ground": ground})


def measure_body(frames: Iterable[Persons]) -> BodyProportions | None:
    """The proportions of the largest person of each frame; None if no frame shows one."""
    bodies = [body for persons in frames if (body := _largest(persons)) is not None]
    if not bodies:
        return None
    all_bodies = np.stack(bodies).astype(np.float64)
    there = all_bodies[..., 2] > 0
    lengths = [_length(all_bodies, there, bone) for bone in BONES]
    by_bone = dict(zip(BONES, lengths, strict=True))
    even = tuple(_mean_of(by_bone[bone], by_bone.get(_mirror(bone))) for bone in BONES)
    if all(length is None for length in even):
        return None
    ankles = np.where(there[:, _ANKLES], all_bodies[:, _ANKLES, 1], -np.inf).max(1)
    seen = ankles[np.isfinite(ankles)]
    return BodyProportions(
        lengths=even,
        hip=_place(all_bodies, there, MID_HIP),
        neck=_place(all_bodies, there, NECK),
        ground=float(np.percentile(seen, _LOW)) if len(seen) >= max(1, _LEAST * len(bodies)) else None,
    )


def retarget_people(persons: Persons, driver: BodyProportions, target: BodyProportions) -> Persons:
    """The people with the target's proportions; hands and faces move and grow with wrists and nose.

    Nobody is changed if driver and target have no limb in common.
    """
    known = [(t, d) for t, d in zip(target.lengths, driver.lengths, strict=True) if t and d]
    if not known:
        return persons
    scale = float(np.median([t / d for t, d in known]))
    ratios = {
        bone: t / d if t and d else scale for bone, t, d in zip(BONES, target.lengths, driver.lengths, strict=True)
    }
    return tuple(_retarget(person, driver, target, scale, ratios) for person in persons)


def _retarget(
    person: Person,
    driver: BodyProportions,
    target: BodyProportions,
    scale: float,
    ratios: dict[tuple[int, int], float],
) -> Person:
    old = person.body[:, :2].astype(np.float64)
    there = person.body[:, 2] > 0
    new = _grown(old, there, ratios, scale)
    new += _shift(old, new, there, driver, target, scale)
    body = np.concatenate([np.where(there[:, None], new, old), person.body[:, 2:]], 1).astype(np.float32)

    def follows(part: Points | None, joint: int) -> Points | None:
        """A part's points, scaled about the joint that it hangs on and moved with it."""
        if part is None or not there[joint]:
            return part
        moved = new[joint] + (part[:, :2] - old[joint]) * scale
        return np.where(part[:, 2:] > 0, np.concatenate([moved, part[:, 2:]], 1), part).astype(np.float32)

    hands: dict[str, Any] = {name: follows(getattr(person, name), wrist) for name, wrist in _WRISTS.items()}
    return replace(person, body=body, face=follows(person.face, _NOSE), **hands)


def _grown(old: Floats, there: NDArray[np.bool_], ratios: dict[tuple[int, int], float], scale: float) -> Floats:
    """The points after every limb has got its new length, from the root outwards; unconnected points are scaled.

    Directions of limbs stay. The root (middle of the hips, neck or the first point) stays where it is.
    """
    roots = [MID_HIP, NECK, *range(len(old))]
    root = next((number for number in roots if there[number]), MID_HIP)
    new = old[root] + (old - old[root]) * scale
    new[root] = old[root]
    waiting, done = deque([root]), {root}
    while waiting:
        first = waiting.popleft()
        for last, ratio in _neighbours(first, ratios):
            if there[last] and last not in done:
                new[last] = new[first] + (old[last] - old[first]) * ratio
                done.add(last)
                waiting.append(last)
    return new


def _neighbours(point: int, ratios: dict[tuple[int, int], float]) -> Iterator[tuple[int, float]]:
    for (first, last), ratio in ratios.items():
        if first == point:
            yield last, ratio
        elif last == point:
            yield first, ratio


def _shift(
    old: Floats,
    new: Floats,
    there: NDArray[np.bool_],
    driver: BodyProportions,
    target: BodyProportions,
    scale: float,
) -> Floats:
    """What moves the body to the target's place: hip or neck, and up and down the ground line where both are known."""
    shift = np.zeros(2)
    for joint, mine, theirs in ((MID_HIP, target.hip, driver.hip), (NECK, target.neck, driver.neck)):
        if mine is not None and theirs is not None and there[joint]:
            shift = np.array(mine) + (old[joint] - np.array(theirs)) * scale - new[joint]
            break
    ankles = [joint for joint in _ANKLES if there[joint]]
    if ankles and target.ground is not None and driver.ground is not None:
        wanted = target.ground + (old[ankles, 1].max() - driver.ground) * scale
        shift[1] = wanted - new[ankles, 1].max()
    return shift


def _largest(persons: Persons) -> Points | None:
    """The body [25, 3] with the longest diagonal."""
    bodies = [person.body for person in persons if (person.body[:, 2] > 0).sum() > 1]
    return max(bodies, key=lambda body: float(np.hypot(*np.ptp(body[body[:, 2] > 0, :2], 0))), default=None)


def _length(bodies: Floats, there: NDArray[np.bool_], bone: tuple[int, int]) -> float | None:
    seen = there[:, bone].all(1)
    if seen.sum() < max(1, _LEAST * len(bodies)):
        return None
    length = float(np.percentile(np.linalg.norm(np.diff(bodies[seen][:, bone, :2], axis=1)[:, 0], axis=1), _LONG))
    return length if length >= 1 else None


def _mirror(bone: tuple[int, int]) -> tuple[int, int]:
    first, last = (_OTHER_SIDE.get(point, point) for point in bone)
    return (first, last) if (first, last) in BONES else (last, first)


def _mean_of(one: float | None, other: float | None) -> float | None:
    known = [length for length in (one, other) if length is not None]
    return sum(known) / len(known) if known else None


def _place(bodies: Floats, there: NDArray[np.bool_], joint: int) -> Pair | None:
    if there[:, joint].sum() < max(1, _LEAST * len(bodies)):
        return None
    x, y = np.median(bodies[there[:, joint], joint, :2], 0)
    return float(x), float(y)
