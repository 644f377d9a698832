"""What runs the generator in rendering: torch, torch.compile, onnxruntime or OpenVINO, or the fastest of them.

A back end is a function with the generator's own signature, so the state of a video stays in `Rollout`. Those of ONNX
run graphs of one size, which are traced when they are opened. Parity with torch (fp32, one frame): h and mask 1e-5,
frame and flow 2e-4. OpenVINO computes in bfloat16 where torch would, with errors as large as torch's.
"""

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.checkpoint.recurrent import with_stored_history
from v2vkit.config import Precision
from v2vkit.engine.precision import autocast
from v2vkit.errors import V2VError
from v2vkit.inference.backend_names import CPU_PRECISIONS, EXTRAS, ON_CPU, Backend
from v2vkit.inference.graphs import Forward, example_inputs, onnxruntime_run, open_graphs, openvino_run
from v2vkit.inference.rollout import render_precision
from v2vkit.models.any_generator import AnyGenerator, is_independent
from v2vkit.models.generator import Output

_ROUNDS = 5
"""Frames that `auto` measures with each back end, in turns; the fastest counts."""


Factory = Callable[[AnyGenerator, ModelInfo, Precision], Forward | None]
"""Makes the forward pass of a back end for frames of the model's size; None = the generator itself runs."""
Measure = Callable[[dict[Backend, Forward | None], AnyGenerator, ModelInfo, Precision], dict[Backend, float]]
"""Milliseconds of a frame, by back end."""


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


def choose_backend(
    name: Backend,
    generator: AnyGenerator,
    info: ModelInfo,
    precision: Precision = "auto",
    *,
    factories: Mapping[Backend, Factory] | None = None,
    measure: Measure | None = None,
) -> Chosen:
    """Opens a back end for frames of the model's size; `auto` measures those that can be used here.

    On a CPU, `auto` leaves out torch.compile, which needs a C++ compiler and minutes; everywhere what fails to open.

    Args:
        name: which.
        generator: on its device, as `load_model` gives it.
        info: its description, with the size that is rendered.
        precision: as in `Rollout`.
        factories: back end -> what makes its forward pass; None = `FACTORIES`.
        measure: measures the frames of several back ends; None = `measure_backends`.

    Raises:
        V2VError: there is no such back end, a package is missing, the device or precision is not one of the back end,
            or opening it fails.
    """
    factories, measure = factories or FACTORIES, measure or measure_backends
    device = next(generator.parameters()).device
    if name not in get_args(Backend):
        raise V2VError("backend-unknown", f"There is no back end {name!r}.", f"Known: {', '.join(get_args(Backend))}.")
    if name != "auto":
        refuse_backend(name, device.type, precision)
        return Chosen(name, _open(name, factories[name], generator, info, precision), {})
    others: tuple[Backend, ...] = tuple(of for of in ON_CPU if not missing_packages(of)) if device.type == "cpu" else ()
    others = ("compile",) if device.type == "cuda" else others
    others = tuple(of for of in others if of not in ON_CPU or precision in CPU_PRECISIONS[of])
    opened: dict[Backend, Forward | None] = {"torch": None}
    unusable: list[str] = []
    for of in others:
        try:
            opened[of] = _open(of, factories[of], generator, info, precision)
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


def measure_backends(
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


def _open(
    name: Backend, factory: Factory, generator: AnyGenerator, info: ModelInfo, precision: Precision
) -> Forward | None:
    try:
        return factory(generator, info, precision)
    except V2VError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise V2VError(
            "backend-unusable", f"{name} fails here ({reason[:200]}).", "Use --backend torch or auto."
        ) from None


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


def _openvino(generator: AnyGenerator, info: ModelInfo, precision: Precision) -> Forward:
    return open_graphs(generator, info, partial(openvino_run, bf16=_in_bf16(generator, precision)))


def _compiled(generator: AnyGenerator, info: ModelInfo, precision: Precision) -> Forward:
    stack, history = example_inputs(generator, info)
    with_graphs = stack.device.type == "cuda"
    compiled: Any = partial(torch.compile, mode="reduce-overhead" if with_graphs else None)
    computing = autocast(render_precision(generator, precision), stack.device)
    following = compiled(generator)
    with computing:
        beginning = with_stored_history(generator, stack)
    first = following if beginning is generator else compiled(beginning)

    def run(source: Tensor, history: list[Tensor] | None, *, first_frame: bool, **given: Any) -> list[Output]:
        made: list[Output] = (first if first_frame else following)(source, history, first_frame=first_frame, **given)
        return made

    forward: Forward = keep_outputs(run) if with_graphs else run
    with torch.inference_mode(), computing:
        for _ in range(3 if with_graphs else 1):  # CUDA graphs are recorded at the second call
            forward(stack, None, first_frame=True)
            if history is not None:
                forward(stack, history, first_frame=False)
    return forward


def keep_outputs(forward: Forward) -> Forward:
    """A forward pass whose outputs stay as they are when the next frame is made.

    CUDA graphs write the outputs of every call to the same memory, but past frames are inputs of later calls.
    """

    def kept(source: Tensor, history: list[Tensor] | None, **given: Any) -> list[Output]:
        torch.compiler.cudagraph_mark_step_begin()
        copy: Callable[[Any], Any] = partial(tree_map, lambda leaf: leaf.clone() if torch.is_tensor(leaf) else leaf)
        return [
            replace(of, **{field.name: copy(getattr(of, field.name)) for field in fields(of)})
            for of in forward(source, history, **given)
        ]

    return kept


FACTORIES: dict[Backend, Factory] = {
    "torch": lambda generator, info, precision: None,
    "compile": _compiled,
    "onnxruntime": lambda generator, info, precision: open_graphs(generator, info, onnxruntime_run),
    "openvino": _openvino,
}
"""Back end -> what makes its forward pass."""
