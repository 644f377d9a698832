"""Training of the methods of prediction: exact resume, the plan, what is learned and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conditions import of_domain
from tests.errors import raises
from tests.unit.training_data import SMALL, begin, make_workspace, open_dataset, same, train_into
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import load_network, read_info
from v2vkit.config import make_config
from v2vkit.models.predictor import LabelPredictor
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE as TRAIN
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.methods.base import StepContext
from v2vkit.training.methods.predictor import PREDICTOR
from v2vkit.training.trainer import take_step

METHODS = ("predictor", "prednet", "mcnet")
EVERY = pytest.mark.parametrize("method", METHODS)


def config_of(method: str, **changes: Any) -> TrainConfig:
    """A tiny configuration; the networks of frames take no sizes but the width."""
    values = {
        "method": method,
        "preset": "tiny",
        "domain": "street",
        "num_labels": 12 if method == "predictor" else None,
    }
    values |= {"width": 8, "epochs": 2, "first_frames": 2, "double_every": 1, "max_frames": 4, "observe": 3, "chunk": 2}
    values |= {"device": "cpu", "precision": "fp32", "threads": 1, "sample_every": 0, "tensorboard": False}
    values |= {"num_down": 2, "num_blocks": 2} if method == "predictor" else {}
    values |= {} if method == "prednet" else {"discriminator_width": 8}
    return make_config(TrainConfig, values | changes, "test")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("work")
    make_workspace(path)
    return path


@EVERY
def test_a_stopped_run_resumes_bit_exactly(method: str, work: Path, tmp_path: Path) -> None:
    config, dataset = config_of(method), open_dataset(str(work))
    whole = train_into(config, dataset, tmp_path / "whole")
    train_into(config, dataset, tmp_path / "stopped", stop_at=3)
    resumed = train_into(config, open_dataset(str(work)), tmp_path / "stopped")
    assert whole.state.steps == resumed.state.steps > 3
    for name, module in whole.state.modules.items():
        assert same(dict(module.state_dict()), dict(resumed.state.modules[name].state_dict()))
    assert same(whole.state.ema, resumed.state.ema)


@EVERY
def test_the_command_plans_trains_and_writes_a_checkpoint_of_its_name(
    method: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, options = config_of(method, epochs=1), RunOptions(work=str(work))
    run(TRAIN, config, options)
    plan = capsys.readouterr().out
    assert f"plan: {method}" in plan
    assert "generator:" in plan
    info = read_info(Folder(str(work / "checkpoints" / method)))
    assert info.method == method
    assert info.network.kind == method
    network, _ = load_network(Folder(str(work / "checkpoints" / method)))
    assert not network.training
    again = config.model_copy(update={"start_from": str(work / "checkpoints" / method)})
    with raises("target-is-source"):
        run(TRAIN, again, RunOptions(work=str(work), overwrite=True))


def moving_labels(num_frames: int) -> VideoBatch:
    """A bar that moves two pixels a frame, as a batch [1, T, ...] of 2 labels, 24x32."""
    s = torch.zeros(1, num_frames, 3, 24, 32)
    for t in range(num_frames):
        s[:, t, 1, :, 2 + 2 * t : 8 + 2 * t] = 1
        s[:, t, 0] = 1 - s[:, t, 1]
    flow, confidence = torch.zeros(1, num_frames, 2, 24, 32), torch.ones(1, num_frames, 1, 24, 32)
    flow[:, :, 0] = -2.0
    return VideoBatch(torch.zeros(1, num_frames, 3, 24, 32), s, {1: flow}, {1: confidence})


def test_the_predictor_learns_a_constant_motion() -> None:
    config = config_of("predictor", num_labels=2, learning_rate=2e-3, lambda_feature=0, lambda_mask=0)
    begun = begin(config, of_domain("street", 2))
    batch = moving_labels(8)
    for number in range(40):
        for chunk in begun.method.chunks(batch):
            take_step(begun.method, begun.state, chunk, StepContext(0, float(number), 16))
    network: Any = begun.method.networks()["generator"].module
    assert isinstance(network, LabelPredictor)
    predicted = network(batch.s[:, 2:5].flatten(1, 2)).labels
    real, last = batch.s[:, 5, 1:2] > 0.5, batch.s[:, 4, 1:2] > 0.5
    wrong, copied = ((found != real).float().mean().item() for found in (predicted > 0, last))
    assert wrong < 0.3 * copied


def test_instances_that_were_observed_reach_the_edges_of_predicted_maps(work: Path) -> None:
    config = config_of("predictor")
    begun = begin(config, of_domain("street", 12))
    s = torch.zeros(1, 5, 13, 24, 32)
    s[:, :, 0] = 1  # one label everywhere: edges are those of instances
    regions = torch.zeros(1, 5, 1, 24, 32, dtype=torch.int32)
    regions[..., 8:16, 8:16] = 5
    zeros = {1: torch.zeros(1, 5, 2, 24, 32)}
    batch = VideoBatch(torch.zeros(1, 5, 3, 24, 32), s, zeros, {1: torch.ones(1, 5, 1, 24, 32)}, regions)
    for chunk in begun.method.chunks(batch):
        begun.method.step(chunk, StepContext(0, 0.0, 16))
        edges = chunk.state[0].maps[:, -1]
        assert 0 < edges.mean() < 0.5


def check(work: Path, **changes: Any) -> None:
    method = changes.pop("method", "predictor")
    run(TRAIN, config_of(method, **changes), RunOptions(work=str(work), overwrite=True, dry_run=True))


def test_settings_that_do_not_fit_are_refused(work: Path) -> None:
    with raises("condition-unsupported", "edges"):
        PREDICTOR.check(config_of("predictor", condition=("edges",)))
    with raises("clip-too-short", "12", "13"):
        check(work, observe=12)
    with raises("setting-unused", "--drop-history", "predictor"):
        check(work, drop_history=0.5)
    with raises("setting-unused", "--lambda-labels", "prednet"):
        check(work, method="prednet", lambda_labels=3.0)
    with raises("setting-unused", "--num-blocks", "mcnet"):
        check(work, method="mcnet", num_blocks=3)
    with raises("setting-invalid", "--lambda-frames"):
        check(work, method="prednet", lambda_frames=0.0)


@EVERY
def test_settings_of_other_methods_without_effect_are_refused(method: str, work: Path) -> None:
    for name, value in {"label_jitter": 1.0, "perceptual": "off", "gradient_checkpointing": True}.items():
        with raises("setting-unused", f"--{name.replace('_', '-')}"):
            check(work, method=method, **{name: value})


def test_other_methods_refuse_the_number_of_observed_frames(work: Path) -> None:
    with raises("setting-unused", "--observe", "vid2vid"):
        run(TRAIN, SMALL.model_copy(update={"observe": 3}), RunOptions(work=str(work), overwrite=True, dry_run=True))


def test_training_starts_from_a_model_of_the_same_layers_only(work: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(work))
    first = train_into(config_of("predictor", epochs=1), dataset, tmp_path / "first")
    options = RunOptions(work=str(work), overwrite=True, dry_run=True)
    run(TRAIN, config_of("predictor", start_from=str(tmp_path / "first")), options)
    with raises("model-mismatch", "width 8", "16"):
        run(TRAIN, config_of("predictor", width=16, start_from=str(tmp_path / "first")), options)
    with raises("model-mismatch", "predictor"):
        run(TRAIN, config_of("mcnet", start_from=str(tmp_path / "first")), options)
    assert first.state.steps
