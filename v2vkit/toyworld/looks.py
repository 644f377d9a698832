"""The three looks of a frame: plain (one colour per label), cg (like a simulator) and real (textured and lit)."""

import numpy as np
from numpy.typing import NDArray

from v2vkit.toyworld.geometry import Vector
from v2vkit.toyworld.light import SHADOW_REACH, contact, develop, illuminate, sky, sunlight
from v2vkit.toyworld.materials import MATERIALS, Samples, road
from v2vkit.toyworld.scene import LABELS, Scene
from v2vkit.toyworld.surfaces import Moment, Surfaces
from v2vkit.toyworld.texture import Array, Noise
from v2vkit.toyworld.weather import SIMULATOR

_SIMULATOR_SUN: Vector = (0.48, 0.8, -0.36)  # unit vector; fronts ahead and the left row of houses are bright


def plain_look(labels: NDArray[np.uint8], surfaces: Surfaces) -> Array:
    """One flat colour per label; sides of objects are slightly darker than their tops.

    Args:
        labels: ids per sample, [rows, columns].

    Returns:
        Display values in [0, 1], [H, W, 3].
    """
    normal = surfaces.outward.reshape(3, *surfaces.shape)
    colours = np.array([label.colour for label in LABELS], np.float32) / 255
    shade = 1 - 0.14 * np.abs(normal[0]) - 0.06 * np.abs(normal[2])
    return _gather(colours[labels] * shade[..., None])


def cg_look(scene: Scene, now: Moment, surfaces: Surfaces) -> Array:
    """Like a simulator: shaded shapes with edges of windows, kerbs, markings and wheels, without texture.

    The sun is the same in every clip; the only shadows are those under cars. Weather and variation do not affect it.

    Returns:
        Display values in [0, 1], [H, W, 3].
    """
    noise = Noise.seeded(scene.seed, texture=0.0)
    s = surfaces
    colours = [part.colour for _, part in scene.parts]
    linear = np.zeros((s.outward.shape[1], 3), np.float32)
    linear[s.sky] = sky(tuple(s.toward), noise, SIMULATOR)
    albedo = _albedo(scene, s, noise, colours)
    sun, open_sky = np.ones_like(s.depth), _open_sky(scene, now, s)
    linear[s.solid] = illuminate(albedo, s.normal, sun, open_sky, s.depth, _SIMULATOR_SUN, SIMULATOR)
    samples = np.clip(linear, 0, 1) ** np.float32(1 / 2.2)
    return _gather(samples.reshape(*s.shape, 3))


def real_look(scene: Scene, now: Moment, surfaces: Surfaces) -> Array:
    """Textured surfaces with the scene's sun and weather, shadows, haze, exposure and vignette.

    Returns:
        Display values in [0, 1], [H, W, 3].
    """
    noise, weather = Noise.seeded(scene.seed), scene.weather
    s = surfaces
    colours = [part.real_colour or part.colour for _, part in scene.parts]
    linear = np.zeros((s.outward.shape[1], 3), np.float32)
    linear[s.sky] = sky(tuple(s.toward), noise, weather)
    albedo = _albedo(scene, s, noise, colours)
    if weather.wet:
        albedo *= (1 - 0.5 * weather.wet * _is_ground(scene)[s.owner])[:, None].astype(np.float32)
    sun = np.zeros_like(s.depth)
    lit = np.flatnonzero(s.normal[0] * scene.sun[0] + s.normal[1] * scene.sun[1] + s.normal[2] * scene.sun[2] > 0)
    reach = now.camera.position[2] + SHADOW_REACH
    sun[lit] = sunlight(scene, now.placed, s.owner[lit], s.world[:, lit], near=reach)
    linear[s.solid] = illuminate(albedo, s.normal, sun, _open_sky(scene, now, s), s.depth, scene.sun, weather)
    exposed = _gather(linear.reshape(*s.shape, 3)) * np.array(weather.exposure, np.float32)
    return _vignette(develop(exposed))


def _albedo(scene: Scene, s: Surfaces, noise: Noise, colours: list[Vector]) -> Array:
    """[N, 3] linear; `colours`: one per part."""
    pieces = [piece for _, piece in scene.parts]
    table = np.array([*colours, (0, 0, 0)], np.float32)
    styles = np.zeros((len(pieces) + 1, 5), np.float32)
    for number, piece in enumerate(pieces):
        styles[number, : len(piece.style)] = piece.style
    seeds = np.array([*(piece.seed for piece in pieces), 0], np.float32)
    names = sorted(MATERIALS)
    kinds = np.array([*(names.index(piece.material) for piece in pieces), -1])[s.owner]
    albedo = np.zeros((len(s.solid), 3), np.float32)
    for kind in np.unique(kinds):
        k = np.flatnonzero(kinds == kind)
        o = s.owner[k]
        samples = Samples(
            s.world[:, k], s.local[:, k], s.normal[:, k], s.face[:, k], s.pixel[:, k], table[o], styles[o], seeds[o]
        )
        albedo[k] = road(samples, noise, scene.crossings) if kind < 0 else MATERIALS[names[kind]](samples, noise)
    return albedo


def _open_sky(scene: Scene, now: Moment, s: Surfaces) -> Array:
    """Share of skylight that reaches each surface: dark under and beside cars."""
    share = np.ones_like(s.depth)
    low = np.flatnonzero(s.world[1] < 0.3)
    share[low] = contact(scene, now.placed, s.world[0, low], s.world[2, low])
    return share


def _is_ground(scene: Scene) -> NDArray[np.bool_]:
    """Whether each part is ground, by part number; the last entry is the road."""
    return np.array([*(part.material == "pavement" for _, part in scene.parts), True])


def _gather(samples: Array) -> Array:
    """Average half-pixel samples [2H + 1, 2W + 1, 3] to [H, W, 3] with weights 1-2-1 along both axes."""
    rows = 0.25 * (samples[:-2:2] + samples[2::2]) + 0.5 * samples[1::2]
    return 0.25 * (rows[:, :-2:2] + rows[:, 2::2]) + 0.5 * rows[:, 1::2]


def _vignette(image: Array) -> Array:
    height, width = image.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32)[None], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    return image * (1 - 0.07 * (x * x + y * y))[..., None]
