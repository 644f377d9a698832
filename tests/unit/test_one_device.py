"""A training step, a resumed optimiser and a rendered frame stay on their device; torch's fake tensors stand for a GPU.

They know shapes, types and devices and compute nothing, so an operation that mixes devices is found without a GPU. The
autograd engine asks the driver for streams: backward passes are replaced by gradients of zeros.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from tests.conditions import of_domain
from tests.errors import raises
from tests.unit.training_data import begin, train_chunk
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.snapshot import load_state, save_state
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.inference.rollout import Rollout
from v2vkit.models.generator import GeneratorConfig, VideoGenerator
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch, to_device
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.parallel import Parallel, open_parallel
from v2vkit.training.window import begin_window

GPU = torch.device("cuda:0")


def _apply(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Module._apply; torch's own swaps tensors, which fake ones refuse."""
    for child in module.children():
        _apply(child, function)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                module._parameters[name] = nn.Parameter(function(parameter), parameter.requires_grad)
    return module


def _leaves(tensors: list[Tensor]) -> list[Tensor]:
    seen, todo, found = set(), [tensor.grad_fn for tensor in tensors], []
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found += [node.variable] if hasattr(node, "variable") else []
        todo += [after for after, _ in node.next_functions]
    return found


def _grad(outputs: Tensor, inputs: list[Tensor], **_: Any) -> tuple[Tensor, ...]:
    reached = {id(leaf) for leaf in _leaves([outputs])}
    assert all(id(x) in reached for x in inputs)
    return tuple(torch.zeros_like(x, requires_grad=False) for x in inputs)


def _backward(heads: list[Tensor], gradients: list[Tensor] | None = None, inputs: list[Tensor] | None = None) -> None:
    for head, gradient in zip(heads, gradients or heads, strict=True):
        assert (head.device, head.dtype, head.shape) == (gradient.device, gradient.dtype, gradient.shape)
    for leaf in _leaves(heads) if inputs is None else inputs:
        leaf.grad = torch.zeros_like(leaf, requires_grad=False)


