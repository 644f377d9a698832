"""What runs the generator in rendering: torch, torch.compile, onnxruntime or OpenVINO, or the fastest of them.

A back end is a function with the generator's own signature, so the state of a video stays in `Rollout`. Those of ONNX
run graphs of one size, which are traced when they are opened. Parity with torch (fp32, one frame): h and mask 1e-5,
frame and flow 2e-4. OpenVINO computes in bfloat16 where torch would, with errors as large as torch's.
"""

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.checkpoint.onnx_graph import trace_onnx
from v2vkit.checkpoint.recurrent import GeneratorStep, traceable, unflatten
from v2vkit.config import Precision
from v2vkit.engine.precision import autocast
from v2vkit.errors import V2VError
from v2vkit.inference.backend_names import CPU_PRECISIONS, EXTRAS, ON_CPU, Backend
from v2vkit.inference.rollout import render_precision
from v2vkit.models.any_generator import AnyGenerator, is_independent
from v2vkit.models.generator import Output, advance

_ROUNDS = 5
"""Frames that `auto` measures with each back end, in turns; the fastest counts."""
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


@dataclass(frozen=True)
class Chosen:
    """A back end that is ready.

    Attributes:
        name: which.
        forward: None = the generator itself.
        milliseconds: back end -> time of a frame, where `auto` measured it.
        unusable: messages on the back ends that `auto` could not open.
    """

    name: Backend
    forward: Forward | None
    milliseconds: dict[Backend, float]
    unusable: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.milliseconds:
            return f"backend: {self.name}"
        measured = ", ".join(f"{name} {spent:.1f}" for name, spent in self.milliseconds.items())
        return " ".join([f"backend: {self.name} (measured, ms per frame: {measured})", *self.unusable])


def choose_backend(name: Backend, generator: AnyGenerator, info: ModelInfo, precision: Precision = "auto") -> Chosen:
    """Opens a back end for frames of the model's size; `auto` measures those that can be used here.

    On a CPU, `auto` leaves out torch.compile, which needs a C++ compiler and minutes; everywhere what fails to open.

    Args:
        name: which.
        generator: on its device, as `load_model` gives it.
        info: its description, with the size that is rendered.
        precision: as in `Rollout`.

    Raises:
        V2VError: there is no such back end, a package is missing, the device or precision is not one of the back end,
            or opening it fails.
    """
    device = next(generator.parameters()).device
    if name not in get_args(Backend):
        raise V2VError("backend-unknown", f"There is no back end {name!r}.", f"Known: {', '.join(get_args(Backend))}.")
    if name != "auto":
        refuse_backend(name, device.type, precision)
        return Chosen(name, _open(name, generator, info, precision), {})
    others: tuple[Backend, ...] = tuple(of for of in ON_CPU if not missing_packages(of)) if device.type == "cpu" else ()
    others = ("compile",) if device.type == "cuda" else others
    others = tuple(of for of in others if of not in ON_CPU or precision in CPU_PRECISIONS[of])
    opened: dict[Backend, Forward | None] = {"torch": None}
    unusable: list[str] = []
    for of in others:
        try:
            opened[of] = _open(of, generator, info, precision)
        except V2VError as error:
            unusable.append(error.message)
    spent = measure(opened, generator, info, precision)
    fastest = min(spent, key=lambda of: spent[of])
    return Chosen(fastest, opened[fastest], spent, tuple(unusable))


def missing_packages(name: Backend) -> list[str]:
    """Packages that a back end needs and that are not installed."""
    return [package for package in EXTRAS.get(name, ((), ""))[0] if importlib.util.find_spec(package) is None]


def refuse_backend(name: Backend, device: str, precision: Precision) -> None:
    """Refuses a back end that cannot be used.

    Args:
        name: not `auto`.
        device: type of the device.
        precision: as the user asked for it.

    Raises:
        V2VError: it runs on another device or in another precision, or a package is missing.
    """
    if name in ON_CPU and (device != "cpu" or precision not in CPU_PRECISIONS[name]):
        asked = f"--device {device}" if device != "cpu" else f"--precision {precision}"
        known = " or ".join(of for of in CPU_PRECISIONS[name] if of != "auto")
        raise V2VError(
            "setting-conflict", f"--backend {name} runs on a CPU in {known}, not with {asked}.", "Leave one out."
        )
    if missing := missing_packages(name):
        raise V2VError(
            "library-missing",
            f"--backend {name} needs {' and '.join(missing)}, not installed here.",
            f"Install it with: pip install '{EXTRAS[name][1]}'",
        )


def measure(
    forwards: dict[Backend, Forward | None], generator: AnyGenerator, info: ModelInfo, precision: Precision
) -> dict[Backend, float]:
    """Milliseconds of one frame with a past, by back end: the fastest of several, measured in turns."""
    stack, history = example_inputs(generator, info)
    device = stack.device
    fastest = dict.fromkeys(forwards, float("inf"))
    for _ in range(_ROUNDS):
        for name, forward in forwards.items():
            start = time.perf_counter()
            with torch.inference_mode(), autocast(render_precision(generator, precision), device):
                (forward or generator)(stack, history, first_frame=history is None)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            fastest[name] = min(fastest[name], 1e3 * (time.perf_counter() - start))
    return fastest


def _open(name: Backend, generator: AnyGenerator, info: ModelInfo, precision: Precision) -> Forward | None:
    if name == "torch":
        return None
    if name == "compile":
        return _compiled(generator, info, precision)
    opener = _onnxruntime if name == "onnxruntime" else partial(_openvino, bf16=_in_bf16(generator, precision))
    try:
        return open_graphs(generator, info, opener)
    except V2VError:
        raise
    except Exception as error:
        raise _unusable(name, error) from None


def _in_bf16(generator: AnyGenerator, precision: Precision) -> bool:
    """Whether OpenVINO computes in bfloat16: where torch would, but not with several scales.

    OpenVINO keeps what follows the last convolution in float32. The warp of a coarser scale comes before convolutions
    of the finer one, and bfloat16 cannot address pixels.

    Raises:
        V2VError: bf16 was asked for, of a model of several scales.
    """
    one_scale = is_independent(generator.config) or generator.config.num_scales == 1
    if precision == "bf16" and not one_scale:
        raise V2VError(
            "setting-conflict",
            "--backend openvino computes a model of several scales in fp32, not in bf16.",
            "Leave --precision out, or use --backend torch.",
        )
    return one_scale and render_precision(generator, precision) == "bf16"


def _compiled(generator: AnyGenerator, info: ModelInfo, precision: Precision) -> Forward:
    compiled: Any = torch.compile(generator)
    stack, history = example_inputs(generator, info)
    try:
        with torch.inference_mode(), autocast(render_precision(generator, precision), stack.device):
            compiled(stack, None, first_frame=True)
            if history is not None:
                compiled(stack, history, first_frame=False)
    except Exception as error:
        raise _unusable("torch.compile", error) from None
    forward: Forward = compiled
    return forward


def _unusable(what: str, error: Exception) -> V2VError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return V2VError("backend-unusable", f"{what} fails here ({reason[:200]}).", "Use --backend torch or auto.")


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


def _onnxruntime(graph: bytes) -> Run:
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


def _openvino(graph: bytes, *, bf16: bool) -> Run:
    import openvino

    core = openvino.Core()
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
