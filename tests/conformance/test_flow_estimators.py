"""The contract of the `flow` task, run over every row of its table."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.flow_scenes import end_point_error, moving_texture
from v2vkit.engine.local import LocalEngine
from v2vkit.estimators.base import FlowEstimator
from v2vkit.estimators.registry import open_estimator, rows_of

# Every row of the table with the settings to test; `learned` ones get random weights here, so that what they see is
# worth nothing and only the rest of the contract can be checked.
CASES = [("dis", {"preset": "medium"}), ("dis", {"preset": "quality"}), ("ptlflow", {"model": "raft_small"})]
LEARNED = {"ptlflow"}
SIZES = [(64, 80), (61, 47), (16, 16), (7, 9), (1, 1), (12, 200), (130, 257)]


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, marks=[pytest.mark.slow] * (case[0] in LEARNED)) for case in CASES],
    ids=["-".join([case[0], *case[1].values()]) for case in CASES],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    name, settings = request.param
    if name == "ptlflow":
        path = tmp_path_factory.mktemp("weights") / "random.pth"
        torch.manual_seed(0)
        torch.save(pytest.importorskip("ptlflow").get_model(settings["model"]).state_dict(), path)
        settings = settings | {"weights": str(path)}
    return name, settings


@pytest.fixture(scope="module")
def estimator(case: tuple[str, dict[str, Any]]) -> FlowEstimator:
    found: FlowEstimator = open_estimator("flow", case[0], **case[1])
    return found


def test_every_row_of_the_table_is_here() -> None:
    assert {name for name, _ in CASES} == set(rows_of("flow"))


def test_says_what_it_is(estimator: FlowEstimator, case: tuple[str, dict[str, Any]]) -> None:
    assert isinstance(estimator, FlowEstimator)
    assert estimator.name == case[0]
    assert estimator.version


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size_in_same_size_out(estimator: FlowEstimator, size: tuple[int, int]) -> None:
    previous, current = moving_texture(*size, dx=1, dy=0)
    before = current.copy(), previous.copy()
    flow = estimator(current, previous)
    assert flow.shape == (*size, 2)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()
    np.testing.assert_array_equal(current, before[0])
    np.testing.assert_array_equal(previous, before[1])


@pytest.mark.parametrize(("dx", "dy"), [(4, 0), (0, -3), (-5, 2)])
def test_recovers_a_shift_as_backward_flow(
    estimator: FlowEstimator, case: tuple[str, dict[str, Any]], dx: int, dy: int
) -> None:
    if case[0] in LEARNED:
        pytest.skip("random weights see nothing")
    previous, current = moving_texture(128, 160, dx=dx, dy=dy)
    flow = estimator(current, previous)
    inside = flow[8:-8, 8:-8]
    assert end_point_error(inside, np.array([-dx, -dy], np.float32)) < 0.3
    np.testing.assert_allclose(np.median(inside, axis=(0, 1)), [-dx, -dy], atol=0.05)


def test_channels_are_taken_as_rgb(estimator: FlowEstimator, case: tuple[str, dict[str, Any]]) -> None:
    """Red and blue move against each other; red weighs 2.6 times as much in the luma, so it is followed."""
    if case[0] in LEARNED:
        pytest.skip("random weights see nothing")
    reds, blues = moving_texture(128, 160, dx=4, dy=0), moving_texture(128, 160, dx=-4, dy=0)
    previous, current = (
        np.stack([red[..., 1], np.zeros_like(red[..., 1]), blue[::-1, :, 1]], axis=-1)
        for red, blue in zip(reds, blues, strict=True)
    )
    flow = estimator(current, previous)
    assert np.median(flow[8:-8, 8:-8, 0]) == pytest.approx(-4, abs=0.5)
    swapped = estimator(current[..., ::-1], previous[..., ::-1])
    assert np.median(swapped[8:-8, 8:-8, 0]) > 0


def test_identical_frames_rest(estimator: FlowEstimator, case: tuple[str, dict[str, Any]]) -> None:
    if case[0] in LEARNED:
        pytest.skip("random weights see nothing")
    (frame,) = moving_texture(96, 112, dx=0, dy=0, num_frames=1)
    assert np.abs(estimator(frame, frame)).max() < 0.01
    black = np.zeros_like(frame)
    assert np.abs(estimator(black, black)).max() < 0.01


def test_the_result_does_not_depend_on_what_came_before(
    estimator: FlowEstimator, case: tuple[str, dict[str, Any]]
) -> None:
    previous, current = moving_texture(90, 121, dx=3, dy=-2)
    first = estimator(current, previous)
    kept = first.copy()
    small = moving_texture(40, 40, dx=-2, dy=1)
    first_small = open_estimator("flow", case[0], **case[1])(*small)
    for size in ((90, 121), (40, 200), (16, 16), (40, 40)):
        estimator(*moving_texture(*size, dx=-2, dy=1))
    np.testing.assert_array_equal(estimator(*small), first_small)
    np.testing.assert_array_equal(first, kept, err_msg="a result must not be overwritten by the next call")
    np.testing.assert_array_equal(estimator(current, previous), kept)
    fresh = open_estimator("flow", case[0], **case[1])
    np.testing.assert_array_equal(fresh(current, previous), kept)


def test_frames_need_not_be_contiguous(estimator: FlowEstimator) -> None:
    previous, current = moving_texture(64, 80, dx=2, dy=0)
    views = [np.stack([frame, frame], axis=2)[:, :, 0] for frame in (current, previous)]
    assert not views[0].flags.c_contiguous
    np.testing.assert_array_equal(estimator(*views), estimator(current, previous))


def _open_in_worker(case: tuple[str, dict[str, Any]]) -> Callable[[int], bytes]:
    estimator = open_estimator("flow", case[0], **case[1])

    def function(dx: int) -> bytes:
        previous, current = moving_texture(130, 170, dx=dx, dy=1)
        return np.ascontiguousarray(estimator(current, previous)).tobytes()

    return function


@pytest.mark.slow
def test_spawned_workers_give_the_same_bits(case: tuple[str, dict[str, Any]]) -> None:
    here = _open_in_worker(case)
    with LocalEngine(_open_in_worker, case, workers=2) as engine:
        results = dict(engine.map([-3, 0, 2, 5]))
    assert results == {dx: here(dx) for dx in (-3, 0, 2, 5)}
