"""One frame of a toy street: exact label, instance and flow maps, a plain look and a textured, lit look.

Every pixel gets a grid of 3 x 3 samples at distances of half a pixel, shared with its neighbours. The maps take the
sample in the pixel's centre (crisp); the looks take all nine, weighted 1-2-1 (smooth).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from v2vkit.toyworld.geometry import (
    GROUND,
    NEAR,
    SKY,
    Camera,
    Floats,
    Hits,
    Placed,
    cast,
    directions,
    project,
    project_direction,
    times,
)
from v2vkit.toyworld.light import SHADOW_REACH, contact, develop, illuminate, sky, sunlight
from v2vkit.toyworld.materials import MATERIALS, Samples, on_marking, road
from v2vkit.toyworld.scene import LABELS, MARKING, ROAD, SKY_ID, Scene, camera_at, place_at
from v2vkit.toyworld.texture import Array, Noise


@dataclass(frozen=True)
class ToyFrame:
    """Frame t of a scene.

    labels: uint8 [H, W] ids of `LABELS`. instances: uint16 [H, W], one number per car or pedestrian for the whole
    scene, 0 = none. flow: float32 [H, W, 2] pixels, backward: on the grid of frame t, pointing into frame t - 1.
    visible: bool [H, W], the point was inside frame t - 1 and nothing stood before it. plain, real: RGB uint8
    [H, W, 3].
    """

    labels: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    flow: NDArray[np.float32]
    visible: NDArray[np.bool_]
    plain: NDArray[np.uint8]
    real: NDArray[np.uint8]


@dataclass(frozen=True)
class _Moment:
    """The scene at one time, with the tables that turn part numbers into transforms; the last row is the ground."""

    camera: Camera
    placed: Placed
    inverse: Floats  # [P + 1, 3, 3]
    matrix: Floats
    origin: Floats  # [P + 1, 3]


def _moment(scene: Scene, t: float) -> _Moment:
    placed = place_at(scene, t)
    eye = np.eye(3)[None]
    inverse, matrix = np.concatenate([placed.inverse, eye]), np.concatenate([placed.matrix, eye])
    origin = np.concatenate([placed.origin, np.zeros((1, 3))])
    return _Moment(camera_at(scene, t), placed, inverse, matrix, origin)


def _label_table(scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Label and instance per part number; the last two entries are sky (-2) and ground (-1)."""
    labels = [part.label for _, part in scene.parts]
    instances = [body.instance for body, _ in scene.parts]
    return np.array([*labels, SKY_ID, ROAD], np.uint8), np.array([*instances, 0, 0], np.uint16)


def _world(camera: Camera, depth: Floats, columns: Floats, rows: Floats) -> Floats:
    d = directions(camera, columns, rows)
    return np.stack([e + depth * np.broadcast_to(v, depth.shape) for e, v in zip(camera.position, d, strict=True)])


