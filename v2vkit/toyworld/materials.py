"""Materials: albedo in linear light as a function of the position on a surface.

Each function takes `Samples` of one material and returns float32 [N, 3] albedo. Patterns are anchored to the surface
(local or world coordinates), so that they move exactly with the flow. With `noise.texture` 0 only the outlines of
shapes remain: windows, doors, kerbs, markings, wheels, lamps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from v2vkit.toyworld.scene import KERB, LANE_EDGE
from v2vkit.toyworld.texture import Array, Noise, band, pulse, smoothstep

DASH = (3.0, 6.0)  # length and period of the middle line, metres
ZEBRA = 1.6  # half the length of a crossing along the road, metres
_FRAME = np.array([0.66, 0.63, 0.57], np.float32)  # window frames and cornices


@dataclass(frozen=True)
class Samples:
    """Points on surfaces of one material, arrays of length N, metres.

    `world`, `local`: positions [3, N]; `normal`: world, unit [3, N]; `face`: local normal [3, N]; `pixel`: size of one
    sample spacing on the surface along each local axis [3, N]; `colour` [N, 3], `style` [N, S], `seed` [N]: attributes
    of the parts.
    """

    world: Array
    local: Array
    normal: Array
    face: Array
    pixel: Array
    colour: Array
    style: Array
    seed: Array


def on_marking(x: np.ndarray, z: np.ndarray, crossings: tuple[float, ...]) -> np.ndarray:
    """Whether points of the road (float64 x, z) lie on a marking; used for the label map."""
    inside = np.zeros(x.shape, bool)
    for crossing in crossings:
        inside |= np.abs(z - crossing) < ZEBRA + 0.6
    lines = np.abs(np.abs(x) - LANE_EDGE) < 0.065
    lines |= (np.abs(x) < 0.08) & (z - np.floor(z / DASH[1]) * DASH[1] < DASH[0])
    stripes = np.zeros(x.shape, bool)
    for crossing in crossings:
        stripes |= (np.abs(z - crossing) < ZEBRA) & (np.abs(x) < KERB - 0.4) & (x - np.floor(x) < 0.5)
    return np.where(inside, stripes, lines)


def _marking_share(s: Samples, crossings: tuple[float, ...]) -> Array:
    """Share of marking in each sample: `on_marking`, filtered over the pixel."""
    x, z, wx, wz = s.world[0], s.world[2], s.pixel[0], s.pixel[2]
    lines = band(np.abs(x), wx, LANE_EDGE - 0.065, LANE_EDGE + 0.065)
    lines = lines + band(x, wx, -0.08, 0.08) * pulse(z, wz, DASH[1], 0.0, DASH[0])
    stripe = pulse(x, wx, 1.0, 0.0, 0.5) * band(x, wx, -KERB + 0.4, KERB - 0.4)
    for crossing in crossings:
        near = band(z, wz, crossing - ZEBRA - 0.6, crossing + ZEBRA + 0.6)
        lines = lines * (1 - near) + stripe * band(z, wz, crossing - ZEBRA, crossing + ZEBRA)
    return np.clip(lines, 0, 1)


def road(s: Samples, noise: Noise, crossings: tuple[float, ...]) -> Array:
    """Asphalt with grain, repairs and darker wheel tracks, and worn paint."""
    x, z = s.world[0], s.world[2]
    wide = np.maximum(s.pixel[0], 0.5 * s.pixel[2])
    grain = noise.fractal(x, z, wide, 0.16, 3)
    patches = noise.fractal(x, z * 0.4, wide, 2.2, 3)
    lane = np.abs(np.abs(x) - 1.65)
    tracks = noise.texture * np.exp(-(((lane - 0.75) / 0.28) ** 2))
    oil = noise.texture * np.exp(-((lane / 0.35) ** 2)) * (0.6 + 0.4 * noise.value(x, z * 0.15))
    repair = (noise.speck(x / 1.7 + 0.31, z / 4.3) > 0.9) * np.float32(0.16)
    seam = pulse(x, s.pixel[0], 3.3, 0.02, 0.06) * (0.25 * noise.texture)
    tone = 0.16 * (1 + 0.2 * grain + 0.11 * patches - 0.12 * tracks - 0.16 * oil - repair - seam)
    tone = tone * (1 - 0.25 * noise.texture * smoothstep(LANE_EDGE + 1.2, KERB, np.abs(x)))  # dirt in the gutter
    paint = _marking_share(s, crossings) * np.clip(0.86 + 0.35 * noise.fractal(x, z, wide, 0.25, 2), 0, 1)
    colour = tone[:, None] * np.array([1.0, 0.98, 0.97], np.float32)
    white = (0.72 + 0.05 * grain)[:, None] * np.array([1.0, 0.98, 0.92], np.float32)
    return colour + (white - colour) * paint[:, None]


def pavement(s: Samples, noise: Noise) -> Array:
    """Slabs with joints; a lighter kerb stone at the road."""
    x, z = np.abs(s.world[0]), s.world[2]
    wide = np.maximum(s.pixel[0], 0.5 * s.pixel[2])
    slab = noise.speck(x / 0.6 - 0.3, z / 0.6, 3) - 0.5
    seen = np.clip(1.5 - wide / 0.6, 0, 1)
    joints = noise.texture * (pulse(x, s.pixel[0], 0.6, 0.0, 0.03) + pulse(z, s.pixel[2], 0.6, 0.0, 0.03))
    tone = 0.32 * (1 + 0.14 * slab * seen - 0.4 * joints + 0.1 * noise.fractal(x, z, wide, 0.6, 3))
    ends = noise.texture * pulse(z, s.pixel[2], 1.0, 0.0, 0.03)
    stone = 0.46 * (1 + 0.1 * noise.fractal(x, z, wide, 0.3, 2) - 0.35 * ends)
    kerb = band(x, s.pixel[0] + 1e-3, KERB - 0.1, KERB + 0.28)
    tone = tone + (stone - tone) * np.clip(kerb, 0, 1)
    return tone[:, None] * np.array([1.0, 0.96, 0.9], np.float32)


def _shops(s: Samples, noise: Noise, wall: Array, u: Array, wu: Array, above: Array) -> Array:
    """The ground floor: shop windows with bars between posts, some doors, a sign in the colour of the house."""
    h, wh, spacing = s.local[1], s.pixel[1], s.style[:, 0]
    wide = np.maximum(wu, wh)
    bay = 2 * spacing
    hue = np.stack([noise.cell(s.seed, k, 5) for k in range(3)], 1)
    sign_colour = 0.05 + 0.3 * hue * hue + 0.08 * hue.mean(1, keepdims=True)
    sign = smoothstep(-0.78, -0.74, above) - smoothstep(-0.14, -0.10, above)
    shop = pulse(u, wu, bay, 0.3, bay - 0.3) * smoothstep(0.48, 0.52, h) * smoothstep(-0.80, -0.84, above)
    door = (noise.cell(np.floor(u / bay), s.seed, 9) < 0.35) * pulse(u, wu, bay, 0.5 * bay - 0.55, 0.5 * bay + 0.55)
    door = door * smoothstep(2.32, 2.28, h)
    rails = np.clip(pulse(u, wu, bay / 3, 0.0, 0.07) + band(h, wh, 2.32, 2.4), 0, 1) * shop
    goods = noise.speck(u / 0.55, h / 0.45, s.seed.astype(np.int32)) * smoothstep(1.75, 1.65, h)
    inside = 0.05 + (0.16 * goods * np.clip(1.5 - wide / 0.5, 0, 1)) + 0.10 * smoothstep(1.2, 3.0, h)
    low = wall * 0.7
    low = low + (inside[:, None] * np.array([1.0, 0.98, 0.92], np.float32) - low) * shop[:, None]
    low = low + (np.float32(0.3) * _FRAME - low) * rails[:, None]
    low = low + (sign_colour * 0.5 - low) * np.clip(door, 0, 1)[:, None]
    return np.asarray(low + (sign_colour - low) * sign[:, None], np.float32)


def facade(s: Samples, noise: Noise) -> Array:
    """A house front: brick or plaster, rows of windows with frames and sills, a shop floor, a cornice."""
    ahead = np.abs(s.face[2]) > 0.5  # faces that look along the street
    u = np.where(ahead, s.local[0], s.local[2])
    wu = np.where(ahead, s.pixel[0], s.pixel[2])
    h, wh = s.local[1], s.pixel[1]
    spacing, storey, ground, height, share = s.style[:, :5].T
    wide = np.maximum(wu, wh)
    rough = noise.fractal(u + s.seed, h, wide, 2.0, 4)
    stains = noise.fractal(u * 1.5 + s.seed, h * 0.3, wide, 1.0, 2)
    bricks = noise.texture * (s.seed.astype(np.int32) & 1).astype(np.float32)
    course = np.floor(h / 0.15)
    mortar = pulse(h, wh, 0.15, 0.0, 0.025) + pulse(u + 0.17 * (course - 2 * np.floor(course / 2)), wu, 0.34, 0.0, 0.02)
    single = (noise.speck(u / 0.34, course) - 0.5) * np.clip(1.5 - wide / 0.15, 0, 1)
    wall = s.colour * (1 + 0.12 * rough + 0.12 * stains - bricks * (0.2 * mortar - 0.3 * single))[:, None]

    above = h - ground
    column, row = np.floor(u / spacing), np.floor(above / storey)
    side = 0.5 * (1 - share)
    top_floor = smoothstep(0.0, 0.02, above) * (above < height - ground - 0.5)
    glass = pulse(u, wu, spacing, spacing * side, spacing * (1 - side))
    glass = glass * pulse(above, wh, storey, 0.28 * storey, 0.80 * storey) * top_floor
    frame = pulse(u, wu, spacing, spacing * side - 0.14, spacing * (1 - side) + 0.14)
    frame = frame * pulse(above, wh, storey, 0.28 * storey - 0.14, 0.80 * storey + 0.14) * top_floor - glass
    bars = pulse(u, wu, spacing, 0.5 * spacing - 0.04, 0.5 * spacing + 0.04) * glass
    luck = noise.cell(column, row, s.seed.astype(np.int32))
    pane = np.where(luck > 0.8, 0.34, 0.05 + 0.10 * luck)  # some windows have light curtains
    pane = pane * (0.7 + 0.9 * np.clip((above - row * storey) / storey, 0, 1))  # the sky is reflected in the upper half
    window = pane[:, None] * np.array([0.82, 0.95, 1.12], np.float32)
    colour = wall + (_FRAME - wall) * np.clip(frame + bars, 0, 1)[:, None]
    colour = colour + (window - colour) * np.clip(glass - bars, 0, 1)[:, None]

    colour = np.where((above < 0)[:, None], _shops(s, noise, wall, u, wu, above), colour)
    cornice = smoothstep(0.42, 0.38, height - h)
    return colour + (_FRAME * np.float32(0.85) - colour) * cornice[:, None]


def roof(s: Samples, noise: Noise) -> Array:
    """Rows of tiles."""
    rows = noise.texture * pulse(s.local[1], s.pixel[1], 0.3, 0.0, 0.07)
    tone = 1 + 0.16 * noise.fractal(s.local[2] + s.seed, s.local[1] * 2, s.pixel[2], 0.7, 3) - 0.3 * rows
    return s.colour * tone[:, None]


def wall(s: Samples, noise: Noise) -> Array:
    """Plain brickwork."""
    tone = 1 + 0.2 * noise.fractal(s.local[2], s.local[1] * 2, s.pixel[1], 0.4, 3)
    return s.colour * tone[:, None]


def bark(s: Samples, noise: Noise) -> Array:
    """Streaks along the trunk."""
    tone = 1 + 0.4 * noise.fractal(s.local[0] * 3 + s.local[2] * 3, s.local[1] * 0.6, s.pixel[1], 0.2, 3)
    return s.colour * tone[:, None]


def leaves(s: Samples, noise: Noise) -> Array:
    """Clumps of leaves, lighter on top and dark between the clumps. Local space is the unit ball."""
    x, y, z = s.local
    pixel = s.pixel.max(0)
    # Triplanar mapping: three 2-D noises, weighted by the orientation of the surface, replace a 3-D noise.
    share = s.local * s.local
    fine: Array = np.zeros_like(x)
    clumps: Array = np.zeros_like(x)
    for weight, u, v in ((share[0], z, y), (share[1], x, z), (share[2], x, y)):
        clumps = clumps + weight * noise.fractal(u + s.seed, v, pixel, 0.42, 1)
        fine = fine + weight * noise.fractal(u, v + s.seed, pixel, 0.13, 2)
    tone = 0.8 + 0.5 * clumps + 0.6 * fine + 0.25 * y
    warm = np.array([1.2, 1.04, 0.75], np.float32)
    colour = s.colour * np.clip(tone, 0.14, 2)[:, None]
    return colour * (1 + (warm - 1) * np.clip(fine + clumps, 0, 1)[:, None])


def _wheels(s: Samples) -> tuple[Array, Array]:
    """Shares of tyre and of rim on the sides of a car."""
    length = s.style[:, 0]
    away = np.abs(np.abs(s.local[2] + 0.05) - 0.31 * length)
    radius = np.sqrt(away**2 + (s.local[1] - 0.31) ** 2)
    soft = s.pixel[2] + s.pixel[1] + 1e-3
    side = np.abs(s.face[0]) > 0.6
    return side * np.clip((0.36 - radius) / soft + 0.5, 0, 1), side * np.clip((0.2 - radius) / soft + 0.5, 0, 1)


def paint(s: Samples, noise: Noise) -> Array:
    """Car body: paint, wheels, bumpers, lamps and number plate. Faces +z: lamps are red at -z, white at +z."""
    x, y, z = s.local
    length, waist = s.style[:, 0], s.style[:, 1]
    colour = s.colour * (0.86 + 0.22 * smoothstep(0.2, 0.8, y / waist))[:, None]
    end = np.abs(s.face[2]) > 0.6
    rear = end & (s.face[2] < 0)
    wx, wy = s.pixel[0] + 1e-3, s.pixel[1] + 1e-3
    dark = np.array([0.02, 0.02, 0.022], np.float32)
    bumper = band(y, wy, 0.2, 0.36) * (np.abs(z) > 0.42 * length)
    colour = colour + (dark * 1.6 - colour) * bumper[:, None]
    seam = (pulse(z + 0.35, s.pixel[2] + 1e-3, 1.15, 0.0, 0.035) * (np.abs(z) < 0.3 * length) * ~end)[:, None]
    colour = colour * (1 - 0.5 * seam)
    lamps = band(np.abs(x), wx, 0.56, 0.8) * band(y / waist, wy, 0.6, 0.84) * end
    lamp = np.where(rear[:, None], np.array([0.62, 0.025, 0.02], np.float32), np.array([0.9, 0.9, 0.84], np.float32))
    colour = colour + (lamp - colour) * lamps[:, None]
    plate = band(np.abs(x), wx, 0.0, 0.27) * band(y, wy, 0.42, 0.54) * end
    colour = colour + (np.array([0.7, 0.68, 0.55], np.float32) - colour) * np.clip(plate, 0, 1)[:, None]
    tyre, rim = _wheels(s)
    colour = colour + (dark - colour) * tyre[:, None]
    return colour + (np.array([0.36, 0.37, 0.38], np.float32) - colour) * rim[:, None]


def cabin(s: Samples, noise: Noise) -> Array:
    """Windows between painted pillars under a painted roof; the glass reflects some sky in its upper part."""
    waist, top = s.style[:, 1], s.style[:, 2]
    level = (s.local[1] - waist) / (top - waist)
    side = np.abs(s.face[0]) > 0.6
    wx, wz, wl = s.pixel[0] + 1e-3, s.pixel[2] + 1e-3, s.pixel[1] / (top - waist) + 1e-3
    across = np.where(side, 1 - pulse(s.local[2] + 0.3, wz, 1.15, 0.0, 0.09), band(np.abs(s.local[0]), wx, 0.0, 0.64))
    glass = np.clip(across, 0, 1) * band(level, wl, 0.08, 0.88) * (s.face[1] < 0.9)
    tone = 0.035 + 0.12 * smoothstep(0.3, 1.0, level)
    window = tone[:, None] * np.array([0.85, 1.0, 1.15], np.float32)
    return s.colour + (window - s.colour) * glass[:, None]


def under(s: Samples, noise: Noise) -> Array:
    """The dark below a car: tyres and shadow."""
    tyre, rim = _wheels(s)
    back = band(np.abs(s.local[0]), s.pixel[0] + 1e-3, 0.58, 0.84) * (np.abs(s.face[2]) > 0.6)
    tone = 0.006 + 0.016 * np.clip(tyre + back, 0, 1) + 0.33 * rim
    return np.repeat(tone[:, None], 3, 1).astype(np.float32)


def cloth(s: Samples, noise: Noise) -> Array:
    """Folds in clothes."""
    tone = 1 + 0.25 * noise.fractal(s.local[0] * 2 + s.local[2], s.local[1], s.pixel[1], 0.25, 2)
    return s.colour * tone[:, None]


def head(s: Samples, noise: Noise) -> Array:
    """A face in front (+z), hair on top and at the back. Local space is the unit ball."""
    hair = np.clip(smoothstep(0.25, 0.4, s.local[1]) + smoothstep(0.15, -0.05, s.local[2]), 0, 1)
    tone = np.repeat(s.style[:, :1], 3, 1) * np.array([1.0, 0.72, 0.5], np.float32)
    return s.colour + (tone - s.colour) * hair[:, None]


MATERIALS: dict[str, Callable[[Samples, Noise], Array]] = {
    "pavement": pavement,
    "facade": facade,
    "roof": roof,
    "wall": wall,
    "bark": bark,
    "leaves": leaves,
    "paint": paint,
    "cabin": cabin,
    "under": under,
    "cloth": cloth,
    "head": head,
}
