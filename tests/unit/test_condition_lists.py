"""How a user says what a model is conditioned on: --domain, --condition, or what the workspace holds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.errors import raises
from tests.unit.ingesting import ingest, write_images
from tests.unit.video_files import moving_frames
from tests.whole_way import PLAIN, train
from v2vkit.artifacts.folder import Folder
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.conditions.depth import DepthCondition
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.config import make_config
from v2vkit.models.any_generator import build_generator
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.vid2vid import VID2VID


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Frames with labels and depth."""
    folder = write_images(tmp_path / "images", moving_frames(8, 32, 24))
    labels = write_images(tmp_path / "labels", [np.tile(np.arange(32, dtype=np.uint8) // 16, (24, 1))] * 8)
    depth = write_images(tmp_path / "depths", [np.full((24, 32), 1000, np.uint16)] * 8)
    ingest(tmp_path / "work", folder, labels=labels, depth=depth, num_labels=2, cuts="none")
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("domain", "condition", "names"),
    [
        ("street", (), "labels"),
        ("street", ("depth",), "labels depth"),
        (None, ("labels", "depth"), "labels depth"),
        (None, ("depth", "labels"), "depth labels"),
        ("pose", ("pose", "densepose"), "pose densepose"),
        (None, (), ""),
    ],
)
def test_conditions_follow_those_of_the_domain(domain: str | None, condition: tuple[str, ...], names: str) -> None:
    assert " ".join(TrainConfig(domain=domain, condition=condition).conditions) == names


def test_one_list_is_one_training_however_it_is_said(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = train(work, domain="street", condition=("depth",))
    assert info.conditioning.names == "labels+depth"
    assert "not used" not in capsys.readouterr().out
    again = TrainConfig.model_validate({**dict(PLAIN), "condition": ("labels", "depth")})
    assert "up to date" in run(STAGE, again, RunOptions(work=str(work))).message


def test_conditions_that_are_not_used_are_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(work).conditioning.names == "labels"
    assert "not used  depth (--condition depth)" in capsys.readouterr().out


def test_conditions_that_are_not_there_are_named(work: Path) -> None:
    with raises("artifact-missing", "ingest --densepose FOLDER"):
        train(work, condition=("labels", "densepose"))
    with raises("setting-invalid", "aura", "densepose"):
        make_config(TrainConfig, {"condition": ["aura"]}, "test")
    assert not Folder(f"{work}/checkpoints/spatial-1").exists("model.safetensors")


@pytest.mark.parametrize("depth_first", [False, True])
def test_the_foreground_is_its_label_wherever_the_labels_stand(depth_first: bool) -> None:
    depth, labels = DepthCondition(), LabelsCondition(num_labels=5)
    source = Conditioning.of(*((depth, labels) if depth_first else (labels, depth)))
    config = PLAIN.model_copy(update={"condition": tuple(source.names.split("+")), "foreground": (3,)})
    network = VID2VID.describe(config, source)["network"]
    maps = torch.zeros(1, 3 * source.num_channels, 24, 32)
    of_label = maps[:, 2 * source.num_channels :][:, source.slice_of("foreground")][:, 3]
    of_label[..., :16] = 1
    (mask,) = build_generator(network)._foregrounds(maps)
    assert torch.equal(mask[:, 0], of_label)
