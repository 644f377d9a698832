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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.errors import raises
from tests.unit.training_data import begin
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.snapshot import load_state, save_state
from v2vkit.conditions.conditioning import Conditioning, configure
from v2vkit.config import Precision
from v2vkit.inference.anchor import ColourAnchor
from v2vkit.inference.rollout import Rollout
from v2vkit.models.any_generator import build_generator
from v2vkit.models.dned import DNEDConfig
from v2vkit.models.generator import GeneratorConfig
from v2vkit.models.image_generator import ImageGeneratorConfig
from v2vkit.models.sflow_generator import SFlowConfig
from v2vkit.models.unet import UNetConfig
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch, to_device
from v2vkit.training.methods.base import StepContext
from v2vkit.training.methods.registry import METHODS, method_spec
from v2vkit.training.parallel import ALONE, Parallel, open_parallel
from v2vkit.training.trainer import take_step

GPU = torch.device("cuda:0")


def _apply(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Module._apply; torch's own swaps tensors, which fake ones refuse."""
    for child in module.children():
        _apply(child, function)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                module._parameters[name] = nn.Parameter(function(parameter), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        module._buffers[name] = None if buffer is None else function(buffer)
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


class _Random:
    """torch.Generator, which asks the driver."""

    def __init__(self, device: torch.device) -> None: ...

    def manual_seed(self, seed: int) -> None:
        """None: draws from the default generator, which fake tensors do not ask."""


def _unique(x: Tensor) -> tuple[Tensor, ...]:
    """Five numbers, the place of each element among them, and how often each occurs."""
    return x.new_empty(5), torch.zeros_like(x), x.new_ones(5)


def _reading(reads: list[str], name: str, value: Callable[[Tensor], Any]) -> Callable[..., Any]:
    def read(x: Tensor, *_: Any) -> Any:
        if x.device.type == "cuda":
            reads.append(name)
        return value(x)

    return read


@pytest.fixture
def reads() -> list[str]:
    """Names of the functions that have read values of a tensor on the GPU."""
    return []


@pytest.fixture
def gpu(reads: list[str]) -> Iterator[torch.device]:
    """A GPU that computes nothing; what reads values gets some."""
    values: dict[str, Callable[[Tensor], Any]] = {
        "tolist": lambda x: np.zeros(x.shape).tolist(),
        "__int__": lambda x: 0,
        "__float__": lambda x: 0.5,
        "__bool__": lambda x: True,
        "item": lambda x: 0.5,
        "cpu": lambda x: x.to("cpu"),
    }
    replaced = (
        *((FakeTensor, name, _reading(reads, name, value)) for name, value in values.items()),
        (torch, "Generator", _Random),
        (torch.random, "fork_rng", lambda devices: contextlib.nullcontext()),
        (nn.Module, "_apply", _apply),
        (torch, "unique", lambda x, **_: _reading(reads, "unique", _unique)(x)),
        (torch.autograd, "grad", _grad),
        (torch.autograd, "backward", _backward),
        (FakeTensor, "numpy", _numpy),
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
    "street": {"domain": "street", "feature_dims": 3, "foreground": (2,), "history_noise": 0.1, "precision": "fp16"},
    "pose": {"domain": "pose", "lambda_face": 2.0, "precision": "bf16", "gradient_checkpointing": True},
    "densepose": {"domain": "pose", "condition": ("densepose",), "lambda_face": 2.0, "precision": "fp32"},
    "spatial-2": {"domain": "face", "stage": "spatial-2", "precision": "fp32"},
    "pix2pixhd": {"domain": "street", "method": "pix2pixhd", "feature_dims": 3, "precision": "fp16"},
    "covst": {"domain": "face", "method": "covst", "precision": "fp32"},
    "s-flow": {"domain": "cg2real", "method": "s-flow", "precision": "fp16"},
    "pix2pix": {"domain": "street", "method": "pix2pix", "num_down": 5, "precision": "bf16"},
    "segmenter": {"domain": "street", "method": "segmenter", "network": "lite0-fpn", "focal": 2.0, "precision": "fp16"},
    "predictor": {"domain": "street", "method": "predictor", "precision": "fp16"},
    "prednet": {"domain": "frames", "method": "prednet", "precision": "fp16"},
    "mcnet": {"domain": "frames", "method": "mcnet", "precision": "fp16"},
}
SIDE = 64


def test_every_method_has_a_kind() -> None:
    assert {kind.get("method", "vid2vid") for kind in KINDS.values()} == set(METHODS)


def _config(kind: str) -> tuple[TrainConfig, Conditioning]:
    small = {"width": 8, "num_down": 1, "num_blocks": 1, "discriminator_width": 8}
    config = TrainConfig.model_validate({"preset": "tiny", **small, **KINDS[kind]})
    return config, configure(config.conditions, {}, count_labels=lambda artifact: 12)


def _sequence(config: TrainConfig, source: Conditioning, *, num_frames: int) -> VideoBatch:
    """Frames as the loader hands them over, on the CPU: uint8 frames and maps, float flow, int32 regions."""

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(1, num_frames, *shape, SIDE, SIDE)

    strides = method_spec(config.method).strides(config)
    flow, trust = ({k: zeros(channels) for k in strides} for channels in (2, 1))
    return VideoBatch(zeros(3).byte(), zeros(source.num_channels).byte(), flow, trust, zeros(1).int())


@pytest.mark.parametrize("kind", KINDS)
def test_training_stays_on_its_device_and_reads_the_losses_once_a_step(
    gpu: torch.device, reads: list[str], kind: str
) -> None:
    """Reading a value makes the processor wait for the GPU: only the losses for the log are read, in one go.

    The regions of features are counted before it, and the face discriminator's windows are cut where the faces are.
    """
    config, source = _config(kind)
    trainer = begin(config, source, gpu)
    context = method_spec(config.method).context(config)
    sequence = to_device(_sequence(config, source, num_frames=context + 3), gpu)
    steps = 0
    for chunk in trainer.method.chunks(sequence):
        at = StepContext(1000, 1000.0, 1000, trainer.state.scaler.scale)
        take_step(trainer.method, trainer.state, chunk, at, gradient_clip=1.0, parallel=ALONE)
        steps += 1
    before = ["unique"] * bool(config.model.feature_dims) + ["tolist"] * bool(config.losses.lambda_face)
    assert reads == [*before, "tolist"] * steps
    assert trainer.method.sample(chunk).dtype == np.uint8
    trainer.state.update_ema(config.schedule.ema)
    moments = (value for o in trainer.state.optimizers.values() for s in o.state.values() for value in s.values())
    assert {tensor.device for tensor in (*trainer.state.ema.values(), *moments)} == {gpu}


class _Devices(TorchDispatchMode):
    """Notes the devices of everything that operations take and give."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.device] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = function(*args, **(kwargs or {}))
        self.seen |= {leaf.device for leaf in tree_leaves((args, kwargs, outputs)) if isinstance(leaf, Tensor)}
        return outputs


_FRAMES = {"source_channels": 4, "num_down": 1, "num_blocks": 1, "width": 8}
_IMAGES = ImageGeneratorConfig(in_channels=4, width=8, num_down=1, num_blocks=1)
GENERATORS: dict[str, Any] = {
    "vid2vid": GeneratorConfig(**_FRAMES, num_scales=2, foreground=(1, 2)),
    "published": GeneratorConfig(**_FRAMES, zero_history=True, norm="batch"),
    "pix2pixhd": _IMAGES,
    "covst": _IMAGES.model_copy(update={"covst": 0.8}),
    "pix2pix": UNetConfig(in_channels=4, width=8, num_down=4),
    "s-flow": SFlowConfig(image=_IMAGES, edge_channel=3, dned=DNEDConfig(width=4)),
}


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
@pytest.mark.parametrize("kind", GENERATORS)
def test_rendering_stays_on_its_device_and_a_frame_can_be_one_cuda_graph(
    gpu: torch.device, reads: list[str], kind: str, precision: Precision
) -> None:
    """A CUDA graph holds operations of the GPU alone, and nothing waits for its values between them."""
    generator: Any = build_generator(GENERATORS[kind]).eval().requires_grad_(False).to(gpu)
    generator.to(memory_format=torch.channels_last)
    seen = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        with _Devices() as devices:
            outputs = generator(*args, **kwargs)
        seen.append(devices.seen)
        return outputs

    rollout = Rollout(generator, downsamplings=1, precision=precision, anchor=ColourAnchor(), forward=forward)
    channels = 7 if generator.config.takes_flow else 4  # with flow and confidence
    for _ in range(3):
        assert rollout.image(np.zeros((channels, 48, 64), np.float32)).shape == (48, 64, 3)
    assert seen == [{gpu}] * 3
    assert reads == ["cpu"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", GENERATORS)
def test_a_frame_is_one_graph_of_torch_compile(kind: str) -> None:
    """A break would end the CUDA graph, and Python would run between its parts."""
    generator: Any = build_generator(GENERATORS[kind]).eval().requires_grad_(False)
    torch._dynamo.reset()
    rollout = Rollout(generator, forward=torch.compile(generator, backend="eager", fullgraph=True))
    plain = Rollout(generator)
    channels = 7 if generator.config.takes_flow else 4
    for _ in range(3):
        source = np.random.default_rng(0).random((channels, 48, 64), np.float32)
        assert np.array_equal(rollout.image(source), plain.image(source))


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
