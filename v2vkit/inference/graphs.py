"""The generator as ONNX graphs, run by onnxruntime or OpenVINO."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.checkpoint.onnx_graph import trace_onnx
from v2vkit.checkpoint.recurrent import GeneratorStep, traceable, unflatten
from v2vkit.models.any_generator import AnyGenerator, is_independent
from v2vkit.models.generator import Output, advance

Run = Callable[[Sequence[NDArray[np.float32]]], list[NDArray[np.float32]]]
"""Runs a graph: its inputs in their order -> its outputs in theirs."""


class Forward(Protocol):
    """The forward pass of a generator."""

    def __call__(self, source: Tensor, history: list[Tensor] | None, *, first_frame: bool) -> list[Output]:
        """As `VideoGenerator.forward`."""
        ...


@dataclass(frozen=True)
class GraphForward:
    """A forward pass by graphs of one size.

    Attributes:
        first, following: run the graphs of a frame without and with a past; the same where frames have none.
        names_first, names_following: `<scale>.<field>` of their outputs.
        alone: frames do not depend on each other.
    """

    first: Run
    following: Run
    names_first: tuple[str, ...]
    names_following: tuple[str, ...]
    alone: bool

    def __call__(self, source: Tensor, history: list[Tensor] | None, *, first_frame: bool) -> list[Output]:
        """As `Forward`; without `Output.warped`."""
        past = [] if first_frame or self.alone else list(history or [])
        run, names = (self.first, self.names_first) if first_frame else (self.following, self.names_following)
        made = run([tensor.contiguous().numpy() for tensor in (source, *past)])
        return unflatten(names, [torch.from_numpy(np.ascontiguousarray(array)) for array in made])


def open_graphs(generator: AnyGenerator, info: ModelInfo, open_graph: Callable[[bytes], Run]) -> GraphForward:
    """Traces a generator to ONNX and opens its graphs.

    Args:
        generator: on the CPU.
        info: as in `choose_backend`.
        open_graph: bytes of a graph -> a function that runs it.
    """
    stack, history = example_inputs(generator, info)
    alone = is_independent(generator.config)
    first, names_first = _trace(generator, stack, [], first=True)
    if alone or history is None:
        run = open_graph(first)
        return GraphForward(run, run, names_first, names_first, alone=True)
    following, names_following = _trace(generator, stack, history, first=False)
    return GraphForward(open_graph(first), open_graph(following), names_first, names_following, alone=False)


def _trace(
    generator: AnyGenerator, stack: Tensor, history: list[Tensor], *, first: bool
) -> tuple[bytes, tuple[str, ...]]:
    step = GeneratorStep(traceable(generator, stack, first=first), first=first).eval()
    with torch.no_grad():
        step(stack, *history)
    inputs = ["stack", *(f"history_{scale}" for scale in range(len(history)))]
    names = step.names
    graph = trace_onnx(step, [stack, *history], input_names=inputs, output_names=names)
    return graph.SerializeToString(), names


def example_inputs(generator: AnyGenerator, info: ModelInfo) -> tuple[Tensor, list[Tensor] | None]:
    """A stack of source maps, and a history if the generator has one, of the size in which it generates."""
    config = generator.config
    width, height = info.output_size
    device = next(generator.parameters()).device
    # Not zeros: constant maps are a special case of the norms.
    stack = torch.rand(1, config.source_channels * (config.history + 1), height, width, device=device)
    if is_independent(config):
        return stack, None
    with torch.no_grad():
        outputs = generator(stack, None, first_frame=True)
    return stack, [torch.rand_like(of) for of in advance(None, outputs, length=config.history)]


def onnxruntime_run(graph: bytes) -> Run:
    """Open a graph with onnxruntime, on the CPU in fp32."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # A thread that spins takes its core from the estimators and the encoder.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return list(session.run(None, dict(zip(names, inputs, strict=True))))

    return run


@cache
def _openvino_core() -> Any:
    """The core of this process, which stays until its end.

    Its CPU plugin gives the thread that loads it a stack for signals, and unmaps that when it goes, without giving back
    the old one if another thread drops it or there was a second core. The next Ctrl-C would then write over whatever
    memory has taken its place.
    """
    import openvino

    return openvino.Core()


def openvino_run(graph: bytes, *, bf16: bool) -> Run:
    """Open a graph with OpenVINO, on the CPU; `bf16`: all that comes before the last convolution is in bfloat16."""
    core = _openvino_core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = core.compile_model(core.read_model(graph, b""), "CPU", settings).create_infer_request()

    def run(inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        found = request.infer(list(inputs))
        return [np.array(found[number]) for number in range(len(found))]

    return run
