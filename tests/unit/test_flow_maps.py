"""Warping, confidence and the colour wheel."""

import numpy as np
import pytest
import torch
from torchvision.utils import flow_to_image

from tests.flow_scenes import moving_texture
from v2vkit.conditions.flow import confidence_forward_backward, confidence_photometric, flow_color, warp_backward


def _constant_flow(height: int, width: int, u: float, v: float) -> np.ndarray:
    return np.broadcast_to(np.array([u, v], np.float32), (height, width, 2)).copy()


def test_zero_flow_changes_nothing() -> None:
    (image,) = moving_texture(31, 45, dx=0, dy=0, num_frames=1)
    for previous in (image, image.astype(np.float32) / 7, image[..., 0]):
        np.testing.assert_array_equal(warp_backward(previous, _constant_flow(31, 45, 0, 0)), previous)


def test_whole_pixel_flow_shifts_content_and_replicates_the_border() -> None:
    (image,) = moving_texture(20, 30, dx=0, dy=0, num_frames=1)
    right = warp_backward(image, _constant_flow(20, 30, 1, 0))
    np.testing.assert_array_equal(right[:, :-1], image[:, 1:])
    np.testing.assert_array_equal(right[:, -1], image[:, -1])
    up = warp_backward(image, _constant_flow(20, 30, 0, -2))
    np.testing.assert_array_equal(up[2:], image[:-2])
    np.testing.assert_array_equal(up[:2], image[[0, 0]])


def test_half_a_pixel_is_the_mean_of_two() -> None:
    previous = np.array([[0, 10, 30, 70]], np.float32)
    np.testing.assert_allclose(warp_backward(previous, _constant_flow(1, 4, 0.5, 0)), [[5, 20, 50, 70]])


def test_content_that_moves_right_has_negative_backward_flow() -> None:
    previous, current = moving_texture(40, 50, dx=3, dy=1)
    np.testing.assert_array_equal(warp_backward(previous, _constant_flow(40, 50, -3, -1))[1:, 3:], current[1:, 3:])


def test_forward_backward_trusts_agreement_inside_the_frame() -> None:
    backward, forward = _constant_flow(12, 20, -4, 0), _constant_flow(12, 20, 4, 0)
    confidence = confidence_forward_backward(backward, forward)
    assert confidence.dtype == np.float32
    assert not confidence[:, :4].any(), "these pixels come from outside the frame"
    assert confidence[:, 4:].all()


def test_forward_backward_threshold() -> None:
    # |f + g|^2 against 0.01 (|f|^2 + |g|^2) + 0.5: with f = (-10, 0), g = (10 + e, 0) the limit is e = 1.693.
    for excess, expected in ((1.66, 1), (1.73, 0)):
        confidence = confidence_forward_backward(_constant_flow(5, 40, -10, 0), _constant_flow(5, 40, 10 + excess, 0))
        assert (confidence[:, 12:] == expected).all()


def test_forward_backward_finds_an_occlusion() -> None:
    # A square moves 6 px to the right over a resting background: what it leaves free was hidden before.
    backward, forward = np.zeros((40, 60, 2), np.float32), np.zeros((40, 60, 2), np.float32)
    forward[10:30, 10:30, 0] = 6
    backward[10:30, 16:36, 0] = -6
    confidence = confidence_forward_backward(backward, forward)
    assert not confidence[10:30, 10:16].any()
    assert confidence[10:30, 16:36].all()
    assert confidence[:10].all()


def test_forward_backward_never_trusts_nonsense() -> None:
    forward = _constant_flow(6, 8, 0, 0)
    assert confidence_forward_backward(forward, forward).all()
    for value in (np.nan, np.inf, -1000.0, 1e9):
        assert not confidence_forward_backward(_constant_flow(6, 8, value, value), forward).any()
        assert not confidence_forward_backward(forward, _constant_flow(6, 8, value, value)).any()


def test_photometric_threshold_is_on_the_squared_difference_in_minus_one_to_one() -> None:
    previous = np.full((4, 4, 3), 100, np.uint8)
    flow = _constant_flow(4, 4, 0, 0)
    # (2 * 18 / 255)^2 = 0.0199, (2 * 19 / 255)^2 = 0.0222; over channels the squares add up.
    for difference, expected in (((18, 0, 0), 1), ((19, 0, 0), 0), ((10, 10, 10), 1), ((11, 11, 11), 0)):
        current = previous + np.array(difference, np.uint8)
        assert (confidence_photometric(current, previous, flow) == expected).all()


def test_photometric_compares_after_warping() -> None:
    previous, current = moving_texture(40, 50, dx=4, dy=0)
    right = confidence_photometric(current, previous, _constant_flow(40, 50, -4, 0))
    wrong = confidence_photometric(current, previous, _constant_flow(40, 50, 4, 0))
    assert right[:, 4:].all()
    assert wrong.mean() < 0.7


def test_colour_wheel_is_the_standard_one() -> None:
    y, x = np.mgrid[-40:41, -40:41].astype(np.float32)
    flow = np.stack([x, y], axis=-1)
    theirs = flow_to_image(torch.from_numpy(flow).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    assert np.abs(flow_color(flow).astype(int) - theirs.astype(int)).max() <= 3


def test_colour_tells_direction_and_length() -> None:
    flow = np.array([[[0, 0], [10, 0], [-10, 0], [5, 0], [20, 0]]], np.float32)
    still, right, left, half, beyond = flow_color(flow, max_flow=10)[0].astype(int)
    np.testing.assert_array_equal(still, [255, 255, 255])
    assert right[0] == 255
    assert right[1:].max() < 60, "to the right is red"
    assert left[0] == 0
    assert left[1:].min() > 150, "to the left is cyan"
    assert (half >= right).all()
    assert beyond.max() < 200, "beyond the maximum is dark"


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_colour_of_nothing_is_white(value: float) -> None:
    assert (flow_color(np.full((3, 4, 2), value, np.float32)) == 255).all()
