"""The memory layout of weights changes nothing that they become, in one go or resumed.

Fused Adam's kernel on a CPU ignores strides: a gradient or a moment in another layout than its weight goes to the wrong
places.
"""

from pathlib import Path

import pytest
import torch

from tests.conditions import of_domain
from tests.unit.training_data import SMALL, Begun, begin, train_chunk
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.snapshot import load_state, save_state
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.window import begin_window

CONFIG = SMALL.model_copy(update={"foreground": (), "temporal_scales": 1, "chunk": 3, "learning_rate": 0.01})


def new_trainer(*, channels_last: bool, dtype: torch.dtype = torch.float64) -> Begun:
    config = CONFIG.model_copy(update={"channels_last": channels_last})
    trainer = begin(config, of_domain("pose"), torch.device("cpu"))
    for module in trainer.state.modules.values():
        module.to(dtype)
    return trainer


def take_step(trainer: Begun, dtype: torch.dtype = torch.float64) -> None:
    generator = torch.Generator().manual_seed(1)
    x, s = (torch.rand(1, 5, 3, 24, 32, generator=generator).to(dtype) for _ in range(2))
    flow, confidence = torch.zeros_like(x[:, :, :2]), torch.ones_like(x[:, :, :1])
    sequence = VideoBatch(x * 2 - 1, s, {1: flow}, {1: confidence})
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    train_chunk(trainer, sequence, state, [2, 3, 4])


def weights(trainer: Begun) -> dict[str, torch.Tensor]:
    named = trainer.state.modules.items()
    return {f"{name}.{key}": value.detach() for name, module in named for key, value in module.named_parameters()}


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    """The weights after two steps in the usual layout."""
    trainer = new_trainer(channels_last=False)
    take_step(trainer)
    take_step(trainer)
    return weights(trainer)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("resumed", [False, True])
def test_two_steps_lead_to_the_same_weights(
    plain: dict[str, torch.Tensor], tmp_path: Path, resumed: bool, channels_last: bool
) -> None:
    """In float64, because fresh networks' steep gradients make float32's other orders of summation large."""
    trainer = new_trainer(channels_last=channels_last)
    take_step(trainer)
    if resumed:
        folder = Folder(str(tmp_path))
        save_state(folder, trainer.state, fingerprint="f")
        trainer = new_trainer(channels_last=channels_last)
        load_state(folder, trainer.state, fingerprint="f")
        assert trainer.state.steps == 1
    take_step(trainer)
    found = weights(trainer)
    assert any(not value.is_contiguous() for value in found.values()) == channels_last
    assert found.keys() == plain.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-6, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("channels_last", [True, False])
def test_every_weight_moves_against_its_own_gradient(channels_last: bool) -> None:
    """By the rate, as Adam's first step does. In float32, whose convolutions give gradients in layouts of their own."""
    trainer = new_trainer(channels_last=channels_last, dtype=torch.float32)
    before = {name: value.clone() for name, value in weights(trainer).items()}
    take_step(trainer, torch.float32)
    gradients = {
        f"{name}.{key}": value.grad
        for name, module in trainer.state.modules.items()
        for key, value in module.named_parameters()
    }
    for name, value in weights(trainer).items():
        gradient = gradients[name]
        assert gradient is not None
        expected = before[name] - CONFIG.schedule.learning_rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-5, msg=lambda text, name=name: name + text)
