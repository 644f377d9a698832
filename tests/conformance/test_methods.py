"""Every method keeps the contract: its row, its settings, its losses, a step, a picture and a model file."""

import pytest
import torch

from tests.conditions import of_domain
from tests.errors import raises
from tests.unit.training_data import SMALL, Begun, begin, model_info
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.find_model import FINEST_FIRST
from v2vkit.checkpoint.model_file import load_network, save_model
from v2vkit.checkpoint.train_state import saved_weights
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.config import settings_of
from v2vkit.stages.evaluate_prediction_plan import CHECKPOINTS
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.methods.base import StepContext
from v2vkit.training.methods.registry import METHODS, method_spec
from v2vkit.training.terms import losses_on
from v2vkit.training.trainer import take_step

DOMAINS = {"s-flow": "cg2real"}  # all others: street
SIZES = {name: SMALL.value(name) for name in ("preset", "width", "num_down", "num_blocks", "discriminator_width")}
EVERY = pytest.mark.parametrize("name", METHODS)


def config_of(name: str) -> TrainConfig:
    domain, open_settings = DOMAINS.get(name, "street"), {"network": "lite0-fpn"}  # what the stage fills in
    return TrainConfig(
        method=name, domain=domain, device="cpu", precision="fp32", lambda_l1=1.0, **SIZES, **open_settings
    )


def source_of(name: str) -> Conditioning:
    return of_domain(DOMAINS.get(name, "street"))


def batch_for(config: TrainConfig, num_frames: int = 4) -> VideoBatch:
    spec = method_spec(config.method)
    generator = torch.Generator().manual_seed(0)
    length = spec.context(config) + num_frames
    channels = source_of(config.method).num_channels
    x, s = (torch.rand(1, length, channels, 24, 32, generator=generator) for channels in (3, channels))
    strides = spec.strides(config)
    flow = {stride: torch.zeros(1, length, 2, 24, 32) for stride in strides}
    return VideoBatch(x * 2 - 1, s, flow, {stride: torch.ones(1, length, 1, 24, 32) for stride in strides})


@pytest.fixture
def begun(name: str) -> Begun:
    return begin(config_of(name), source_of(name))


@EVERY
def test_commands_know_its_checkpoint(name: str) -> None:
    # `v2v segment` is given the folder of a segmenter.
    assert METHODS[name].staged or name in (*FINEST_FIRST, *CHECKPOINTS, "segmenter")


@EVERY
def test_its_row_settings_and_losses_are_known(name: str) -> None:
    spec, config, known = method_spec(name), config_of(name), settings_of(TrainConfig)
    assert spec.name == name
    assert set(spec.unused) <= known.keys()
    terms = spec.losses(config)
    assert len({term.key for term in terms}) == len({term.name for term in terms}) == len(terms)
    assert {term.weight for term in terms if term.weight} <= known.keys() - set(spec.unused)
    assert losses_on(terms, config)
    assert spec.schedule(config).epochs == config.schedule.epochs


@EVERY
def test_networks_are_a_function_of_the_seed_and_each_has_an_optimiser(name: str, begun: Begun) -> None:
    other = begin(config_of(name), source_of(name))
    for key, network in begun.method.networks().items():
        assert network.optimizer in begun.state.optimizers
        for a, b in zip(network.module.parameters(), other.state.modules[key].parameters(), strict=True):
            assert torch.equal(a, b)
    assert {term.network for term in begun.method.losses() if term.network} <= begun.state.modules.keys()
    updated = [id(p) for optimizer in begun.state.optimizers.values() for p in optimizer.param_groups[0]["params"]]
    assert len(set(updated)) == len(updated) == sum(len(list(m.parameters())) for m in begun.state.modules.values())


@EVERY
@pytest.mark.parametrize("skip", [0, 2])
def test_steps_over_a_batch_log_its_losses_and_change_weights(name: str, begun: Begun, skip: int) -> None:
    method, state = begun.method, begun.state
    before = {key: tensor.clone() for key, tensor in saved_weights(state.networks).items()}
    frames, logged, last = 0, set(), method.config.schedule.epochs - 1
    for chunk in method.chunks(batch_for(method.config), skip=skip):
        values = take_step(method, state, chunk, StepContext(last, float(last), 16, state.scaler.scale))
        logged |= values.keys()
        frames += method.num_frames(chunk)
        picture = method.sample(chunk)
        assert (picture.dtype, picture.ndim, picture.shape[2]) == ("uint8", 3, 3)
    assert frames == 4 - skip
    assert set(method.headline) <= logged
    assert {term.key for term in method.losses() if term.network is None and term.compute} <= logged
    assert any(not torch.equal(before[key], tensor) for key, tensor in saved_weights(state.networks).items())


@EVERY
def test_its_model_file_is_read_back(name: str, begun: Begun, tmp_path: object) -> None:
    class Dataset:
        source = source_of(name)

    folder = Folder(str(tmp_path))
    save_model(folder, saved_weights(begun.state.networks), model_info(begun.method.config, Dataset()))
    model, info = load_network(folder)
    assert info.method == name
    assert info.stage == begun.method.config.checkpoint
    assert set(model.state_dict()) == set(saved_weights(begun.state.networks))


def test_a_method_that_is_not_there_is_named_with_those_that_are() -> None:
    with raises("method-unknown", "diffusion", "vid2vid", "segmenter"):
        method_spec("diffusion")
