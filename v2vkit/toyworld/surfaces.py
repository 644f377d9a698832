"""Surface points of all samples, with normals and sample sizes: the input of the looks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v2vkit.toyworld.geometry import SKY, Camera, Floats, Hits, Placed, directions, times
from v2vkit.toyworld.scene import Scene
from v2vkit.toyworld.texture import Array


@dataclass(frozen=True)
class Moment:
    """The scene at one time, with transforms by part number; the last row is the ground."""

    camera: Camera
    placed: Placed
    inverse: Floats  # [P + 1, 3, 3]
    matrix: Floats
    origin: Floats  # [P + 1, 3]


@dataclass(frozen=True)
class Surfaces:
    """All samples of a frame, flattened (S), and those N of them that hit something, sorted by world z.

    shape: (rows, columns) of the samples. outward [3, S]: world normal of every sample, zero for the sky. sky [M],
    solid [N]: indices of the samples. toward [3, M]: direction of the sky samples. Of the solid ones: owner [N] part
    number; world, local, normal, face (local normal), pixel (size of a sample along each local axis) [3, N]; depth [N]
    metres.
    """

    shape: tuple[int, int]
    outward: Array
    sky: NDArray[np.intp]
    solid: NDArray[np.intp]
    toward: Array
    owner: NDArray[np.int32]
    world: Array
    local: Array
    normal: Array
    face: Array
    pixel: Array
    depth: Array


def find_surfaces(scene: Scene, now: Moment, hits: Hits, world: Floats, grid: tuple[Floats, Floats]) -> Surfaces:
    """Surfaces under the samples of a frame.

    Args:
        hits: first hit of each sample's ray, [rows, columns].
        world: positions of the hits, [3, rows, columns]; arbitrary for the sky.
        grid: the samples' columns [1, columns] and rows [rows, 1] in pixels.
    """
    rows, columns = hits.part.shape
    part = hits.part.ravel()
    view = [np.broadcast_to(v, (rows, columns)).reshape(-1).astype(np.float32) for v in directions(now.camera, *grid)]
    outward, face = _normals(scene, now, hits, world)
    sky, solid = np.flatnonzero(part == SKY), np.flatnonzero(part != SKY)
    flat = world.reshape(3, -1).astype(np.float32)
    solid = solid[np.argsort(flat[2, solid], kind="stable")]
    owner, here, normal = part[solid], flat[:, solid], outward[:, solid]
    depth = hits.depth.ravel()[solid].astype(np.float32)
    inverse = now.inverse.astype(np.float32)[owner]
    return Surfaces(
        shape=(rows, columns),
        outward=outward,
        sky=sky,
        solid=solid,
        toward=np.stack([v[sky] for v in view]),
        owner=owner,
        world=here,
        local=times(inverse, here - now.origin.astype(np.float32)[owner].T),
        normal=normal,
        face=face[:, solid],
        pixel=_footprint(now.camera, inverse, normal, [v[solid] for v in view], depth),
        depth=depth,
    )


def _normals(scene: Scene, now: Moment, hits: Hits, world: Floats) -> tuple[Array, Array]:
    """World and local unit normals [3, S] at each sample; sky samples get zeros."""
    part, plane = hits.part.ravel(), hits.plane.ravel()
    # One row per plane of every part; balls have one dummy row, filled in below.
    locals_: list[Floats] = []
    first: list[int] = []
    owners: list[int] = []
    for number, (_, piece) in enumerate(scene.parts):
        first.append(len(owners))
        planes = np.zeros((1, 3)) if piece.shape.planes is None else piece.shape.planes[:, :3]
        locals_.append(planes)
        owners += [number] * len(planes)
    first += [len(owners), len(owners) + 1]  # sky (-2), then ground (-1)
    locals_.append(np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    owners += [-1, -1]
    table = np.concatenate(locals_)
    transposed = now.inverse[np.array(owners)].transpose(0, 2, 1)
    outward = times(transposed, table.T)
    row = np.array(first)[part] + plane
    face, normal = table.T[:, row], outward[:, row]
    is_ball = np.array([*(piece.shape.planes is None for _, piece in scene.parts), False, False])[part]
    where = np.flatnonzero(is_ball)
    owner = part[where]
    local = times(now.inverse[owner], world.reshape(3, -1)[:, where] - now.origin[owner].T)
    face[:, where] = local
    normal[:, where] = times(now.inverse[owner].transpose(0, 2, 1), local)
    length = np.sqrt(np.maximum((normal * normal).sum(0), 1e-12))
    return (normal / length).astype(np.float32), face.astype(np.float32)


def _footprint(camera: Camera, inverse: Array, normal: Array, view: list[Array], depth: Array) -> Array:
    """Size of one sample spacing on the surface along each local axis, [3, N].

    A ray through the next sample turns by a (a fraction of right or up); on the plane with normal n the point moves by
    depth · (a - d (n · a) / (n · d)).
    """
    facing = normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2]
    facing = np.minimum(facing, -0.02)
    total = np.zeros_like(normal)
    for axis in (camera.right, camera.up):
        turn = (normal[0] * axis[0] + normal[1] * axis[1] + normal[2] * axis[2]) / facing
        step = np.stack([depth * (a - v * turn) for a, v in zip(axis, view, strict=True)])
        total += np.abs(times(inverse, step))
    return np.asarray(total * np.float32(0.6 / camera.focal) + 1e-4, np.float32)
