"""The contract of the `segment` task, run over every row of its table."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.errors import raises
from tests.networks import (
    maskrcnn_weights,
    needs_ultralytics,
    noise,
    segmenter_weights,
    torchvision_weights,
    yolo_weights,
)
from v2vkit.engine.local import LocalEngine
from v2vkit.estimators.base import SegmentEstimator
from v2vkit.estimators.registry import open_estimator, rows_of

# Every row of the table with the network to test. Weights are made here; what random weights see is worth nothing, but
# it is something: that they see the right thing at the right place is shown in tests/unit.
CASES = [
    ("torchvision", "lraspp_mobilenet_v3_large"),
    ("torchvision", "deeplabv3_resnet50"),
    ("trained", "lite0-fpn"),
    ("maskrcnn", "resnet50"),
    ("yolo", "yolo11n"),
]
INSTANCES = {"yolo", "maskrcnn"}
SIZES = [(64, 80), (61, 47), (16, 16), (7, 9), (1, 1), (2, 300), (130, 57)]

Case = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    name, network = request.param
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    if name == "yolo":
        needs_ultralytics()
        yolo_weights(path, "segment", name=network)
        return name, {"weights": str(path)}
    if name == "trained":
        return name, {"weights": str(segmenter_weights(path.parent)), "input_side": 64}
    if name == "maskrcnn":
        return name, {"weights": str(maskrcnn_weights(path)), "input_side": 64, "min_score": 0.0}
    torchvision_weights(path, architecture=network)
    return name, {"weights": str(path), "input_side": 64}


@pytest.fixture(scope="module")
def estimator(case: Case) -> SegmentEstimator:
    found: SegmentEstimator = open_estimator("segment", case[0], **case[1])
    return found


def _bytes(estimator: SegmentEstimator, image: np.ndarray) -> bytes:
    found = estimator(image)
    return found.labels.tobytes() + (b"" if found.instances is None else found.instances.tobytes())


def test_every_row_of_the_table_is_here() -> None:
    assert {name for name, _ in CASES} == set(rows_of("segment"))


def test_says_what_it_is(estimator: SegmentEstimator, case: Case) -> None:
    assert isinstance(estimator, SegmentEstimator)
    assert estimator.name == case[0]
    assert estimator.version
    assert 1 <= estimator.num_labels <= 255
    assert len(estimator.classes) in (0, estimator.num_labels)


def test_it_sees_something(estimator: SegmentEstimator, case: Case) -> None:
    """Otherwise the other tests would compare empty maps."""
    found = estimator(noise(64, 80))
    if case[0] in INSTANCES:
        assert found.instances is not None
        assert len(np.unique(found.instances)) > 3
    else:
        assert len(np.unique(found.labels)) > 1


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size_in_same_size_out(estimator: SegmentEstimator, case: Case, size: tuple[int, int]) -> None:
    image = noise(*size)
    before = image.copy()
    found = estimator(image)
    np.testing.assert_array_equal(image, before)
    assert (found.labels.shape, found.labels.dtype) == (size, np.uint8)
    assert found.labels[found.labels != 255].max(initial=0) < estimator.num_labels
    assert (found.instances is not None) == (case[0] in INSTANCES)
    if found.instances is not None:
        assert (found.instances.shape, found.instances.dtype) == (size, np.uint16)
        np.testing.assert_array_equal(found.instances == 0, found.labels == 255)


def test_identical_frames_give_identical_maps(estimator: SegmentEstimator, case: Case) -> None:
    image = noise(61, 83)
    first = estimator(image)
    kept = first.labels.copy()
    once = _bytes(estimator, image)
    for _ in range(2):
        assert _bytes(estimator, image) == once
    np.testing.assert_array_equal(first.labels, kept, err_msg="a result must not be overwritten by the next call")
    assert _bytes(open_estimator("segment", case[0], **case[1]), image) == once


def test_the_order_of_frames_does_not_matter(estimator: SegmentEstimator) -> None:
    frames = [noise(64, 80, 1), noise(31, 97, 2), np.zeros((20, 20, 3), np.uint8), noise(64, 80, 3)]
    forwards = [_bytes(estimator, frame) for frame in frames]
    assert [_bytes(estimator, frame) for frame in reversed(frames)] == forwards[::-1]


def test_the_number_of_threads_does_not_matter(estimator: SegmentEstimator) -> None:
    image, threads = noise(96, 120), torch.get_num_threads()
    once = _bytes(estimator, image)
    try:
        torch.set_num_threads(2)
        assert _bytes(estimator, image) == once
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_frames_need_not_be_contiguous(estimator: SegmentEstimator) -> None:
    image = noise(64, 80)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    assert _bytes(estimator, image[:, ::-1]) == _bytes(estimator, mirrored)
    assert _bytes(estimator, mirrored) != _bytes(estimator, image)


def _open_in_worker(case: Case) -> Callable[[int], bytes]:
    estimator = open_estimator("segment", case[0], **case[1])
    return lambda seed: _bytes(estimator, noise(66, 90, seed))


@pytest.mark.slow
def test_spawned_workers_give_the_same_bits(case: Case) -> None:
    here = _open_in_worker(case)
    with LocalEngine(_open_in_worker, case, workers=2) as engine:
        results = dict(engine.map([1, 2, 3]))
    assert results == {seed: here(seed) for seed in (1, 2, 3)}


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("name", sorted(rows_of("segment")))
def test_wrong_weights_are_refused_and_nothing_in_them_runs(name: str, tmp_path: Path) -> None:
    if name == "yolo":
        needs_ultralytics()
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"model": _Trap(tmp_path / "mark")}, tmp_path / "trap.pt")
    torch.save({"some.weight": torch.zeros(3)}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    whole = torchvision_weights(tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with raises("weights-missing", "--weights"):
        open_estimator("segment", name)
    kind = "model" if name == "trained" else "weights"
    with raises(f"{kind}-missing", "yolo11n-seg.pt"):
        open_estimator("segment", name, weights=str(tmp_path / "yolo11n-seg.pt"))
    for file in ("text.pt", "empty.pt", "trap.pt", "other.pt", "list.pt", "cut.pt"):
        # A state dict, of no network that it knows.
        foreign = name in ("torchvision", "maskrcnn") and file == "other.pt"
        with raises("weights-unsupported" if foreign else f"{kind}-damaged", file):
            open_estimator("segment", name, weights=str(tmp_path / file))
    assert not (tmp_path / "mark").exists()