def _backward_flow(scene: Scene, t: int, now: _Moment, hits: Hits) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Exact backward flow into the frame before, and where it is true; frame 0 has none before it.

    Args:
        hits: what the rays through the pixels' centres hit, [H, W].

    Returns:
        flow float32 [H, W, 2] (pixels, on the grid of frame t) and visible bool [H, W].
    """
    width, height = scene.size
    if t == 0:
        return np.zeros((height, width, 2), np.float32), np.zeros((height, width), bool)
    before = _moment(scene, t - 1)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    columns, rows = columns.ravel(), rows.ravel()
    part, depth = hits.part.ravel(), hits.depth.ravel()
    is_sky = part == SKY
    index = np.where(is_sky, GROUND, part)
    world = _world(now.camera, np.where(is_sky, 1.0, depth), columns, rows)
    local = times(now.inverse[index], world - now.origin[index].T)
    past = times(before.matrix[index], local) + before.origin[index].T
    to_x, to_y, to_depth = project(before.camera, past)
    sky_x, sky_y, sky_depth = project_direction(before.camera, directions(now.camera, columns, rows))
    to_x, to_y = np.where(is_sky, sky_x, to_x), np.where(is_sky, sky_y, to_y)
    ahead = np.where(is_sky, sky_depth, to_depth) > NEAR
    inside = ahead & (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
    there = cast(before.camera, before.placed, to_x[inside], to_y[inside])
    # The ray goes through the very point, so anything nearer than rounding allows is something else in front.
    clear = np.where(is_sky[inside], there.part == SKY, there.depth > to_depth[inside] * (1 - 1e-6))
    visible = np.zeros(part.shape, bool)
    visible[inside] = clear
    flow = np.stack([to_x - columns, to_y - rows], -1)
    flow[~ahead] = 0
    return flow.reshape(height, width, 2).astype(np.float32), visible.reshape(height, width)


def render_frame(scene: Scene, t: int) -> ToyFrame:
    """Everything there is to know about frame t.

    Args:
        scene: made by `make_scene`.
        t: frame number, 0 <= t < scene.num_frames (later ones work while the street lasts).
    """
    width, height = scene.size
    now = _moment(scene, t)
    columns = np.arange(-0.5, width, 0.5)[None]
    rows = np.arange(-0.5, height, 0.5)[:, None]
    hits = cast(now.camera, now.placed, columns, rows)
    label_of, instance_of = _label_table(scene)
    labels = label_of[hits.part]
    world = _world(now.camera, np.where(hits.part == SKY, 1.0, hits.depth), columns, rows)
    ground = hits.part == GROUND
    labels[ground] = np.where(on_marking(world[0][ground], world[2][ground], scene.crossings), MARKING, ROAD)
    centre = Hits(hits.depth[1::2, 1::2], hits.part[1::2, 1::2], hits.plane[1::2, 1::2])
    flow, visible = _backward_flow(scene, t, now, centre)
    normal, face = _normals(scene, now, hits, world)
    real = _real_look(scene, now, hits, world, normal, face, columns, rows)
    return ToyFrame(
        labels=np.ascontiguousarray(labels[1::2, 1::2]),
        instances=instance_of[centre.part],
        flow=flow,
        visible=visible,
        plain=_to_pixels(_plain_look(labels, normal)),
        real=_to_pixels(_vignette(real)),
    )


def _gather(samples: Array) -> Array:
    """[2H + 1, 2W + 1, 3] half-pixel samples to [H, W, 3], weights 1-2-1 both ways."""
    rows = 0.25 * (samples[:-2:2] + samples[2::2]) + 0.5 * samples[1::2]
    return 0.25 * (rows[:, :-2:2] + rows[:, 2::2]) + 0.5 * rows[:, 1::2]


def _to_pixels(image: Array) -> NDArray[np.uint8]:
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def _vignette(image: Array) -> Array:
    height, width = image.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32)[None], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return image * (1 - 0.07 * (x * x + y * y))[..., None]


def _normals(scene: Scene, now: _Moment, hits: Hits, world: Floats) -> tuple[Array, Array]:
    """World and local unit normals [3, ...] of what each sample hit; sky samples get zeros."""
    shape = hits.part.shape
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
    return (normal / length).reshape(3, *shape).astype(np.float32), face.reshape(3, *shape).astype(np.float32)


def _plain_look(labels: NDArray[np.uint8], normal: Array) -> Array:
    """One flat colour per label; sides of things are a little darker than their tops, as in a simple CG preview."""
    colours = np.array([label.colour for label in LABELS], np.float32) / 255
    shade = 1 - 0.14 * np.abs(normal[0]) - 0.06 * np.abs(normal[2])
    return _gather(colours[labels] * shade[..., None])


def _real_look(
    scene: Scene, now: _Moment, hits: Hits, world: Floats, normal: Array, face: Array, columns: Floats, rows: Floats
) -> Array:
    noise = Noise.seeded(scene.seed)
    shape = hits.part.shape
    part = hits.part.ravel()
    linear = np.zeros((part.size, 3), np.float32)
    view = [np.broadcast_to(v, shape).reshape(-1).astype(np.float32) for v in directions(now.camera, columns, rows)]
    up_there = np.flatnonzero(part == SKY)
    linear[up_there] = sky([v[up_there] for v in view], noise)

    solid = np.flatnonzero(part != SKY)
    flat = world.reshape(3, -1).astype(np.float32)
    solid = solid[np.argsort(flat[2, solid], kind="stable")]
    owner, here = part[solid], flat[:, solid]
    n, f = normal.reshape(3, -1)[:, solid], face.reshape(3, -1)[:, solid]
    depth = hits.depth.ravel()[solid].astype(np.float32)
    inverse = now.inverse.astype(np.float32)[owner]
    local = times(inverse, here - now.origin.astype(np.float32)[owner].T)
    pixel = _footprint(now.camera, inverse, n, [v[solid] for v in view], depth)

    pieces = [piece for _, piece in scene.parts]
    colours = np.array([*(piece.colour for piece in pieces), (0, 0, 0)], np.float32)
    styles = np.zeros((len(pieces) + 1, 5), np.float32)
    for number, piece in enumerate(pieces):
        styles[number, : len(piece.style)] = piece.style
    seeds = np.array([*(piece.seed for piece in pieces), 0], np.float32)
    names = sorted(MATERIALS)
    kinds = np.array([*(names.index(piece.material) for piece in pieces), -1])[owner]
    albedo = np.zeros((len(solid), 3), np.float32)
    for kind in np.unique(kinds):
        k = np.flatnonzero(kinds == kind)
        o = owner[k]
        samples = Samples(here[:, k], local[:, k], n[:, k], f[:, k], pixel[:, k], colours[o], styles[o], seeds[o])
        albedo[k] = road(samples, noise, scene.crossings) if kind < 0 else MATERIALS[names[kind]](samples, noise)

    sun = np.zeros_like(depth)
    lit = np.flatnonzero(n[0] * scene.sun[0] + n[1] * scene.sun[1] + n[2] * scene.sun[2] > 0)
    sun[lit] = sunlight(scene, now.placed, owner[lit], here[:, lit], near=now.camera.position[2] + SHADOW_REACH)
    open_sky = np.ones_like(depth)
    low = np.flatnonzero(here[1] < 0.3)
    open_sky[low] = contact(scene, now.placed, here[0, low], here[2, low])
    linear[solid] = illuminate(albedo, n, sun, open_sky, depth, scene.sun)
    return develop(_gather(linear.reshape(*shape, 3)))


def _footprint(camera: Camera, inverse: Array, normal: Array, view: list[Array], depth: Array) -> Array:
    """How far the surface point moves along each local axis for one sample spacing, [3, N].

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
