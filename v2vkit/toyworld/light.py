"""Sun, sky and shadows, in linear light."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from v2vkit.toyworld.geometry import Floats, Placed, Vector, times
from v2vkit.toyworld.scene import Scene
from v2vkit.toyworld.texture import Array, Noise, smoothstep
from v2vkit.toyworld.weather import Weather

SHADOW_REACH = 70.0  # metres; beyond, the shadow of a car is less than half a pixel high


def sky(toward: Sequence[Array], noise: Noise, weather: Weather) -> Array:
    """Colour of the sky in directions (x, y, z) of any length: a gradient with clouds, fixed in space."""
    x, y, z = toward
    length = np.sqrt(x * x + y * y + z * z)
    height = np.clip(y / length, 0, 1)
    haze, zenith = _colour(weather.haze), _colour(weather.zenith)
    colour = haze + (zenith - haze) * (1 - np.exp(-3.2 * height))[:, None]
    flat = y / length + 0.16  # a dome that reaches the horizon at a finite distance
    u, v = 1.1 * x / length / flat, 1.1 * z / length / flat
    cover = noise.fractal(u, v * 1.6, np.full_like(u, 0.02), 1.1, 5)
    share = smoothstep(0.05, 0.85, cover + weather.clouds) * smoothstep(0.0, 0.16, height)
    shade = 0.86 + 0.14 * smoothstep(0.9, 0.2, cover)
    cloud = weather.cloud_light * shade[:, None] * np.array([1.5, 1.5, 1.52], np.float32)
    return np.asarray(colour + (cloud - colour) * (0.9 * share)[:, None], np.float32)


def sunlight(scene: Scene, placed: Placed, owner: NDArray[np.int32], world: Array, *, near: float) -> Array:
    """Share of sunlight that reaches each point; shadows have soft edges.

    Args:
        scene: the street, for the direction of the sun.
        placed: everything that can cast a shadow.
        owner: part number of each point [N]; a body does not shade itself.
        world: the points [3, N], sorted by z.
        near: objects smaller than a house cast shadows up to this z only.

    Returns:
        [N] in [0, 1].
    """
    toward = scene.sun
    light = np.ones(world.shape[1], np.float32)
    body = np.append(scene.still.body, -1)
    own = body[owner]
    # A part shades only what lies in its bounding box or in that box's shadow on the ground.
    run = -np.array(toward) / toward[1] * placed.upper[:, 1:2]
    low, high = np.minimum(placed.lower, placed.lower + run), np.maximum(placed.upper, placed.upper + run)
    start, stop = np.searchsorted(world[2], low[:, 2]), np.searchsorted(world[2], high[:, 2])
    large = (placed.upper - placed.lower).max(1) > 6
    for number in np.flatnonzero((start < stop) & (large | (placed.lower[:, 2] < near))).tolist():
        if scene.parts[number][1].material == "pavement":
            continue
        span = slice(int(start[number]), int(stop[number]))
        x, y = world[0, span], world[1, span]
        near = (x > low[number, 0]) & (x < high[number, 0]) & (y < placed.upper[number, 1])
        where = span.start + np.flatnonzero(near & (own[span] != body[number]))
        if not len(where):
            continue
        matrix = placed.inverse[number]
        points = times(matrix, [world[axis, where] - np.float32(placed.origin[number, axis]) for axis in range(3)])
        toward_local = times(matrix, toward)
        planes = placed.shapes[number].planes
        if planes is None:
            light[where] *= 1 - _behind_ball(points, toward_local)
        else:
            thin = float((placed.upper[number] - placed.lower[number]).min())
            light[where] *= 1 - _behind_solid(planes, thin, points, toward_local)
    return light


def _behind_ball(p: Sequence[Array], d: Sequence[float]) -> Array:
    along = p[0] * d[0] + p[1] * d[1] + p[2] * d[2]
    length = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    miss = p[0] * p[0] + p[1] * p[1] + p[2] * p[2] - along * along / length
    return np.asarray(0.85 * smoothstep(1.0, 0.5, miss) * (along < 0), np.float32)


def _behind_solid(planes: Floats, thin: float, p: Sequence[Array], d: Sequence[float]) -> Array:
    enter = np.zeros_like(p[0])
    leave = np.full_like(p[0], np.inf)
    for nx, ny, nz, offset in planes.tolist():
        along = nx * d[0] + ny * d[1] + nz * d[2]
        room = offset - (nx * p[0] + ny * p[1] + nz * p[2])
        if along < -1e-9:
            enter = np.maximum(enter, room / along)
        elif along > 1e-9:
            leave = np.minimum(leave, room / along)
        else:
            leave = np.where(room < 0, -np.inf, leave)
    # Thin solids get narrow soft edges: the shadow fades in over the outermost part.
    return np.asarray(smoothstep(0.0, min(0.35 * thin, 1.2), leave - enter), np.float32)


def contact(scene: Scene, placed: Placed, x: Array, z: Array) -> Array:
    """Ambient occlusion of the road under and beside cars, 1 = none. Points (x, z) on the ground, sorted by z."""
    open_sky = np.ones_like(x)
    for number, (_, part) in enumerate(scene.parts):
        if part.material != "under":
            continue
        (x0, _, z0), (x1, _, z1) = placed.lower[number], placed.upper[number]
        start, stop = np.searchsorted(z, (z0 - 1.2, z1 + 1.2))
        if start < stop:
            px, pz = x[start:stop], z[start:stop]
            away = np.maximum(np.maximum(x0 - px, px - x1), 0) ** 2 + np.maximum(np.maximum(z0 - pz, pz - z1), 0) ** 2
            open_sky[start:stop] *= (1 - 0.75 * np.exp(-away / 0.12)).astype(np.float32)
    return open_sky


def illuminate(
    albedo: Array, normal: Array, sun: Array, open_sky: Array, depth: Array, toward: Vector, weather: Weather
) -> Array:
    """Light on a matt surface seen through haze.

    Args:
        albedo: [N, 3].
        normal: unit normals [3, N].
        sun: share of sunlight that reaches the surface [N].
        open_sky: share of skylight that reaches the surface [N].
        depth: metres to the camera [N].
        toward: unit vector to the sun.
        weather: light and air.
    """
    above, below, haze = _colour(weather.above), _colour(weather.below), _colour(weather.haze)
    facing = np.clip(normal[0] * toward[0] + normal[1] * toward[1] + normal[2] * toward[2], 0, 1)
    up = 0.5 + 0.5 * normal[1]
    ambient = (below + (above - below) * up[:, None]) * open_sky[:, None]
    colour = albedo * (ambient + _colour(weather.sun) * (facing * sun * open_sky)[:, None])
    through = np.exp(-depth / weather.haze_length)[:, None]
    return np.asarray(colour * through + haze * (1 - through), np.float32)


def _colour(vector: Vector) -> Array:
    return np.array(vector, np.float32)


def develop(linear: Array) -> Array:
    """Tone mapping from linear light to display values in [0, 1]: soft shoulder, gamma 2.2, some contrast."""
    display = (1 - np.exp(-1.45 * np.maximum(linear, 0))) ** (1 / 2.2)
    return np.asarray(0.7 * display + 0.3 * display * display * (3 - 2 * display), np.float32)
