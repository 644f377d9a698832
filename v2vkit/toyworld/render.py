"""Rendering of one frame of a toy street: exact label, instance, flow and depth maps, and three looks.

Every pixel has 3 x 3 samples at distances of half a pixel, shared with its neighbours. Maps take the sample at the
pixel's centre; looks average all nine with weights 1-2-1 (anti-aliasing).
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
    cast,
    directions,
    project,
    project_direction,
    times,
)
from v2vkit.toyworld.looks import cg_look, plain_look, real_look
from v2vkit.toyworld.materials import on_marking
from v2vkit.toyworld.scene import MARKING, ROAD, SKY_ID, Scene, camera_at, place_at
from v2vkit.toyworld.surfaces import Moment, find_surfaces
from v2vkit.toyworld.texture import Array


@dataclass(frozen=True)
class ToyFrame:
    """Frame t of a scene.

    labels: uint8 [H, W] ids of `LABELS`. instances: uint16 [H, W], one number per car or pedestrian for the whole
    scene, 0 = none. depth: float32 [H, W] metres along the optical axis, inf = sky. flow: float32 [H, W, 2] pixels,
    backward: on the grid of frame t, pointing into frame t - 1. visible: bool [H, W], the point was inside frame t - 1
    and not occluded there. plain (one colour per label), cg (like a simulator), real (textured and lit): RGB uint8
    [H, W, 3].
    """

    labels: NDArray[np.uint8]
    instances: NDArray[np.uint16]
    depth: NDArray[np.float32]
    flow: NDArray[np.float32]
    visible: NDArray[np.bool_]
    plain: NDArray[np.uint8]
    cg: NDArray[np.uint8]
    real: NDArray[np.uint8]


def _moment(scene: Scene, t: float) -> Moment:
    placed = place_at(scene, t)
    eye = np.eye(3)[None]
    inverse, matrix = np.concatenate([placed.inverse, eye]), np.concatenate([placed.matrix, eye])
    origin = np.concatenate([placed.origin, np.zeros((1, 3))])
    return Moment(camera_at(scene, t), placed, inverse, matrix, origin)


def _label_table(scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Label and instance per part number; the last two entries are sky (-2) and ground (-1)."""
    labels = [part.label for _, part in scene.parts]
    instances = [body.instance for body, _ in scene.parts]
    return np.array([*labels, SKY_ID, ROAD], np.uint8), np.array([*instances, 0, 0], np.uint16)


def _world(camera: Camera, depth: Floats, columns: Floats, rows: Floats) -> Floats:
    d = directions(camera, columns, rows)
    return np.stack([e + depth * np.broadcast_to(v, depth.shape) for e, v in zip(camera.position, d, strict=True)])


def _backward_flow(scene: Scene, t: int, now: Moment, hits: Hits) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Exact backward flow into the previous frame, and where the point is visible there; zeros and False for frame 0.

    Args:
        hits: first hits of the rays through the pixels' centres, [H, W].

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
    # The ray goes through the point itself, so a nearer hit (beyond rounding) is an occluder.
    clear = np.where(is_sky[inside], there.part == SKY, there.depth > to_depth[inside] * (1 - 1e-6))
    visible = np.zeros(part.shape, bool)
    visible[inside] = clear
    flow = np.stack([to_x - columns, to_y - rows], -1)
    flow[~ahead] = 0
    return flow.reshape(height, width, 2).astype(np.float32), visible.reshape(height, width)


def render_frame(scene: Scene, t: int) -> ToyFrame:
    """All maps and looks of frame t.

    Args:
        scene: made by `make_scene`.
        t: frame number, 0 <= t < scene.num_frames (later ones work until the street ends).
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
    surfaces = find_surfaces(scene, now, hits, world, (columns, rows))
    return ToyFrame(
        labels=np.ascontiguousarray(labels[1::2, 1::2]),
        instances=instance_of[centre.part],
        depth=centre.depth.astype(np.float32),
        flow=flow,
        visible=visible,
        plain=_to_pixels(plain_look(labels, surfaces)),
        cg=_to_pixels(cg_look(scene, now, surfaces)),
        real=_to_pixels(real_look(scene, now, surfaces)),
    )


def _to_pixels(image: Array) -> NDArray[np.uint8]:
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)
