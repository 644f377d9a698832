"""The toy street: its maps are exact, its looks follow them, and a seed always gives the same street."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from v2vkit.toyworld import LABELS, Scene, ToyFrame, make_scene, render_frame
from v2vkit.toyworld.geometry import box
from v2vkit.toyworld.scene import CAR, PEDESTRIAN, ROAD, Body, Drive, Part

SIZE = (256, 128)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(1, 48, SIZE)


@pytest.fixture(scope="module")
def pairs(scene: Scene) -> list[tuple[ToyFrame, ToyFrame]]:
    return [(render_frame(scene, t - 1), render_frame(scene, t)) for t in (1, 24)]


def _targets(flow: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = np.mgrid[: flow.shape[0], : flow.shape[1]]
    return columns + flow[..., 0].astype(float), rows + flow[..., 1].astype(float)


def _bilinear(image: NDArray, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = image.shape[:2]
    x0 = np.clip(np.floor(x).astype(int), 0, width - 2)
    y0 = np.clip(np.floor(y).astype(int), 0, height - 2)
    a, b = np.clip(x - x0, 0, 1)[..., None], np.clip(y - y0, 0, 1)[..., None]
    image = image.astype(float)
    upper = image[y0, x0] * (1 - a) + image[y0, x0 + 1] * a
    return upper * (1 - b) + (image[y0 + 1, x0] * (1 - a) + image[y0 + 1, x0 + 1] * a) * b


def _psnr(error: NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / (error**2).mean()))


def test_warping_the_previous_look_with_the_flow_gives_the_current_one(
    pairs: list[tuple[ToyFrame, ToyFrame]],
) -> None:
    for before, now in pairs:
        warped = _bilinear(before.real, *_targets(now.flow))
        error, unmoved = warped - now.real, before.real.astype(float) - now.real
        seen = now.visible
        # The shadows of moving cars do not move with the road under them, which costs a few dB.
        assert _psnr(error[seen]) > 27
        assert np.median(np.abs(error[seen])) < 2
        assert _psnr(error[seen]) > _psnr(unmoved[seen]) + 7
        # What was hidden before cannot be found there.
        assert np.abs(error[~seen]).mean() > 3 * np.abs(error[seen]).mean()


def _frozen(scene: Scene) -> Scene:
    """The same street in which only the camera moves."""
    return replace(scene, bodies=tuple(replace(b, velocity=(0, 0, 0), surge=(0, 0, 0)) for b in scene.bodies))


def test_with_a_moving_camera_only_the_flow_explains_nearly_everything(scene: Scene) -> None:
    still = _frozen(scene)
    before, now = render_frame(still, 23), render_frame(still, 24)
    error = _bilinear(before.real, *_targets(now.flow)) - now.real
    assert _psnr(error[now.visible]) > 32
    assert _psnr((before.real.astype(float) - now.real)[now.visible]) < 24


def test_maps_agree_along_the_flow(pairs: list[tuple[ToyFrame, ToyFrame]]) -> None:
    for before, now in pairs:
        x, y = (np.rint(v[now.visible]).astype(int) for v in _targets(now.flow))
        assert (before.labels[y, x] == now.labels[now.visible]).mean() > 0.97
        assert (before.instances[y, x] == now.instances[now.visible]).mean() > 0.98
        assert 0.9 < now.visible.mean() < 1


def test_nothing_is_visible_before_the_first_frame(scene: Scene) -> None:
    frame = render_frame(scene, 0)
    assert not frame.visible.any()
    assert not frame.flow.any()


def test_labels_and_instances_fit_together(scene: Scene) -> None:
    kinds: dict[int, set[int]] = {}
    counts = np.zeros(len(LABELS), int)
    for t in (0, 12, 24, 47):
        frame = render_frame(scene, t)
        assert frame.labels.dtype == np.uint8
        assert frame.instances.dtype == np.uint16
        counts += np.bincount(frame.labels.ravel(), minlength=len(LABELS))
        foreground = np.isin(frame.labels, [label.id for label in LABELS if label.foreground])
        assert np.array_equal(frame.instances > 0, foreground)
        for instance in np.unique(frame.instances[foreground]):
            kinds.setdefault(int(instance), set()).update(frame.labels[frame.instances == instance].tolist())
    assert (counts > 20).all(), "every class is somewhere to be seen"
    assert counts[ROAD] > 0.15 * counts.sum()
    assert all(len(labels) == 1 for labels in kinds.values()), "an instance keeps its class"
    assert {CAR, PEDESTRIAN} == set().union(*kinds.values())


def test_an_instance_number_stays_with_its_object(scene: Scene) -> None:
    # The car ahead stays in view for the whole drive; it is always the same number.
    numbers = set()
    for t in range(0, 48, 12):
        frame = render_frame(scene, t)
        middle = frame.instances[50:80, 118:138]
        numbers.add(int(np.bincount(middle[middle > 0]).argmax()))
    assert len(numbers) == 1


def test_the_same_seed_gives_the_same_bytes_in_any_order() -> None:
    first = [render_frame(make_scene(5, 10, (96, 48)), t) for t in (3, 4)]
    scene = make_scene(5, 10, (96, 48))
    again = [render_frame(scene, t) for t in (4, 3)][::-1]
    for a, b in zip(first, again, strict=True):
        for field in ("labels", "instances", "depth", "flow", "visible", "plain", "cg", "real"):
            assert getattr(a, field).tobytes() == getattr(b, field).tobytes(), field
    other = render_frame(make_scene(6, 10, (96, 48)), 3)
    assert (other.labels != first[0].labels).mean() > 0.05


def test_a_parked_car_and_one_that_keeps_its_distance() -> None:
    shape = box((-0.9, 0, 0), (0.9, 1.5, 4))
    parked = Body((Part(shape, CAR, "wall"),), (-2.4, 0, 8), instance=1)
    ahead = Body((Part(shape, CAR, "wall"),), (1.6, 0, 8), velocity=(0, 0, 9.0), instance=2)
    speed = 9.0
    scene = Scene(0, 10, SIZE, 15.0, Drive(1.6, speed, 0.0, 0.0, 0.0), (0.5, 0.8, -0.33), (parked, ahead), ())
    frame = render_frame(scene, 2)
    step, back = speed / 15, 8 - 2 * speed / 15  # metres per frame, distance to both rear faces at frame 2
    inside = slice(60, 72)
    followed = frame.flow[inside][frame.instances[inside] == 2]
    assert np.abs(followed).max() < 0.5, "only the bumps of the road move it"
    passed = np.zeros(frame.instances.shape, bool)
    passed[inside] = frame.instances[inside] == 1
    _, columns = np.nonzero(passed)
    # One frame earlier the rear face was `step` farther away, so its columns were nearer to the middle.
    middle = (SIZE[0] - 1) / 2
    rear = columns < middle + 0.62 * SIZE[0] * (-4.0 + 0.9) / back - 1
    expected = (columns - middle) * (back / (back + step) - 1)
    assert rear.sum() > 100
    assert np.allclose(frame.flow[passed][:, 0][rear], expected[rear], atol=0.02)
    assert frame.flow[passed][:, 0][rear].min() > 2


def test_freezing_the_traffic_changes_the_flow_of_the_traffic_only(scene: Scene) -> None:
    frame, other = render_frame(scene, 1), render_frame(_frozen(scene), 1)
    change = np.linalg.norm(frame.flow - other.flow, axis=-1)
    stuff = (frame.instances == 0) & (other.instances == 0) & (frame.labels == other.labels)
    assert change[stuff].max() < 1e-4
    moving = [body.instance for body in scene.bodies if abs(body.velocity[2]) > 5]
    both = np.isin(frame.instances, moving) & (frame.instances == other.instances)
    assert both.sum() > 50
    assert change[both].mean() > 0.2


def test_plain_look_is_flat_and_real_look_is_not(scene: Scene) -> None:
    frame = render_frame(scene, 10)
    for label in LABELS:
        inside = frame.labels == label.id
        # Pixels whose whole neighbourhood has the label, so that no edge is blended in.
        for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
            inside &= np.roll(frame.labels, shift, axis) == label.id
        if label.name in ("sky", "road"):
            assert (np.abs(frame.plain[inside].astype(int) - label.colour).max(-1) <= 1).mean() > 0.9
            assert frame.real[inside].astype(float).std(0).max() > 4


@pytest.mark.parametrize("size", [(33, 17), (64, 64), (48, 96)])
def test_any_size(size: tuple[int, int]) -> None:
    frame = render_frame(make_scene(3, 4, size), 1)
    width, height = size
    assert frame.real.shape == frame.plain.shape == frame.cg.shape == (height, width, 3)
    assert (
        frame.labels.shape
        == frame.instances.shape
        == frame.depth.shape
        == frame.visible.shape
        == frame.flow.shape[:2]
        == (height, width)
    )
    assert np.isfinite(frame.flow).all()
