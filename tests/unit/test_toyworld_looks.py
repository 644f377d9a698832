"""Depth is exact, the cg look has edges but no texture, and variation reaches the real look alone."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from v2vkit.toyworld import Scene, ToyFrame, make_scene, render_frame
from v2vkit.toyworld.geometry import Camera, box
from v2vkit.toyworld.scene import BUILDING, CAR, ROAD, SKY_ID, Body, Drive, Part, camera_at

SIZE = (192, 96)


@pytest.fixture(scope="module")
def frame() -> ToyFrame:
    return render_frame(make_scene(1, 48, SIZE), 24)


def _axes(camera: Camera) -> NDArray[np.float64]:
    return np.array([camera.right, camera.up, camera.forward])


def test_depth_and_the_motion_of_the_camera_give_the_flow_of_what_stands_still(frame: ToyFrame) -> None:
    scene = make_scene(1, 48, SIZE)
    now, before = camera_at(scene, 24), camera_at(scene, 23)
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]].astype(float)
    depth = frame.depth.astype(float)
    still = np.isfinite(depth) & (frame.instances == 0)
    x = (columns - now.centre[0]) / now.focal * depth
    y = -(rows - now.centre[1]) / now.focal * depth
    world = np.stack([x, y, depth], -1)[still] @ _axes(now) + now.position
    there = (world - before.position) @ _axes(before).T
    expected = np.stack(
        [
            before.centre[0] + before.focal * there[:, 0] / there[:, 2] - columns[still],
            before.centre[1] - before.focal * there[:, 1] / there[:, 2] - rows[still],
        ],
        -1,
    )
    assert still.mean() > 0.5
    assert np.abs(expected - frame.flow[still]).max() < 1e-3


def test_depth_is_infinite_in_the_sky_and_nowhere_else(frame: ToyFrame) -> None:
    assert frame.depth.dtype == np.float32
    assert np.array_equal(np.isinf(frame.depth), frame.labels == SKY_ID)
    assert frame.depth.min() > 0.5


def _street(*bodies: Body) -> Scene:
    return Scene(0, 10, SIZE, 15.0, Drive(0.0, 9.0, 0.0, 0.0, 0.0), (0.5, 0.8, -0.33), bodies, ())


def test_objects_that_hide_others_are_nearer() -> None:
    far = Body((Part(box((-3, 0, 0), (3, 3, 1)), CAR, "wall"),), (0, 0, 20), instance=1)
    near = Body((Part(box((-1, 0, 0), (1, 1.5, 1)), CAR, "wall"),), (0, 0, 10), instance=2)
    frame = render_frame(_street(far, near), 0)
    alone = render_frame(_street(far), 0)
    hidden = (frame.instances == 2) & (alone.instances == 1)
    assert hidden.sum() > 20
    assert (frame.depth[hidden] < alone.depth[hidden] - 8).all()
    assert np.array_equal(frame.depth[frame.instances == 1], alone.depth[frame.instances == 1])
    # The optical axis looks down a little, so a front that stands upright is not at one depth.
    assert np.abs(frame.depth[frame.instances == 2] - 10).max() < 0.1


def _house(seed: int) -> Scene:
    style = (2.6, 3.1, 3.8, 30.0, 0.45)
    front = Part(box((-30, 0, 0), (30, 30, 1)), BUILDING, "facade", (0.4, 0.2, 0.1), style=style, seed=seed)
    return _street(Body((front,), (0, 0, 14)))


def _shades(image: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    """How many pixels have each colour, most frequent first."""
    return np.sort(np.unique(image[inside], axis=0, return_counts=True)[1])[::-1]


@pytest.mark.parametrize("seed", [6, 7])  # plaster, brick
def test_a_wall_of_the_cg_look_has_one_shade_and_windows_with_edges(seed: int) -> None:
    frame = render_frame(_house(seed), 0)
    upper = (frame.labels == BUILDING) & (np.arange(SIZE[1])[:, None] < 20)
    shades = _shades(frame.cg, upper)
    assert shades[0] > 0.25 * upper.sum(), "the wall between the windows"
    assert _shades(frame.real, upper)[0] < 0.05 * upper.sum()
    row = frame.cg[8].astype(int).sum(-1)
    assert (np.abs(np.diff(row)) > 40).sum() > 20, "every window has two edges"
    # Nothing of it in the plain look.
    assert np.abs(np.diff(frame.plain[8].astype(int).sum(-1))).max() < 5


def test_the_road_of_the_cg_look_is_one_grey() -> None:
    frame = render_frame(_street(Body((Part(box((90, 0, 0), (91, 1, 1)), CAR, "wall"),), (0, 0, 9))), 0)
    inner = frame.labels == ROAD
    for axis, shift in itertools.product((0, 1), (-1, 1)):
        inner &= np.roll(frame.labels, shift, axis) == ROAD
    inner[:60] = False  # far lines are thinner than a pixel
    common = np.median(frame.cg[inner], 0)
    assert (np.abs(frame.cg[inner] - common).max(-1) <= 1).mean() > 0.95
    assert (np.abs(frame.real[inner] - np.median(frame.real[inner], 0)).max(-1) <= 1).mean() < 0.4


def test_the_light_of_the_cg_look_is_the_same_in_every_clip() -> None:
    """Grey boxes under whatever sun the seed has: equal in cg, different in real."""
    cube = Body((Part(box((-1, 0, 0), (1, 2, 2)), CAR, "wall", (0.5, 0.5, 0.5)),), (0.5, 0, 7), instance=1)
    frames = []
    for seed in (1, 2, 3):
        scene = make_scene(seed, 4, SIZE, variation=1.0)
        frames.append(
            render_frame(Scene(seed, 4, SIZE, 15.0, Drive(0, 9.0, 0, 0, 0), scene.sun, (cube,), (), scene.weather), 0)
        )
    for a, b in itertools.pairwise(frames):
        assert np.array_equal(a.cg, b.cg)
        assert np.abs(a.real.astype(int) - b.real).mean() > 5


@pytest.mark.parametrize("seed", [3, 8])
def test_variation_changes_the_real_look_alone(seed: int) -> None:
    usual, half, full = (render_frame(make_scene(seed, 8, SIZE, variation=v), 5) for v in (0.0, 0.5, 1.0))
    for field in ("labels", "instances", "depth", "flow", "visible", "plain", "cg"):
        assert np.array_equal(getattr(usual, field), getattr(full, field)), field
    assert np.array_equal(usual.real, render_frame(make_scene(seed, 8, SIZE), 5).real)
    change = [np.abs(other.real.astype(float) - usual.real).mean() for other in (half, full)]
    assert 4 < change[0] < change[1]
    again = render_frame(make_scene(seed, 8, SIZE, variation=1.0), 5)
    assert full.real.tobytes() == again.real.tobytes()


def test_varied_clips_differ_in_brightness_and_colour_and_hold_still_within_a_clip() -> None:
    means = []
    for seed in range(8):
        scene = make_scene(seed, 8, (64, 32), variation=1.0)
        means.append(render_frame(scene, 0).real.mean((0, 1)))
        assert np.abs(render_frame(scene, 4).real.mean((0, 1)) - means[-1]).max() < 15
    brightness = np.array(means).mean(1)
    warmth = np.array(means)[:, 0] / np.array(means)[:, 2]
    assert np.ptp(brightness) > 25
    assert np.ptp(warmth) > 0.1
