"""What tests of a condition do alike: train a tiny model on a workspace, render it, evaluate it."""

from pathlib import Path
from typing import Any

from tests.unit.training_data import SMALL
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo, load_model
from v2vkit.config import as_plain
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.show import COMMAND as SHOW
from v2vkit.stages.show import ShowConfig
from v2vkit.stages.train import STAGE as TRAIN
from v2vkit.training.config import TrainConfig

PLAIN = SMALL.model_copy(
    update={
        "domain": None,
        "num_labels": None,
        "foreground": (),
        "flow": False,
        "temporal_scales": 0,
        "lambda_warp": 0.0,
        "epochs": 1,
        "decay": 0.0,
        "max_frames": 3,
        "augment": 0.5,
    }
)
"""A training of seconds, without flow."""


def train(work: Path, **settings: Any) -> ModelInfo:
    """Train `PLAIN` with these settings; gives the model's description."""
    run(TRAIN, TrainConfig.model_validate({**as_plain(PLAIN), **settings}), RunOptions(work=str(work), workers=1))
    return load_model(Folder(f"{work}/checkpoints/spatial-1"))[1]


def check(work: Path) -> list[str]:
    return CHECK.call(CheckConfig(), RunOptions(work=str(work)))


def show(work: Path, artifact: str) -> Path:
    """The contact sheet of an artifact."""
    sheet = work / f"{artifact}.png"
    assert SHOW.call(ShowConfig(artifact=artifact, out=str(sheet)), RunOptions(work=str(work))) == []
    return sheet


def evaluate(work: Path) -> list[str]:
    config = EvaluateConfig(data=str(work), device="cpu", threads=1)
    return EVALUATE.call(config, RunOptions(work=str(work)))
