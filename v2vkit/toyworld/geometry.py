"""Analytic ray casting of convex solids, ellipsoids and the ground, accurate enough for exact optical flow.

World: x right, y up, z along the street, metres. A pixel (column i, row j) has its centre at (i, j). Only the four
basic operations and square roots touch the geometry (no BLAS, no fused operations), so label maps do not depend on the
machine's instruction set. Shape letters: P parts, K planes, N points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Vector = tuple[float, float, float]

NEAR = 0.05  # metres; nearer surfaces are not drawn
SKY, GROUND = -2, -1  # part numbers of what is not a part


@dataclass(frozen=True)
class Shape:
    """A convex solid (`planes` [K, 4]: n · p <= offset, local metres) or, without planes, the unit ball.

    `bounds` [2, 3] is the local bounding box.
    """

    planes: Floats | None
    bounds: Floats


BALL = Shape(None, np.array([[-1, -1, -1], [1, 1, 1]], np.float64))


@dataclass(frozen=True)
class Placed:
    """P shapes at one moment: world = matrix · local + origin.

    matrix, inverse [P, 3, 3]; origin, lower, upper [P, 3], the last two the world bounding boxes.
    """

    shapes: Sequence[Shape]
    matrix: Floats
    inverse: Floats
    origin: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: position, orthonormal axes, focal length and image centre in pixels."""

    position: Vector
    right: Vector
    up: Vector
    forward: Vector
    focal: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class Hits:
    """First hit of each ray: depth along the optical axis, part (or SKY, GROUND) and plane of the part."""

    depth: Floats
    part: NDArray[np.int32]
    plane: NDArray[np.int32]


def box(lower: Vector, upper: Vector) -> Shape:
    """The axis-aligned box between two corners."""
    low, high = np.array(lower, np.float64), np.array(upper, np.float64)
    planes = np.zeros((6, 4))
    for axis in range(3):
        planes[2 * axis, axis], planes[2 * axis, 3] = -1, -low[axis]
        planes[2 * axis + 1, axis], planes[2 * axis + 1, 3] = 1, high[axis]
    return Shape(planes, np.stack([low, high]))


def frustum(bottom: tuple[Vector, Vector], top: tuple[Vector, Vector]) -> Shape:
    """A box whose bottom and top rectangles differ: a car cabin, a pitched roof, a torso.

    Args:
        bottom: two opposite corners (x, y, z) of the bottom rectangle; both have the same y.
        top: the same for the top rectangle, above.
    """
    b, t = np.array(bottom, np.float64), np.array(top, np.float64)
    rise = t[0, 1] - b[0, 1]
    planes = [[0, -1, 0, -b[0, 1]], [0, 1, 0, t[0, 1]]]
    for axis in (0, 2):
        for side, sign in ((0, -1.0), (1, 1.0)):
            # The plane through the bottom and top edge of this side is inclined by `slope` per metre of height.
            slope = sign * (t[side, axis] - b[side, axis]) / rise
            normal = np.zeros(3)
            normal[axis], normal[1] = sign, -slope
            length = (normal * normal).sum() ** 0.5
            planes.append([*(normal / length), (sign * b[side, axis] - slope * b[0, 1]) / length])
    return Shape(np.array(planes), np.stack([np.minimum(b.min(0), t.min(0)), np.maximum(b.max(0), t.max(0))]))


def times(matrices: Any, v: Any) -> Any:
    """[N, 3, 3] (or [3, 3]) times [3, N], in a fixed order of operations; zeros of a single matrix are skipped."""
    if matrices.ndim == 3:
        m = matrices
        return np.stack([m[:, i, 0] * v[0] + m[:, i, 1] * v[1] + m[:, i, 2] * v[2] for i in range(3)])
    rows: list[Any] = []
    for row in matrices.tolist():
        total: Any = None
        for factor, value in zip(row, v, strict=True):
            if factor:
                term = value if factor == 1.0 else factor * value
                total = term if total is None else total + term
        rows.append(0.0 if total is None else total)
    return rows


