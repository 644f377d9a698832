"""Exports a generator's recurrent step, so that a program without v2vkit renders with it (`v2v export`)."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from v2vkit.checkpoint.export_formats import ENDINGS, ExportFormat
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.checkpoint.onnx_graph import require_onnx, save_sharing, trace_onnx
from v2vkit.checkpoint.recurrent import RecurrentStep, state_names, traceable
from v2vkit.models.any_generator import AnyGenerator, is_independent
from v2vkit.models.blocks import downsample

DESCRIPTION, WEIGHTS = "model.json", "weights.bin"
_SEPARATOR, _RATIO = re.compile(r"[/\\]"), re.compile(r"\d+/\d+")  # a frame rate is a ratio


@dataclass(frozen=True)
class TracedStep:
    """A step that is ready to be traced.

    Attributes:
        name: `first` (a frame without a past) or `step`.
        network: the step.
        inputs: input name -> an example of its size.
        outputs: output name -> its shape.
    """

    name: str
    network: RecurrentStep
    inputs: dict[str, Tensor]
    outputs: dict[str, tuple[int, ...]]


def steps_of(generator: AnyGenerator, info: ModelInfo) -> tuple[TracedStep, ...]:
    """The steps of a model: `first` and `step`, or `step` alone where each frame is generated on its own.

    Args:
        generator: on the CPU, in evaluation mode.
        info: its description; its size is that of the steps.

    Raises:
        V2VError: the model does not fit into memory.
    """
    config = generator.config
    channels = config.source_channels
    s = torch.rand(1, channels, info.height, info.width)
    alone = is_independent(config)
    first = _step(generator, info, {"s": s}, name="step" if alone else "first", first=True)
    if alone:
        return (first,)
    state = {name: torch.rand(first.outputs[name]) for name in state_names(first.outputs)}
    return first, _step(generator, info, {"s": s, **state}, name="step", first=False)


def _step(generator: AnyGenerator, info: ModelInfo, inputs: dict[str, Tensor], *, name: str, first: bool) -> TracedStep:
    stack = downsample(inputs["s"], info.downsamplings).repeat(1, generator.config.history + 1, 1, 1)
    network = RecurrentStep(
        traceable(generator, stack, first=first), first=first, downsamplings=info.downsamplings
    ).eval()
    with torch.no_grad():
        made = network(*inputs.values())
    shapes = {output: tuple(tensor.shape) for output, tensor in zip(network.outputs, made, strict=True)}
    return TracedStep(name, network, inputs, shapes)


def export_model(generator: AnyGenerator, info: ModelInfo, folder: Path, form: ExportFormat, version: str) -> list[str]:
    """Write a model's steps and their description into an empty folder.

    Args:
        generator, info: as in `steps_of`.
        folder: exists and is empty.
        form: `onnx` (step.onnx, first.onnx, weights.bin) or `torch-export` (step.pt2, first.pt2).
        version: of v2vkit, for the description.

    Returns:
        Names of the files.

    Raises:
        V2VError: as `require_onnx` and `steps_of`.
    """
    if form == "onnx":
        require_onnx()
    steps = steps_of(generator, info)
    files = {step.name: f"{step.name}{ENDINGS[form]}" for step in steps}
    extra = []
    if form == "onnx":
        graphs = {
            step.name: trace_onnx(
                step.network,
                tuple(step.inputs.values()),
                input_names=tuple(step.inputs),
                output_names=tuple(_output_name(name) for name in step.outputs),
            )
            for step in steps
        }
        save_sharing(graphs, folder, WEIGHTS)
        extra = [WEIGHTS]
    else:
        for step in steps:
            with torch.no_grad():
                program = torch.export.export(step.network, tuple(step.inputs.values()), strict=False)
            torch.export.save(program, folder / files[step.name])
    description = describe(info, steps, files, form, version)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return [*files.values(), *extra, DESCRIPTION]


def _output_name(name: str) -> str:
    """Names of the state out differ from those of the state in, because ONNX names every tensor once."""
    return f"next_{name}" if name in state_names([name]) else name


def describe(
    info: ModelInfo, steps: tuple[TracedStep, ...], files: dict[str, str], form: ExportFormat, version: str
) -> dict[str, Any]:
    """What a program has to know to render with the exported steps: content of model.json."""
    state = state_names(steps[-1].outputs)
    return {
        "v2vkit": version,
        "format": form,
        "model": {"stage": info.stage, "method": info.method, "fingerprint": info.fingerprint, "steps": info.steps},
        "width": info.width,
        "height": info.height,
        "fps": str(info.rate),
        "graphs": {
            step.name: {
                "file": files[step.name],
                "inputs": {name: list(tensor.shape) for name, tensor in step.inputs.items()},
                "outputs": {_output_name(name): list(shape) for name, shape in step.outputs.items()},
            }
            for step in steps
        },
        "state": {name: _output_name(name) for name in state},
        "first_frame": info.first_frame,
        "preprocessing": {
            "input": "s",
            "type": "float32",
            "range": [0, 1],
            "crop": info.frames.get("crop", "none"),
            "channels": _channels(info, steps[0].inputs["s"].shape[1]),
        },
        "postprocessing": {
            "output": "frame",
            "range": [-1, 1],
            "to_rgb_uint8": "round((clip(frame[0], -1, 1) + 1) * 127.5), channels last",
        },
    }


def _is_path(value: Any) -> bool:
    """Whether a setting holds a path, which means nothing on another machine and may name people."""
    texts = [text for text in (value if isinstance(value, list | tuple) else [value]) if isinstance(text, str)]
    return any(_SEPARATOR.search(text) and not _RATIO.fullmatch(text) for text in texts)


def _channels(info: ModelInfo, total: int) -> list[dict[str, Any]]:
    """The parts of a source map in their order: conditions, then what is appended to them; without paths."""
    parts: list[dict[str, Any]] = []
    start = 0
    for condition, origin in info.conditions:
        stop = start + condition.num_channels
        settings = {name: value for name, value in origin.settings.items() if not _is_path(value)}
        made = {"stage": origin.stage, "settings": settings}
        parts.append({"channels": [start, stop], "condition": condition.model_dump(mode="json"), "made_by": made})
        start = stop
    features = total - start - (3 if info.generator.takes_flow else 0)
    if features:
        parts.append({"channels": [start, start + features], "features": "vectors of a style, spread over regions"})
        start += features
    if start < total:
        parts.append({"channels": [start, total], "flow": "backward flow x, y in pixels, and confidence"})
    return parts