def _numpy(x: Tensor) -> np.ndarray:
    assert x.device.type == "cpu", "numpy() of a tensor on the GPU"
    return np.zeros(x.shape, str(x.dtype).removeprefix("torch."))


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """A GPU that computes nothing; what reads values gets some."""
    replaced = (
        (nn.Module, "_apply", _apply),
        (torch, "unique", lambda x, **_: (x.new_empty(5), torch.zeros_like(x), x.new_ones(5))),
        (torch, "nonzero", lambda x, as_tuple: tuple(x.new_zeros(7, dtype=torch.long) for _ in range(x.ndim))),
        (torch.autograd, "grad", _grad),
        (torch.autograd, "backward", _backward),
        (FakeTensor, "numpy", _numpy),
        (FakeTensor, "tolist", lambda x: [0.5] * len(x)),
        (FakeTensor, "__int__", lambda x: 0),
        (FakeTensor, "__deepcopy__", lambda x, memo: x.clone()),
        (torch.cuda, "is_bf16_supported", lambda **_: True),
        (torch.cuda, "device", lambda device: contextlib.nullcontext()),
        (torch.cuda, "synchronize", lambda device: None),
        (torch.cuda, "current_device", lambda: 0),
        (torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
    )
    with contextlib.ExitStack() as stack:
        for of, name, value in replaced:
            stack.enter_context(mock.patch.object(of, name, value, create=True))
        stack.enter_context(FakeTensorMode())
        yield GPU


KINDS: dict[str, dict[str, Any]] = {
    "street": {"domain": "street", "num_labels": 12, "foreground": (2,), "feature_dims": 3, "precision": "fp16"},
    "pose": {"domain": "pose", "lambda_face": 2.0, "precision": "bf16", "gradient_checkpointing": True},
    "spatial-2": {"domain": "face", "stage": "spatial-2", "precision": "fp32"},
    "covst": {"domain": "face", "method": "covst", "precision": "fp32"},
}


def _config(kind: str) -> tuple[TrainConfig, Conditioning]:
    small = {"width": 8, "num_down": 1, "num_blocks": 1, "discriminator_width": 8}
    config = TrainConfig.model_validate({"preset": "tiny", **small, **KINDS[kind]})
    assert config.domain is not None
    return config, of_domain(config.domain)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_stays_on_its_device(gpu: torch.device, kind: str) -> None:
    config, source = _config(kind)
    trainer = begin(config, source, gpu)
    past = trainer.method.generator.config.history

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(1, past + 3, *shape)

    flow, trust = (
        {k: zeros(channels, 32, 40) for k in method_spec(config.method).strides(config)} for channels in (2, 1)
    )
    regions = zeros(1, 32, 40).int() if config.model.feature_dims else None
    sequence = VideoBatch(zeros(3, 32, 40), zeros(source.num_channels, 32, 40), flow, trust, regions)
    sequence = to_device(sequence, gpu)
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    train_chunk(trainer, sequence, state, [past, past + 1, past + 2])
    trainer.state.update_ema(config.schedule.ema)
    moments = (value for o in trainer.state.optimizers.values() for s in o.state.values() for value in s.values())
    assert {tensor.device for tensor in (*trainer.state.ema.values(), *moments)} == {gpu}


def test_a_rendered_frame_stays_on_its_device(gpu: torch.device) -> None:
    config = GeneratorConfig(source_channels=4, num_scales=2, width=8, num_down=1, num_blocks=1, foreground=(1, 2))
    rollout = Rollout(VideoGenerator(config).eval().requires_grad_(False).to(gpu), downsamplings=1)
    for _ in range(3):
        image = rollout.image(np.zeros((4, 48, 64), np.float32))
    assert image.shape == (48, 64, 3)


def test_the_gpu_notices(gpu: torch.device) -> None:
    with pytest.raises(RuntimeError, match="same device"):
        torch.zeros(2, device=gpu) + torch.zeros(2)


def test_resumed_moments_that_are_shared_out_are_on_the_device(tmp_path: Path, gpu: torch.device) -> None:
    """Fused Adam wants its counts of steps there, and torch's sharded optimiser leaves restored ones on the CPU."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    config, source = _config("spatial-2")
    written: dict[str, Any] = {}
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        fabric = SimpleNamespace(global_rank=0, world_size=2, device=gpu)
        trainer = begin(config.model_copy(update={"zero": True}), source, gpu, Parallel(fabric))
        for optimizer in trainer.state.optimizers.values():
            for parameter in optimizer.param_groups[0]["params"]:
                parameter.grad = torch.zeros_like(parameter)
            optimizer.optim.step()
            state = {
                index: {"step": torch.zeros(()), "exp_avg": torch.zeros(p.shape), "exp_avg_sq": torch.zeros(p.shape)}
                for index, p in enumerate(optimizer.param_groups[0]["params"])
            }
            optimizer.consolidate_state_dict = lambda to: None
            optimizer.state_dict = lambda state=state: {"state": state}
        with mock.patch("v2vkit.checkpoint.snapshot.save", lambda tensors, **_: written.update(tensors) or b""):
            save_state(Folder(str(tmp_path)), trainer.state, fingerprint="f")
        with mock.patch("v2vkit.checkpoint.snapshot.load", return_value=written):
            load_state(Folder(str(tmp_path)), trainer.state, fingerprint="f")
        states = [values for o in trainer.state.optimizers.values() for values in o.optim.state.values()]
        assert states
        assert {tensor.device for values in states for tensor in values.values()} == {gpu}
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("device", "code"), [("mps", "setting-conflict"), ("cuda:1", "setting-conflict"), ("cuda", "device-missing")]
)
def test_processes_get_no_other_device_than_they_were_told(
    monkeypatch: pytest.MonkeyPatch, device: str, code: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with raises(code, device):
        open_parallel(device)