def place(shapes: Sequence[Shape], matrix: Floats, origin: Floats) -> Placed:
    """Put shapes into the world: matrix [P, 3, 3], origin [P, 3]."""
    rows = matrix.transpose(1, 2, 0)  # [row, column, P]

    def cross(p: Floats, q: Floats) -> Floats:
        return np.stack([p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]])

    columns = [cross(rows[1], rows[2]), cross(rows[2], rows[0]), cross(rows[0], rows[1])]
    determinant = rows[0, 0] * columns[0][0] + rows[0, 1] * columns[0][1] + rows[0, 2] * columns[0][2]
    inverse = (np.stack(columns, 1) / determinant).transpose(2, 0, 1)
    corners = _corners(np.stack([shape.bounds for shape in shapes]))  # [8, P, 3]
    world = np.stack([times(matrix, corner.T).T + origin for corner in corners])
    return Placed(shapes, matrix, np.ascontiguousarray(inverse), origin, world.min(0), world.max(0))


_PICKS = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
_EDGES = np.array([(m, n) for m in range(8) for n in range(m) if sum(map(abs, np.subtract(_PICKS[m], _PICKS[n]))) == 1])


def _corners(bounds: Floats) -> Floats:
    """Corners [8, P, 3] of boxes [P, 2, 3]."""
    return np.stack([np.stack([bounds[:, pick[axis], axis] for axis in range(3)], -1) for pick in _PICKS])


def project(camera: Camera, points: Any) -> tuple[Any, Any, Any]:
    """World points [3, ...] to (column, row, depth); meaningless where depth <= 0."""
    return project_direction(camera, [p - e for p, e in zip(points, camera.position, strict=True)])


def project_direction(camera: Camera, v: Any) -> tuple[Any, Any, Any]:
    """Directions (points at infinity) [3, ...] to (column, row, depth)."""
    axes = (camera.right, camera.up, camera.forward)
    across, above, depth = (v[0] * a[0] + v[1] * a[1] + v[2] * a[2] for a in axes)
    return camera.centre[0] + camera.focal * across / depth, camera.centre[1] - camera.focal * above / depth, depth


