"""Where the estimator of a driving video runs: where rendering does, wherever it ran for the training's maps."""

from pathlib import Path

import numpy as np
import pytest

from tests.conditions import use_estimator
from tests.errors import raises
from tests.unit.rendering import conditioned, save_untrained
from tests.unit.video_files import moving_frames, write_file
from v2vkit.conditions.alignment import Placement
from v2vkit.engine.devices import pick_device
from v2vkit.estimators.base import Segments
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.render import COMMAND, RenderConfig

NOT_HERE = ("cuda:99", "mps:99")


class Segmenter:
    """Everything is road."""

    name, version, num_labels, classes = "fake", "1", 12, ()

    def __init__(self, *, device: str):
        pick_device(device)

    def __call__(self, image: np.ndarray) -> Segments:
        return Segments(np.ones(image.shape[:2], np.uint8))


class Pose:
    """One person, the same everywhere."""

    name, version = "fake", "1"

    def __init__(self, *, device: str):
        pick_device(device)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        points = np.random.default_rng(0).random((1, 25, 3)) * (image.shape[1], image.shape[0], 0)
        return np.add(points, (0, 0, 1)).astype(np.float32)


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    use_estimator(monkeypatch, "segment", "yolo", f"{__name__}:Segmenter")
    use_estimator(monkeypatch, "pose", "yolo", f"{__name__}:Pose")


@pytest.mark.parametrize("stored", NOT_HERE)
def test_labels_made_on_another_device_can_be_rendered_here(tmp_path: Path, stored: str) -> None:
    save_untrained(tmp_path, "street", maps={"segment": "yolo", "device": stored}, maps_stage="segment")
    source, target = write_file(tmp_path / "in.mp4", moving_frames(3)), tmp_path / "out.mp4"
    config = RenderConfig(source=str(source), target=str(target), device="cpu", threads=1)
    assert COMMAND.call(config, RunOptions(work=str(tmp_path))) == []
    assert target.exists()


@pytest.mark.parametrize("stored", NOT_HERE)
def test_bodies_are_aligned_on_the_device_of_rendering(tmp_path: Path, stored: str) -> None:
    maps, wanted = {"pose": "yolo", "device": stored}, Placement(x=32, y=24, size=16)
    info = save_untrained(tmp_path, "pose", maps=maps, maps_stage="estimate-pose", placement=wanted)
    source = write_file(tmp_path / "in.mp4", moving_frames(3))
    assert len(list(conditioned(source, info, align=True, device="cpu"))) == 3


def test_the_estimator_runs_where_rendering_does(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "street", maps={"segment": "yolo", "device": "cpu"}, maps_stage="segment")
    source = write_file(tmp_path / "in.mp4", moving_frames(3))
    with raises("device-missing", "cuda"):
        conditioned(source, info, device="cuda:99")
