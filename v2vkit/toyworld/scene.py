"""Contents of the street, and the position of everything at a given time.

Layout (metres): x = 0 is the middle of the road, right-hand traffic, lanes to |x| = 3.2, parked cars to the kerb at
|x| = 5.2, pavement to the house fronts at about |x| = 9.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from v2vkit.classes.table import built_in
from v2vkit.toyworld.geometry import Camera, Floats, Placed, Shape, Vector, place
from v2vkit.toyworld.weather import CLEAR, Weather

KERB = 5.2
KERB_HEIGHT = 0.14
LANE_EDGE = 3.3


LABELS = built_in("toy").classes
"""The classes of its label maps; the colours are those of the plain look."""
SKY_ID, BUILDING, ROAD, MARKING, PAVEMENT, TREE, CAR, PEDESTRIAN = (label.id for label in LABELS)


@dataclass(frozen=True)
class Part:
    """One shape of an object: its offset, material, and swing (legs and arms of walking people).

    `swing` is (metres of travel along z per metre of height, cycles per second, phase).
    """

    shape: Shape
    label: int
    material: str
    colour: Vector = (0.5, 0.5, 0.5)  # linear RGB
    offset: Vector = (0.0, 0.0, 0.0)
    scale: Vector = (1.0, 1.0, 1.0)
    swing: Vector | None = None
    style: tuple[float, ...] = ()  # parameters of the material
    seed: int = 0  # varies the texture
    real_colour: Vector | None = None  # colour in the real look, if variation changed it


@dataclass(frozen=True)
class Body:
    """An object that moves as one: its parts, instance number (0 = stuff) and motion."""

    parts: tuple[Part, ...]
    start: Vector
    velocity: Vector = (0.0, 0.0, 0.0)
    surge: Vector = (0.0, 0.0, 0.0)  # metres along z, cycles per second, phase: uneven driving
    instance: int = 0
    backwards: bool = False  # faces the camera (-z)


@dataclass(frozen=True)
class Drive:
    """Motion of the camera: start, speed, and amplitude and phase of its swaying."""

    x: float
    speed: float
    sway: float
    turn: float
    phase: float


@dataclass(frozen=True)
class Still:
    """Per part: shape, matrix [P, 3, 3] and offset [P, 3] within its body, its body [P]; which parts swing."""

    shapes: tuple[Shape, ...]
    matrix: Floats
    offset: Floats
    body: NDArray[np.int64]
    swinging: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """A whole street, the input of `render_frame`; equal seeds and settings give equal scenes."""

    seed: int
    num_frames: int
    size: tuple[int, int]
    fps: float
    drive: Drive
    sun: Vector  # unit vector towards the sun of the real look
    bodies: tuple[Body, ...]
    crossings: tuple[float, ...]  # z of the zebra crossings
    weather: Weather = CLEAR  # of the real look

    @cached_property
    def parts(self) -> tuple[tuple[Body, Part], ...]:
        """All parts with the body that each belongs to; the index is the part number of the hit maps."""
        return tuple((body, part) for body in self.bodies for part in body.parts)

    @cached_property
    def still(self) -> "Still":
        """Transforms that do not change from frame to frame."""
        shapes: list[Shape] = []
        matrices: list[Floats] = []
        offsets: list[Vector] = []
        owners: list[int] = []
        swinging: list[int] = []
        for number, body in enumerate(self.bodies):
            turn = -1.0 if body.backwards else 1.0
            for part in body.parts:
                if part.swing is not None:
                    swinging.append(len(shapes))
                shapes.append(part.shape)
                owners.append(number)
                matrices.append(np.diag([turn * part.scale[0], part.scale[1], turn * part.scale[2]]))
                offsets.append((turn * part.offset[0], part.offset[1], turn * part.offset[2]))
        return Still(tuple(shapes), np.stack(matrices), np.array(offsets), np.array(owners), tuple(swinging))


def _wave(cycles: float, phase: float, seconds: float) -> float:
    # Rounded, so that label maps do not depend on the last digit of libm.
    return round(math.sin(2 * math.pi * cycles * seconds + phase), 9)


def camera_at(scene: Scene, t: float) -> Camera:
    """The camera at frame t (fractions and negative values too)."""
    drive, seconds = scene.drive, t / scene.fps
    width, height = scene.size
    yaw = drive.turn * _wave(0.11, drive.phase, seconds)
    pitch = 0.012 + 0.0025 * _wave(1.3, drive.phase, seconds)
    sin_y, cos_y = round(math.sin(yaw), 9), round(math.cos(yaw), 9)
    sin_p, cos_p = round(math.sin(pitch), 9), round(math.cos(pitch), 9)
    x = drive.x + drive.sway * _wave(0.17, 2 * drive.phase, seconds)
    y = 1.55 + 0.012 * _wave(1.7, drive.phase, seconds)
    return Camera(
        position=(x, y, drive.speed * seconds),
        right=(cos_y, 0.0, -sin_y),
        up=(sin_p * sin_y, cos_p, sin_p * cos_y),
        forward=(cos_p * sin_y, -sin_p, cos_p * cos_y),
        focal=0.62 * max(width, height),
        centre=((width - 1) / 2, 0.46 * (height - 1)),
    )


def place_at(scene: Scene, t: float) -> Placed:
    """The world transform of every part at frame t."""
    seconds = t / scene.fps
    still = scene.still
    matrix, origin = still.matrix.copy(), still.offset.copy()
    moves = []
    for body in scene.bodies:
        surge, cycles, phase = body.surge
        ahead = body.velocity[2] * seconds + (surge * _wave(cycles, phase, seconds) if surge else 0.0)
        moves.append((body.start[0] + body.velocity[0] * seconds, body.start[1], body.start[2] + ahead))
    origin += np.array(moves)[still.body]
    for number in still.swinging:
        amount, cycles, phase = scene.parts[number][1].swing or (0.0, 0.0, 0.0)
        matrix[number, 2, 1] = amount * _wave(cycles, phase, seconds)
    return place(still.shapes, matrix, origin)
