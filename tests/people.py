"""A person of our own making as OpenPose key points, for the tests of poses."""

import numpy as np

from v2vkit.conditions.people import Person

# fmt: off
_STANDING = [
    (0, 0.08), (0, 0.18), (-0.11, 0.18), (-0.16, 0.34), (-0.18, 0.48), (0.11, 0.18), (0.16, 0.34), (0.18, 0.48),
    (0, 0.5), (-0.07, 0.5), (-0.08, 0.72), (-0.08, 0.93), (0.07, 0.5), (0.08, 0.72), (0.08, 0.93),
    (-0.02, 0.06), (0.02, 0.06), (-0.05, 0.07), (0.05, 0.07),
    (0.1, 0.98), (0.13, 0.97), (0.07, 0.95), (-0.1, 0.98), (-0.13, 0.97), (-0.07, 0.95),
]
# fmt: on


def body(x: float = 32.0, y: float = 4.0, height: float = 88.0, *, score: float = 0.9) -> np.ndarray:
    """A person who faces the camera, float32 [25, 3]: (x, y) is above the middle of the head."""
    points = np.array(_STANDING) * height + (x, y)
    return np.concatenate([points, np.full((25, 1), score)], 1).astype(np.float32)


def person(x: float = 32.0, y: float = 4.0, height: float = 88.0) -> Person:
    """The same with a face of 70 and hands of 21 points, scattered where they belong."""
    rng = np.random.default_rng(0)
    found = body(x, y, height)

    def around(middle: int, count: int) -> np.ndarray:
        spread = np.concatenate([rng.uniform(-0.05, 0.05, (count, 2)) * height, np.zeros((count, 1))], 1)
        return (found[middle] + spread).astype(np.float32)

    return Person(found, around(0, 70), around(7, 21), around(4, 21))
