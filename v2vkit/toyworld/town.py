"""Construction of a street from a seed: houses, trees, cars and people, and their motion."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from v2vkit.toyworld.geometry import BALL, Shape, Vector, box, frustum
from v2vkit.toyworld.scene import (
    BUILDING,
    CAR,
    KERB,
    KERB_HEIGHT,
    PAVEMENT,
    PEDESTRIAN,
    TREE,
    Body,
    Drive,
    Part,
    Scene,
)
from v2vkit.toyworld.variation import varied

VIEW = 130.0  # the street ends this far beyond the camera's last position, metres


def linear(red: int, green: int, blue: int) -> Vector:
    """An 8-bit display colour as linear light."""
    return (red / 255) ** 2.2, (green / 255) ** 2.2, (blue / 255) ** 2.2


_WALLS = (
    (158, 88, 68),
    (176, 112, 84),
    (204, 180, 140),
    (214, 200, 176),
    (186, 168, 150),
    (146, 106, 90),
    (196, 150, 116),
)
_ROOFS = ((124, 62, 48), (98, 66, 58), (76, 78, 86), (140, 80, 56))
_LEAVES = ((92, 128, 52), (74, 116, 48), (112, 138, 56), (82, 122, 66))
_PAINTS = ((168, 34, 32), (36, 66, 132), (206, 208, 210), (44, 46, 52), (120, 126, 132), (212, 178, 52), (40, 96, 74))
_CLOTHES = ((178, 44, 48), (52, 84, 150), (226, 214, 190), (60, 60, 66), (84, 128, 84), (216, 158, 58), (122, 76, 128))
_TROUSERS = ((44, 52, 76), (54, 50, 48), (98, 88, 74), (34, 36, 40))
_SKINS = ((236, 196, 168), (200, 150, 116), (142, 98, 72), (96, 64, 46))


def _pick(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> Vector:
    red, green, blue = colours[int(rng.integers(len(colours)))]
    return linear(red, green, blue)


def make_scene(
    seed: int, num_frames: int, size: tuple[int, int], *, fps: float = 15.0, variation: float = 0.0
) -> Scene:
    """A street for `num_frames` frames of `size` (width, height) pixels.

    Args:
        seed: any non-negative integer; the same seed gives the same street at every size.
        num_frames: length of the drive, which sets the length of the street.
        size: width and height in pixels.
        fps: frames per second, which sets how far things move between two frames.
        variation: in [0, 1], how much light, weather and colours of the real look vary from seed to seed; 0 = always
            clear weather. Nothing else depends on it.
    """
    rng = np.random.default_rng(seed)
    uniform = rng.uniform
    drive = Drive(1.65, uniform(6.5, 9.0), uniform(0.05, 0.2), uniform(0.02, 0.045), uniform(0, 6.28))
    side = float(rng.choice([-1.0, 1.0]))
    # The sun stands behind the camera to one side: fronts ahead and one row of houses are lit, the other is in shade.
    sun = np.array([side * uniform(0.45, 0.7), uniform(0.75, 0.95), -uniform(0.15, 0.45)])
    sun = sun / (sun * sun).sum() ** 0.5
    travel = drive.speed * num_frames / fps
    end = travel + VIEW
    crossings = tuple(float(z) for z in np.arange(uniform(16, 30), end - 20, uniform(40, 55)))
    bodies = [_pavements()]
    for x_side in (-1.0, 1.0):
        bodies += _houses(rng, x_side, end)
        bodies += _trees(rng, x_side, end - 10)
    bodies.append(_street_end(rng, end))
    movers = [
        *_traffic(rng, drive, num_frames / fps),
        *_parked(rng, travel + 85, crossings),
        *_walkers(rng, travel, crossings),
    ]
    bodies += [replace(body, instance=number + 1) for number, body in enumerate(movers)]
    towards = (float(sun[0]), float(sun[1]), float(sun[2]))
    scene = Scene(seed, num_frames, size, fps, drive, towards, tuple(bodies), crossings)
    return varied(scene, variation) if variation else scene


def _pavements() -> Body:
    """Endless raised pavements: only the top and the kerb are visible."""
    parts = []
    for side in (-1.0, 1.0):
        planes = np.array([[0, 1, 0, KERB_HEIGHT], [-side, 0, 0, -KERB]])
        low, high = sorted((side * KERB, side * 1e4))
        shape = Shape(planes, np.array([[low, 0, -1e4], [high, KERB_HEIGHT, 1e4]]))
        parts.append(Part(shape, PAVEMENT, "pavement"))
    return Body(tuple(parts), (0, 0, 0))


def _house(rng: np.random.Generator, side: float, width: float, floors: int, front: float) -> tuple[Part, ...]:
    """A house front with windows, a pitched or flat roof and chimneys; local z runs from 0 to `width`."""
    wall, seed = _pick(rng, _WALLS), int(rng.integers(256))
    storey, ground = rng.uniform(2.9, 3.3), rng.uniform(3.5, 4.2)
    height = ground + floors * storey + 0.5
    style = (width / max(2, round(width / rng.uniform(2.0, 2.9))), storey, ground, height, rng.uniform(0.4, 0.55))
    near, far = side * front, side * (front + 11)
    low, high = min(near, far), max(near, far)
    parts = [Part(box((low, 0, 0), (high, height, width)), BUILDING, "facade", wall, style=style, seed=seed)]
    if rng.random() < 0.7:
        rise, roof = rng.uniform(2.4, 3.8), _pick(rng, _ROOFS)
        middle = (low + high) / 2
        bottom = ((low - 0.35, height, -0.1), (high + 0.35, height, width + 0.1))
        top = ((middle - 0.2, height + rise, 0.3), (middle + 0.2, height + rise, width - 0.3))
        parts.append(Part(frustum(bottom, top), BUILDING, "roof", roof, seed=seed))
        height += rise - 1
    if rng.random() < 0.7:
        at, x = rng.uniform(0.15, 0.8) * width, side * (front + 3.5)
        chimney = box((x - 0.4, height - 1.5, at), (x + 0.4, height + 1.3, at + 0.9))
        parts.append(Part(chimney, BUILDING, "wall", linear(132, 76, 60), seed=seed))
    return tuple(parts)


def _houses(rng: np.random.Generator, side: float, end: float) -> Iterator[Body]:
    z = -24.0
    while z < end:
        width = rng.uniform(7, 14)
        yield Body(_house(rng, side, width, int(rng.integers(2, 5)), rng.uniform(8.9, 9.6)), (0, 0, z))
        z += width + (rng.uniform(2, 4) if rng.random() < 0.22 else 0.0)
    # A second row behind the gaps.
    low, high = sorted((side * 24, side * 30))
    style = (2.6, 3.1, 3.8, 9.0, 0.45)
    yield Body(
        (Part(box((low, 0, -24), (high, 9, end)), BUILDING, "facade", linear(150, 140, 132), style=style),), (0, 0, 0)
    )


def _street_end(rng: np.random.Generator, end: float) -> Body:
    """The end of the street: a long front with a tower across it."""
    wall = _pick(rng, _WALLS)
    x = rng.uniform(-9, 9)
    parts = (
        Part(box((-40, 0, 0), (40, 11, 10)), BUILDING, "facade", wall, style=(2.6, 3.2, 3.8, 11.0, 0.5), seed=7),
        Part(box((x - 3, 0, -1), (x + 3, 21, 5)), BUILDING, "facade", wall, style=(3.0, 4.2, 8.0, 21.0, 0.3), seed=9),
        Part(
            frustum(((x - 3.3, 21, -1.3), (x + 3.3, 21, 5.3)), ((x - 0.1, 30, 1.9), (x + 0.1, 30, 2.1))),
            BUILDING,
            "roof",
            linear(76, 96, 92),
        ),
    )
    return Body(parts, (0, 0, end))


def _trees(rng: np.random.Generator, side: float, end: float) -> Iterator[Body]:
    z = rng.uniform(-6, 8)
    while z < end:
        trunk, radius = rng.uniform(2.2, 2.9), rng.uniform(1.3, 1.8)
        leaf, seed = _pick(rng, _LEAVES), int(rng.integers(256))
        bark = frustum(((-0.17, 0, -0.17), (0.17, 0, 0.17)), ((-0.1, trunk + 0.9, -0.1), (0.1, trunk + 0.9, 0.1)))
        parts = [Part(bark, TREE, "bark", linear(92, 74, 58), seed=seed)]
        lumps = 5 if z < end - 70 else 2  # fewer where the camera never gets near
        for k in range(lumps):
            around, out = 2 * np.pi * (k + rng.uniform(0, 0.6)) / lumps, radius * rng.uniform(0.35, 0.6)
            size = radius * rng.uniform(0.62, 0.85)
            offset = (out * np.cos(around), trunk + radius * rng.uniform(0.5, 1.3), out * np.sin(around))
            scale = (size, size * rng.uniform(0.8, 1.0), size)
            parts.append(Part(BALL, TREE, "leaves", leaf, _rounded(offset), _rounded(scale), seed=seed + 31 * k))
        crown = (0.0, trunk + radius * 1.15, 0.0)
        parts.append(Part(BALL, TREE, "leaves", leaf, crown, (radius * 0.9, radius, radius * 0.9), seed=seed + 7))
        yield Body(tuple(parts), (side * 6.1, KERB_HEIGHT, z))
        z += rng.uniform(11, 19)


def _rounded(vector: tuple[float, float, float]) -> Vector:
    x, y, z = (round(float(value), 6) for value in vector)
    return x, y, z


def _car(rng: np.random.Generator) -> tuple[Part, ...]:
    """A car that faces +z: underbody, body with wheels and lights, cabin with windows."""
    paint, kind = _pick(rng, _PAINTS), int(rng.integers(3))
    if kind == 2:  # a van
        length, waist, top, cabin, roof = 4.9, 1.15, 2.05, (-2.4, 1.9), (-2.3, 1.0)
    elif kind == 1:  # a hatchback
        length, waist, top, cabin, roof = 3.9, 0.88, 1.48, (-1.9, 0.95), (-1.55, 0.25)
    else:  # a saloon
        length, waist, top, cabin, roof = 4.5, 0.84, 1.42, (-1.75, 1.0), (-1.05, 0.3)
    half = length / 2
    style = (length, waist, top)
    body = frustum(((-0.88, 0.2, -half), (0.88, 0.2, half)), ((-0.81, waist, -half + 0.1), (0.81, waist, half - 0.15)))
    glass = frustum(((-0.81, waist, cabin[0]), (0.81, waist, cabin[1])), ((-0.64, top, roof[0]), (0.64, top, roof[1])))
    under = box((-0.84, 0.0, -half + 0.4), (0.84, 0.22, half - 0.4))
    return (
        Part(under, CAR, "under", style=style),
        Part(body, CAR, "paint", paint, style=style),
        Part(glass, CAR, "cabin", paint, style=style),
    )


def _traffic(rng: np.random.Generator, drive: Drive, seconds: float) -> Iterator[Body]:
    ahead = rng.uniform(11, 16)
    surge = (rng.uniform(0.5, 1.2), 0.16, rng.uniform(0, 6.28))
    slower = min(0.3, (ahead - 8) / seconds)  # the camera must not catch up with it
    yield Body(_car(rng), (1.7, 0, ahead), (0, 0, drive.speed + rng.uniform(-slower, 0.7)), surge)
    yield Body(_car(rng), (1.65, 0, ahead + rng.uniform(16, 26)), (0, 0, drive.speed + 0.8))
    z, speed = rng.uniform(22, 40), -rng.uniform(6.5, 9.5)
    for _ in range(max(4, round(2 * drive.speed * seconds / 22) + 1)):
        yield Body(_car(rng), (-1.7 + rng.uniform(-0.15, 0.15), 0, z), (0, 0, speed), backwards=True)
        z += rng.uniform(14, 30)


def _parked(rng: np.random.Generator, end: float, crossings: tuple[float, ...]) -> Iterator[Body]:
    for side in (-1.0, 1.0):
        for slot in np.arange(-8.0, end, 6.2):
            z = slot + rng.uniform(-0.4, 0.4)
            car, x, taken = _car(rng), side * rng.uniform(4.15, 4.3), rng.random() < 0.42
            if taken and all(abs(z - crossing) > 6 for crossing in crossings):
                yield Body(car, (x, 0, z), backwards=side < 0)


def _person(rng: np.random.Generator, *, walks: bool) -> tuple[Part, ...]:
    tall = rng.uniform(0.92, 1.08)
    shirt, trousers, skin = _pick(rng, _CLOTHES), _pick(rng, _TROUSERS), _pick(rng, _SKINS)
    hair, pace, phase = rng.uniform(0.02, 0.25), rng.uniform(0.8, 1.0), rng.uniform(0, 6.28)
    hip, neck = 0.86 * tall, 1.44 * tall
    leg = frustum(((-0.07, -hip, -0.09), (0.07, -hip, 0.09)), ((-0.09, 0, -0.1), (0.09, 0, 0.1)))
    arm = frustum(((-0.045, -0.62, -0.05), (0.045, -0.62, 0.05)), ((-0.055, 0, -0.06), (0.055, 0, 0.06)))
    torso = frustum(((-0.18, hip - 0.1, -0.12), (0.18, hip - 0.1, 0.12)), ((-0.22, neck, -0.1), (0.22, neck, 0.1)))
    parts = [Part(torso, PEDESTRIAN, "cloth", shirt)]
    for x, sign in ((-0.1, 1.0), (0.1, -1.0)):
        stride, reach = (sign * 0.42, pace, phase), (-sign * 0.3, pace, phase)
        parts.append(Part(leg, PEDESTRIAN, "cloth", trousers, (x, hip, 0), swing=stride if walks else None))
        parts.append(Part(arm, PEDESTRIAN, "cloth", shirt, (2.7 * x, neck - 0.03, 0), swing=reach if walks else None))
    head = Part(BALL, PEDESTRIAN, "head", skin, (0, neck + 0.12, 0), (0.105, 0.145, 0.115), style=(hair,))
    return (*parts, head)


def _walkers(rng: np.random.Generator, travel: float, crossings: tuple[float, ...]) -> Iterator[Body]:
    for side in (-1.0, 1.0):
        z = rng.uniform(5, 9)
        while z < travel + 45:
            walks = rng.random() < 0.75
            speed = float(rng.choice([-1.0, 1.0])) * rng.uniform(1.0, 1.5) if walks else 0.0
            place = (side * rng.uniform(6.9, 8.1), KERB_HEIGHT, z)
            yield Body(_person(rng, walks=walks), place, (0, 0, speed), backwards=speed < 0 or not walks)
            z += rng.uniform(4, 14)
    waiting = next((z for z in crossings if z > 12), 20.0)
    yield Body(_person(rng, walks=False), (5.6, KERB_HEIGHT, waiting + 0.5), backwards=True)
