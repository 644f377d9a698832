"""Maps made of frames on the fly equal those that the stages write, whatever the settings of the model's maps."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.conditions import channels_of, use_estimator
from tests.flow_scenes import write_frames
from tests.stage_results import make
from tests.unit import test_estimate_pose as poses
from tests.unit import test_make_sketches as sketches
from tests.unit.rendering import save_untrained
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.cli.main import cli
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.people import MIN_SCORE
from v2vkit.conditions.smoothing import HOLD_FRAMES
from v2vkit.config import StageConfig
from v2vkit.inference.estimated_maps import EstimatedFrame, open_map_maker
from v2vkit.pipeline.stage import Stage
from v2vkit.stages.estimate_pose import STAGE as POSES
from v2vkit.stages.estimate_pose import PoseConfig
from v2vkit.stages.make_sketches import STAGE as SKETCHES
from v2vkit.stages.make_sketches import SketchConfig

VALUES = [120, 132, 0, 0, 128, 160]
"""What the fake estimators see in each frame: where their face or body is, 0 = nothing."""


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    use_estimator(monkeypatch, "face", "mediapipe", f"{sketches.__name__}:FakeFace")
    use_estimator(monkeypatch, "pose", "mediapipe", f"{poses.__name__}:FakePose")


def _both(
    work: Path, domain: str, stage: Stage, config: StageConfig, frames: list[np.ndarray]
) -> tuple[list[EstimatedFrame], ModelInfo, ClipReader]:
    """What rendering makes of the frames, a model with such maps, and what the stage wrote of them."""
    write_frames(work, {"a": frames})
    manifest = make(stage, config, work)
    info = save_untrained(work, domain, size=(90, 80), maps=manifest.config, maps_stage=manifest.stage)
    reader = ClipReader(Folder(str(work)), {stage.output(config): manifest})
    live = list(open_map_maker(info, "in.mp4")(iter(frames)))
    assert len(live) == len(frames)
    assert sum(not found for _, _, _, found in live) == sum(manifest.missing.values()) == VALUES.count(0)
    return live, info, reader


@pytest.mark.parametrize("settings", [{"smooth": 5, "canny": False, "missing": "blank"}, {"smooth": 0}])
def test_faces_are_drawn_as_in_the_maps_of_training(tmp_path: Path, settings: dict[str, Any]) -> None:
    frames = sketches.scene(VALUES)
    live, info, reader = _both(tmp_path, "face", SKETCHES, SketchConfig(**settings), frames)
    for t, (image, s, regions, found) in enumerate(live):
        np.testing.assert_array_equal(image, frames[t])
        np.testing.assert_array_equal(s, channels_of(info, reader, "a", t))
        np.testing.assert_array_equal(regions, reader.regions(info.conditioning, "a", t))
        assert found == (VALUES[t] > 0)


@pytest.mark.parametrize("settings", [{"smooth": 5, "stroke": 2, "min_score": 0.05, "missing": "blank"}, {"smooth": 0}])
def test_people_are_drawn_as_in_the_maps_of_training(tmp_path: Path, settings: dict[str, Any]) -> None:
    frames = poses.scene(VALUES)
    live, info, reader = _both(tmp_path, "pose", POSES, PoseConfig(**settings), frames)
    for t, (image, s, regions, found) in enumerate(live):
        np.testing.assert_array_equal(image, frames[t])
        np.testing.assert_array_equal(s, channels_of(info, reader, "a", t))
        assert regions is None
        assert found == (VALUES[t] > 0)


@pytest.mark.parametrize(
    ("domain", "settings"),
    [
        ("face", {"smooth": 5}),
        ("face", {"canny": False}),
        ("face", {"missing": "blank"}),
        ("pose", {"smooth": 5}),
        ("pose", {"stroke": 2}),
        ("pose", {"min_score": 0.05}),
        ("pose", {"missing": "blank"}),
    ],
)
def test_every_setting_of_the_maps_changes_what_is_drawn(tmp_path: Path, domain: str, settings: dict[str, Any]) -> None:
    """So that the tests above can tell whether rendering heeds it."""
    frames = (sketches if domain == "face" else poses).scene(VALUES)
    drawn = []
    for changes in ({}, settings):
        info = save_untrained(tmp_path, domain, size=(90, 80), maps={"smooth": 0} | changes)
        drawn.append([s for _, s, _, _ in open_map_maker(info, "in.mp4")(iter(frames))])
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize("command", ["make-sketches", "estimate-pose"])
def test_help_tells_for_how_long_the_last_is_held(command: str) -> None:
    told = _help(command)
    assert set(re.findall(r"(\d+) frames(?! high)", told)) == {str(HOLD_FRAMES)}
    assert f"longer than {HOLD_FRAMES} frames" in told
    assert f"at most {HOLD_FRAMES} frames" in told


def test_help_tells_from_which_score_points_count() -> None:
    assert f"default: {MIN_SCORE:g}, at which points flicker least" in _help("estimate-pose")


def _help(command: str) -> str:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    return " ".join(result.output.split())