def directions(camera: Camera, columns: Floats, rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Ray directions of unit depth through pixel positions (broadcast against each other)."""
    across = (columns - camera.centre[0]) / camera.focal
    below = (rows - camera.centre[1]) / camera.focal
    axes = zip(camera.forward, camera.right, camera.up, strict=True)
    x, y, z = (f + across * r - below * u for f, r, u in axes)
    return x, y, z


def _screen_bounds(camera: Camera, placed: Placed) -> Floats:
    """[5, P]: smallest and largest column, smallest and largest row, nearest depth; empty ranges behind the camera.

    Taken over the corners of the bounding boxes in front of the camera and the points where edges cross its plane.
    """
    corners = _corners(np.stack([placed.lower, placed.upper], 1)) - np.array(camera.position)
    v = corners.transpose(2, 0, 1)
    x, y, depth = (v[0] * a[0] + v[1] * a[1] + v[2] * a[2] for a in (camera.right, camera.up, camera.forward))
    first, second = _EDGES.T
    d0, d1 = depth[first], depth[second]
    crosses = (d0 > NEAR) != (d1 > NEAR)
    share = (NEAR - d0) / np.where(crosses, d1 - d0, 1)
    x = np.concatenate([x, x[first] + share * (x[second] - x[first])])
    y = np.concatenate([y, y[first] + share * (y[second] - y[first])])
    ahead = np.concatenate([depth > NEAR, crosses])
    scale = camera.focal / np.where(ahead, np.concatenate([np.maximum(depth, NEAR), np.full_like(d0, NEAR)]), np.inf)
    columns, rows = camera.centre[0] + x * scale, camera.centre[1] - y * scale
    low = [np.where(ahead, value, np.inf).min(0) for value in (columns, rows)]
    high = [np.where(ahead, value, -np.inf).max(0) for value in (columns, rows)]
    nearest = np.where(ahead.any(0), np.maximum(depth.min(0), NEAR), np.inf)
    return np.stack([low[0], high[0], low[1], high[1], nearest])


def _meet_solid(planes: Floats, origin: Sequence[float], d: Sequence[Any]) -> tuple[Any, Any]:
    """First entry of rays into a convex solid from outside: depth (inf where missed) and plane number."""
    enter: Any = None
    leave: Any = np.inf
    which: Any = 0
    for k, (nx, ny, nz, offset) in enumerate(planes.tolist()):
        along: Any = None
        for factor, value in ((nx, d[0]), (ny, d[1]), (nz, d[2])):
            if factor:
                term = value if factor == 1.0 else factor * value
                along = term if along is None else along + term
        room = offset - (nx * origin[0] + ny * origin[1] + nz * origin[2])
        if room < 0:  # the camera is outside this plane, so rays enter through it
            at = np.where(along < 0, room / along, np.inf)
            which = k if enter is None else np.where(at > enter, k, which)
            enter = at if enter is None else np.maximum(enter, at)
        else:
            leave = np.minimum(leave, np.where(along > 0, room / along, np.inf))
    if enter is None:
        return np.inf, 0
    return np.where(enter < leave, enter, np.inf), which


def _meet_ball(origin: Sequence[float], d: Sequence[Any]) -> Any:
    """First entry of rays into the unit ball: depth, inf where missed."""
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = origin[0] * d[0] + origin[1] * d[1] + origin[2] * d[2]
    c = origin[0] * origin[0] + origin[1] * origin[1] + origin[2] * origin[2] - 1
    under = b * b - a * c
    at = (-b - np.sqrt(np.maximum(under, 0))) / a
    return np.where((under > 0) & (at > NEAR), at, np.inf)


def cast(camera: Camera, placed: Placed, columns: Floats, rows: Floats) -> Hits:
    """First hits of the rays through the given pixel positions, with the ground at y = 0.

    Args:
        camera: the pinhole camera.
        placed: everything above the ground.
        columns: pixel columns, [1, W] for a regular grid (with rows [H, 1]) or [N] for single rays.
        rows: pixel rows, [H, 1] or [N].
    """
    grid = columns.ndim == 2
    shape = np.broadcast_shapes(columns.shape, rows.shape)
    d = [np.ascontiguousarray(np.broadcast_to(v, shape)) for v in directions(camera, columns, rows)]
    eyes = times(placed.inverse, (np.array(camera.position) - placed.origin).T).T.tolist()
    bounds = _screen_bounds(camera, placed)
    ranges = np.zeros((4, len(placed.shapes)), np.int64)
    if grid:
        ranges[:2] = np.searchsorted(columns[0], bounds[0], "left"), np.searchsorted(columns[0], bounds[1], "right")
        ranges[2:] = np.searchsorted(rows[:, 0], bounds[2], "left"), np.searchsorted(rows[:, 0], bounds[3], "right")
        seen = np.flatnonzero((ranges[0] < ranges[1]) & (ranges[2] < ranges[3]))
    else:
        seen = np.flatnonzero(np.isfinite(bounds[4]))
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(d[1] < 0, -camera.position[1] / d[1], np.inf)
        part = np.where(np.isfinite(depth), GROUND, SKY).astype(np.int32)
        plane = np.zeros(shape, np.int32)
        for number in seen[np.argsort(bounds[4, seen], kind="stable")].tolist():  # near to far
            left, right, top, bottom, nearest = bounds[:, number].tolist()
            where: Any
            if grid:
                c0, c1, r0, r1 = ranges[:, number].tolist()
                where = (slice(r0, r1), slice(c0, c1))
                if depth[where].max() <= nearest:
                    continue
            else:
                reach = (columns >= left) & (columns <= right) & (rows >= top) & (rows <= bottom)
                where = np.flatnonzero(reach & (depth > nearest))
                if not len(where):
                    continue
            local = times(placed.inverse[number], [v[where] for v in d])
            planes = placed.shapes[number].planes
            if planes is None:
                at, which = _meet_ball(eyes[number], local), 0
            else:
                at, which = _meet_solid(planes, eyes[number], local)
            nearer = (at < depth[where]) & (at > NEAR)
            depth[where] = np.where(nearer, at, depth[where])
            part[where] = np.where(nearer, number, part[where])
            plane[where] = np.where(nearer, which, plane[where])
    return Hits(depth, part, plane)
