"""Variation of sun, weather and colours of the real look from clip to clip."""

import colorsys
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from v2vkit.toyworld.geometry import Vector
from v2vkit.toyworld.scene import Body, Scene
from v2vkit.toyworld.weather import Weather

_GROUP = {"facade": "wall", "roof": "roof", "paint": "car", "cabin": "car", "leaves": "leaves"}
"""Materials whose colours vary; parts of a body in the same group share one colour."""
_LOWEST, _HIGHEST = math.radians(14), math.radians(62)  # of the sun


def varied(scene: Scene, variation: float) -> Scene:
    """The same street with another sun, weather and colours; only the real look changes.

    Args:
        scene: a street in clear weather.
        variation: in [0, 1], interpolates from clear weather to the sun, weather and colours drawn from the seed.
    """
    rng = np.random.default_rng([scene.seed, 2])
    sun, weather = _drawn_weather(rng)
    x, y, z = _mix(scene.sun, sun, variation)
    length = math.sqrt(x * x + y * y + z * z)  # never 0, because both suns are above the horizon
    colours = _palette(rng)
    bodies = tuple(_repainted(body, colours(), variation) for body in scene.bodies)
    mixed = _mixed_weather(scene.weather, weather, variation)
    return replace(scene, sun=(x / length, y / length, z / length), weather=mixed, bodies=bodies)


def _mix(a: Vector, b: Vector, share: float) -> Vector:
    x, y, z = (p + share * (q - p) for p, q in zip(a, b, strict=True))
    return x, y, z


def _mixed_weather(a: Weather, b: Weather, share: float) -> Weather:
    return Weather(
        sun=_mix(a.sun, b.sun, share),
        above=_mix(a.above, b.above, share),
        below=_mix(a.below, b.below, share),
        haze=_mix(a.haze, b.haze, share),
        haze_length=1 / ((1 - share) / a.haze_length + share / b.haze_length),  # densities are mixed, not lengths
        zenith=_mix(a.zenith, b.zenith, share),
        clouds=a.clouds + share * (b.clouds - a.clouds),
        cloud_light=a.cloud_light + share * (b.cloud_light - a.cloud_light),
        wet=a.wet + share * (b.wet - a.wet),
        exposure=_mix(a.exposure, b.exposure, share),
    )


def _drawn_weather(rng: np.random.Generator) -> tuple[Vector, Weather]:
    """Direction of the sun and a weather between a bright day, a low red sun, and rain."""
    uniform = rng.uniform
    height, around = uniform(_LOWEST, _HIGHEST), uniform(0, 2 * math.pi)
    sun = (math.cos(height) * math.cos(around), math.sin(height), math.cos(height) * math.sin(around))
    dull = float(np.clip(uniform(-0.7, 1.2), 0, 1))  # 0 = sunny (more than a third of the clips), 1 = no sun at all
    red = (1 - dull) * max(0.0, 1 - (height - _LOWEST) / math.radians(22))  # a low sun shines through more air
    fog = uniform(0, 1) ** 3
    light = 1 - 0.95 * dull
    warm = math.exp(uniform(-0.13, 0.13))
    gain = 2 ** uniform(-0.45, 0.45)
    return sun, Weather(
        sun=(2.7 * light, 2.3 * light * (1 - 0.30 * red), 1.8 * light * (1 - 0.6 * red)),
        above=_mix((0.40, 0.50, 0.72), (0.66, 0.68, 0.72), dull),
        below=_mix((0.20, 0.175, 0.15), (0.17, 0.17, 0.17), dull),
        haze=_mix(_mix((0.66, 0.76, 0.88), (0.95, 0.70, 0.50), red), (0.66, 0.68, 0.71), dull),
        haze_length=480 - 400 * max(fog, 0.6 * dull),
        zenith=_mix(_mix((0.09, 0.27, 0.72), (0.16, 0.26, 0.60), red), (0.50, 0.53, 0.58), dull),
        clouds=uniform(-0.5, 0.4) * (1 - dull) + 0.9 * dull,
        cloud_light=1 - 0.5 * dull,
        wet=max(0.0, 2 * dull - 1),
        exposure=(gain * warm, gain, gain / warm),
    )


def _palette(rng: np.random.Generator) -> Callable[[], dict[str, Vector]]:
    """A function that draws the colours of one body, linear RGB by group, from the palette of one street."""
    hue, spread, grey = rng.uniform(), rng.uniform(0.03, 0.3), rng.uniform(0.3, 1)
    season = rng.uniform(0.07, 0.36)  # from autumn to spring

    def draw() -> dict[str, Vector]:
        uniform = rng.uniform
        return {
            "wall": _linear(hue + uniform(-spread, spread), grey * uniform(0.1, 0.55), uniform(0.45, 0.9)),
            "roof": _linear(uniform(-0.05, 0.08), uniform(0.05, 0.6), uniform(0.25, 0.6)),
            "car": _linear(uniform(0, 1), uniform(0, 1) ** 2, uniform(0.15, 0.95)),
            "leaves": _linear(season + uniform(-0.03, 0.03), uniform(0.5, 0.75), uniform(0.4, 0.6)),
        }

    return draw


def _linear(hue: float, saturation: float, value: float) -> Vector:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return red**2.2, green**2.2, blue**2.2


def _repainted(body: Body, colours: dict[str, Vector], variation: float) -> Body:
    parts = tuple(
        replace(part, real_colour=_mix(part.colour, colours[_GROUP[part.material]], variation))
        if part.material in _GROUP
        else part
        for part in body.parts
    )
    return replace(body, parts=parts)
