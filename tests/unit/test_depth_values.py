"""Depth in 16 bits comes back, and a network's channel is normalised inverse depth."""

import numpy as np

from tests.errors import raises
from v2vkit.video.depth_values import (
    decode_depth,
    depth_channel,
    depth_range,
    encode_depth,
    encode_relative,
    range_of_files,
    relative_channel,
)


def test_stored_depth_comes_back_to_half_a_step() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.1, 200, (40, 50)).astype(np.float32)
    valid = rng.random((40, 50)) < 0.8
    stored = encode_depth(np.where(valid, depth, np.nan), valid)
    assert stored.dtype == np.uint16
    back, known = decode_depth(stored)
    assert np.array_equal(known, valid)
    assert np.abs(back - depth)[valid].max() <= 0.5 / 256 + 1e-5
    assert not back[~valid].any()


def test_known_depth_never_becomes_unknown() -> None:
    stored = encode_depth(np.array([[1e-6, 255.99, 256.0, 1e9, np.inf]]), np.ones((1, 5), bool))
    assert stored.tolist() == [[1, 65533, 65535, 65535, 65535]]


def test_stored_relative_depth_is_normalised_inverse_depth() -> None:
    """Also where depth is spread over many powers of ten, as that of disparity is."""
    depth = np.array([[0.001, 0.002, 0.5, 0.8, 100.0, 0.0]])
    stored = encode_relative(depth, depth > 0, near=0.001, far=0.8)
    assert stored.dtype == np.uint16
    assert (stored[0, 0], stored[0, 3], stored[0, 4], stored[0, 5]) == (65535, 1, 1, 0)
    assert 1 < stored[0, 2] < stored[0, 1] < 65535
    assert np.array_equal(relative_channel(stored), depth_channel(depth, depth > 0, near=0.001, far=0.8))


def test_stored_depth_of_other_than_16_bits_is_refused() -> None:
    with raises("depth-damaged", "uint8"):
        decode_depth(np.zeros((2, 2), np.uint8))


def test_channel_is_inverse_depth_between_near_and_far() -> None:
    depth = np.array([[0.5, 1.0, 2.0, 100.0, 500.0, 0.0]])
    channel = depth_channel(depth, depth > 0, near=1, far=100)
    assert channel.dtype == np.uint8
    half = round(255 * (1 / 2 - 1 / 100) / (1 - 1 / 100))
    assert channel.tolist() == [[[255, 255, half, 0, 0, 0]], [[255, 255, 255, 255, 255, 0]]]
    assert depth_channel(depth, depth > 0, near=1, far=float("inf"))[0, 0, 2] == 128
    for near, far in ((0, 1), (2, 1), (1, 1), (float("nan"), 1)):
        with raises("depth-range-invalid"):
            depth_channel(depth, depth > 0, near=near, far=far)


def test_scale_and_shift_of_relative_disparity_cancel() -> None:
    rng = np.random.default_rng(1)
    disparity, valid = rng.uniform(0.1, 1, (20, 20)), np.ones((20, 20), bool)
    channels = []
    for scale, shift in ((1, 0), (7, 0.5)):
        depth = 1 / (scale * disparity + shift)
        near, far = depth_range([(depth, valid)])
        channels.append(depth_channel(depth, valid, near=near, far=far).astype(int))
    assert np.abs(channels[0] - channels[1]).max() <= 1


def test_the_range_ignores_outliers_and_uses_every_frame() -> None:
    def frame(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        depth = np.linspace(low, high, 10_000, dtype=np.float32).reshape(100, 100)
        depth[0, :3], depth[1, :3] = 1e-3, 0
        return depth, depth > 0

    near, far = depth_range([frame(2, 4), frame(40, 60)])
    assert 2 < near < 2.2
    assert 55 < far < 60


def test_the_range_of_one_distance_is_not_empty_and_that_of_none_is_refused() -> None:
    near, far = depth_range([(np.full((2, 2), 5.0), np.ones((2, 2), bool))])
    assert near < 5 < far
    with raises("depth-missing"):
        depth_range([(np.zeros((2, 2)), np.zeros((2, 2), bool))])
    with raises("depth-missing"):
        depth_range([])


def test_the_range_of_a_shot_comes_from_its_files(tmp_path) -> None:
    rng = np.random.default_rng(0)
    maps = [rng.uniform(2, 9, (8, 8)).astype(np.float32) for _ in range(70)]
    names = [f"{number:03d}.npy" for number in range(70)]
    for name, depth in zip(names, maps, strict=True):
        np.save(tmp_path / name, depth)
    near, far = range_of_files(tmp_path, names)
    low, high = np.percentile(1 / np.stack(maps), (2, 98))
    assert np.allclose((1 / near, 1 / far), (high, low), rtol=0.02)
    np.save(tmp_path / "none.npy", np.zeros((8, 8), np.float32))
    with raises("depth-missing", str(tmp_path)):
        range_of_files(tmp_path, ["none.npy"])
