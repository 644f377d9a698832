"""The pose domain through training: found by its artifact, trained with jitter, rendered, and never mirrored."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from tests.conditions import use_estimator
from tests.errors import raises
from tests.flow_scenes import write_frames
from tests.people import body
from tests.unit.training_data import SMALL
from tests.unit.video_files import read_raw
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import load_model
from v2vkit.conditions.alignment import place_people
from v2vkit.conditions.people import Person
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.estimate_pose import STAGE as POSES
from v2vkit.stages.estimate_pose import PoseConfig
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.extract_flow import STAGE as FLOW
from v2vkit.stages.render import COMMAND as RENDER
from v2vkit.stages.render import RenderConfig
from v2vkit.stages.train import STAGE as TRAIN

POSE = SMALL.model_copy(
    update={
        "domain": None,
        "num_labels": None,
        "foreground": (),
        "augment": 0.5,
        "drop_parts": 0.1,
        "lambda_face": 2.0,
        "threads": 1,
    }
)


class FakePose:
    """Sees a person whose place hangs on the brightness of the picture."""

    name, version = "fake", "7"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return body(float(image.mean()) / 4, 1, 22)[None]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """A workspace with poses and flow: one clip of 12 frames, 32 x 24 pixels."""
    use_estimator(monkeypatch, "pose", "mediapipe", f"{__name__}:FakePose")
    write_frames(tmp_path, {"a": [np.full((24, 32, 3), 40 + 3 * t, np.uint8) for t in range(12)]})
    options = RunOptions(work=str(tmp_path), workers=1)
    run(POSES, PoseConfig(stroke=2), options)
    run(FLOW, FLOW.config(), options)
    return options


def test_poses_are_trained_on_and_rendered(
    options: RunOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(TRAIN, POSE, options)
    plan = capsys.readouterr().out
    assert "network   face:" in plan
    assert "face discriminator 2" in plan
    (state,) = (tmp_path / "checkpoints/spatial-1").glob("state-*.safetensors")
    assert any(name.startswith("network/face/") for name in load_file(state))
    generator, info = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    assert info.conditioning.names == "pose"
    assert generator.config.source_channels == 3
    assert (info.origins[0].stage, info.origins[0].settings["stroke"]) == ("estimate-pose", 2)
    assert info.origins[0].estimator == {"name": "fake", "version": "7"}
    # The person's x is a quarter of the brightness, which is 40, 43, ..., 73.
    assert info.placement is not None
    assert info.placement.x == pytest.approx(np.median([40 + 3 * t for t in range(12)]) / 4, abs=0.5)
    assert info.placement.size == place_people((Person(body(0, 1, 22)),)).size
    config = RenderConfig(source=str(tmp_path), target=str(tmp_path / "out.mp4"), maps=True, device="cpu", threads=1)
    assert RENDER.call(config, options) == []
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 12
    assert EVALUATE.call(EvaluateConfig(data=str(tmp_path), device="cpu", threads=1), options) == []
    assert (tmp_path / "evaluation/spatial-1/contact.png").exists()


@pytest.mark.parametrize("setting", [{"flip": True}, {"foreground": (1,)}], ids=str)
def test_left_and_right_stay_as_they_are(options: RunOptions, tmp_path: Path, setting: dict[str, object]) -> None:
    """A mirrored skeleton would have its colours on the wrong sides."""
    with raises("setting-unused", *(f"--{name}" for name in setting)):
        run(TRAIN, POSE.model_copy(update=setting), options)
    assert not (tmp_path / "checkpoints").exists()
