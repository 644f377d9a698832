"""The stage from frames to flow: which files, which pairs, which values, and that workers do not matter."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.conditions import use_estimator
from tests.errors import raises
from tests.flow_scenes import moving_texture, write_frames
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, read_manifest
from v2vkit.artifacts.shard import Shard, load_shard
from v2vkit.conditions.flow import confidence_forward_backward, confidence_photometric
from v2vkit.conditions.flow_io import decode_kitti
from v2vkit.config import make_config
from v2vkit.estimators.dis import DIS
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.extract_flow import STAGE, FlowConfig

SPEEDS = {"a": (3, 0), "b": (-2, 1), "c": (0, 2)}


@pytest.fixture(scope="module")
def clips() -> dict[str, list[np.ndarray]]:
    return {name: moving_texture(60, 76, dx=dx, dy=dy, num_frames=5) for name, (dx, dy) in SPEEDS.items()}


def _extract(work: Path, workers: int = 1, **settings: object) -> Manifest:
    run(STAGE, FlowConfig(**settings), RunOptions(work=str(work), workers=workers))
    manifest = read_manifest(Folder(f"{work}/flow"))
    assert manifest is not None
    return manifest


def _shard(work: Path, manifest: Manifest, number: int) -> Shard:
    return load_shard(Folder(f"{work}/flow"), manifest.shards[number])


def test_every_frame_has_the_strides_that_its_clip_allows(tmp_path: Path, clips: dict[str, list[np.ndarray]]) -> None:
    write_frames(tmp_path, clips)
    manifest = _extract(tmp_path)
    for number, name in enumerate(clips):
        shard = _shard(tmp_path, manifest, number)
        for t in range(5):
            expected = ["flow1.png"] * (t >= 1) + ["flow3.png"] * (t >= 3)
            assert shard.extensions(f"{name}/{t:06d}") == expected
    assert manifest.missing == {}
    assert manifest.estimator["name"] == "dis"
    assert "medium" in manifest.estimator["version"]


def test_flow_points_from_the_frame_back_by_its_stride(tmp_path: Path, clips: dict[str, list[np.ndarray]]) -> None:
    write_frames(tmp_path, clips)
    manifest = _extract(tmp_path, strides=(2, 1))
    for number, (name, (dx, dy)) in enumerate(SPEEDS.items()):
        for k in (1, 2):
            flow, confidence = decode_kitti(_shard(tmp_path, manifest, number).read(f"{name}/000004", f"flow{k}.png"))
            inside = flow[12:-12, 12:-12]
            np.testing.assert_allclose(np.median(inside, axis=(0, 1)), [-k * dx, -k * dy], atol=0.05)
            assert confidence[12:-12, 12:-12].mean() > 0.9


def test_stored_results_equal_those_of_the_estimator(tmp_path: Path, clips: dict[str, list[np.ndarray]]) -> None:
    write_frames(tmp_path, clips)
    shard = _shard(tmp_path, _extract(tmp_path), 1)
    estimator = DIS()
    for t, k in ((1, 1), (4, 1), (3, 3), (4, 3)):
        current, previous = clips["b"][t], clips["b"][t - k]
        backward, forward = estimator(current, previous), estimator(previous, current)
        flow, confidence = decode_kitti(shard.read(f"b/{t:06d}", f"flow{k}.png"))
        assert np.abs(flow - backward).max() <= 1 / 128
        np.testing.assert_array_equal(confidence, confidence_forward_backward(backward, forward))


def test_confidence_can_be_photometric_or_none(tmp_path: Path, clips: dict[str, list[np.ndarray]]) -> None:
    jump = [clips["a"][0], clips["c"][4]]
    for rule in ("photometric", "none"):
        work = tmp_path / rule
        write_frames(work, {"jump": jump})
        data = _shard(work, _extract(work, confidence=rule, strides=(1,)), 0).read("jump/000001", "flow1.png")
        confidence = decode_kitti(data)[1]
        if rule == "none":
            assert confidence.all()
        else:
            expected = confidence_photometric(jump[1], jump[0], DIS()(jump[1], jump[0]))
            np.testing.assert_array_equal(confidence, expected)
            assert 0.01 < confidence.mean() < 0.99


def test_quality_is_another_result(tmp_path: Path, clips: dict[str, list[np.ndarray]]) -> None:
    write_frames(tmp_path, {"a": clips["a"]})
    manifest = _extract(tmp_path, preset="quality")
    flow, _ = decode_kitti(_shard(tmp_path, manifest, 0).read("a/000001", "flow1.png"))
    assert np.abs(flow - DIS(preset="quality")(clips["a"][1], clips["a"][0])).max() <= 1 / 128
    assert "quality" in manifest.estimator["version"]
    assert status(STAGE, FlowConfig(), RunOptions(work=str(tmp_path))).startswith("stale: changed preset")


def test_clips_shorter_than_a_stride_have_what_they_can(tmp_path: Path) -> None:
    write_frames(
        tmp_path,
        {
            "one": moving_texture(20, 24, dx=0, dy=0, num_frames=1),
            "two": moving_texture(20, 24, dx=1, dy=0, num_frames=2),
        },
    )
    manifest = _extract(tmp_path, strides=(1, 3, 9))
    assert _shard(tmp_path, manifest, 0).extensions("one/000000") == []
    assert _shard(tmp_path, manifest, 1).extensions("two/000001") == ["flow1.png"]


def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path, clips: dict[str, list[np.ndarray]]) -> None:
    digests = []
    for workers in (1, 3):
        work = tmp_path / str(workers)
        write_frames(work, clips)
        _extract(work, workers)
        digests.append([hashlib.sha256(path.read_bytes()).digest() for path in sorted((work / "flow").iterdir())])
    assert digests[0] == digests[1]


def test_a_frame_of_another_size_is_named(tmp_path: Path, clips: dict[str, list[np.ndarray]]) -> None:
    frames = [*clips["a"][:3], clips["a"][3][:50], clips["a"][4]]
    write_frames(tmp_path, {"a": frames})
    with raises("size-mismatch", "a/000003", "76x50"):
        _extract(tmp_path)


def test_wrong_strides_are_refused() -> None:
    for strides in ([], [0], [1, -3], [100]):
        with raises("setting-invalid", "strides"):
            make_config(FlowConfig, {"strides": strides}, "v2v extract-flow")
    assert FlowConfig(strides=(9, 1, 3, 1)).strides == (1, 3, 9)


def test_missing_weights_are_told_before_anything_is_written(
    tmp_path: Path, clips: dict[str, list[np.ndarray]]
) -> None:
    write_frames(tmp_path, clips)
    for settings, code, name in (
        ({}, "weights-missing", "--weights"),
        ({"weights": str(tmp_path / "absent.ckpt")}, "file-unreadable", "absent.ckpt"),
    ):
        with raises(code, name):
            _extract(tmp_path, flow="ptlflow", **settings)
        assert not (tmp_path / "flow").exists()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"weights": "/nonexistent"}, ("dis", "--weights", "--flow ptlflow")),
        ({"device": "cuda"}, ("dis", "--device")),
        ({"model": "gmflow"}, ("dis", "--model")),
        ({"flow": "ptlflow", "preset": "quality"}, ("ptlflow", "--preset", "--flow dis")),
    ],
)
def test_settings_of_another_estimator_are_refused(
    tmp_path: Path, clips: dict[str, list[np.ndarray]], settings: dict[str, str], names: tuple[str, ...]
) -> None:
    write_frames(tmp_path, clips)
    with raises("setting-unused", *names):
        _extract(tmp_path, **settings)
    assert not (tmp_path / "flow").exists()


class _Half:
    """An estimator that gives half a pixel everywhere and checks what it was opened with."""

    name, version = "half", "1"

    def __init__(self, *, model: str, weights: str, device: str):
        assert (model, device) == ("raft_small", "cpu")
        assert Path(weights).is_file()

    def __call__(self, current: np.ndarray, previous: np.ndarray) -> np.ndarray:
        return np.full((*current.shape[:2], 2), 0.5, np.float32)


def test_other_weights_under_the_same_name_make_the_flow_stale(
    tmp_path: Path, clips: dict[str, list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_estimator(monkeypatch, "flow", "ptlflow", f"{__name__}:_Half")
    write_frames(tmp_path, {"a": clips["a"]})
    weights = tmp_path / "raft_small.ckpt"
    weights.write_bytes(b"first")
    settings = {"flow": "ptlflow", "model": "raft_small", "weights": str(weights)}
    manifest = _extract(tmp_path, **settings)
    assert manifest.estimator == {"name": "half", "version": "1"}
    flow, _ = decode_kitti(_shard(tmp_path, manifest, 0).read("a/000001", "flow1.png"))
    assert (flow == 0.5).all()
    options = RunOptions(work=str(tmp_path), workers=1)
    moved = weights.rename(tmp_path / "elsewhere.ckpt")
    assert status(STAGE, FlowConfig(**settings | {"weights": str(moved)}), options) == "done"
    weights.write_bytes(b"second")
    assert status(STAGE, FlowConfig(**settings), options).startswith("stale")
