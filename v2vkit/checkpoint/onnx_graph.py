"""Networks as ONNX graphs (extra `export`): traced by torch, weights optionally in a file that several graphs share."""

import hashlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from v2vkit.errors import V2VError

OPSET = 20
_SMALL = 1024
"""Bytes; smaller constants stay in the graph, because shape inference reads them there."""


def require_onnx() -> None:
    """Refuses to trace without the packages that torch's exporter needs.

    Raises:
        V2VError: `onnx` or `onnxscript` is missing.
    """
    for name in ("onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise V2VError(
                "library-missing", f"The package {name} is missing.", "Install it with: pip install 'v2vkit[export]'"
            )


def trace_onnx(
    network: nn.Module, inputs: Sequence[Tensor], *, input_names: Sequence[str], output_names: Sequence[str]
) -> Any:
    """The network as an `onnx.ModelProto` of the inputs' sizes, weights inside.

    Args:
        network: in evaluation mode, on the CPU, contiguous.
        inputs: examples; only their sizes matter.

    Raises:
        V2VError: as `require_onnx`.
    """
    require_onnx()
    with torch.no_grad(), _without_messages():
        program = torch.onnx.export(
            network,
            tuple(inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(input_names),
            output_names=list(output_names),
            external_data=False,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    # The exporter notes which line of which file made each node, with paths of this machine.
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for part in (*model.graph.input, *model.graph.output):
        part.ClearField("metadata_props")
    return model


@contextmanager
def _without_messages() -> Iterator[None]:
    """Silences the exporter's remarks on its own progress and on deprecated parts of torch."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def save_sharing(graphs: dict[str, Any], folder: Path, weights: str) -> None:
    """Write graphs as `<name>.onnx` into a folder, with equal weights stored once in a file beside them.

    Args:
        graphs: name -> `onnx.ModelProto`, weights inside; the weights are moved out of them.
        weights: name of the file of the weights.
    """
    from onnx import TensorProto
    from onnx.numpy_helper import to_array

    places: dict[bytes, int] = {}
    with (folder / weights).open("wb") as file:
        for graph in graphs.values():
            for tensor in graph.graph.initializer:
                if tensor.dims and not tensor.raw_data and tensor.data_type == TensorProto.FLOAT:
                    tensor.raw_data = to_array(tensor).tobytes()
                    tensor.ClearField("float_data")
                if len(tensor.raw_data) < _SMALL:
                    continue
                key = hashlib.sha256(tensor.raw_data).digest()
                if key not in places:
                    file.write(b"\0" * (-file.tell() % 64))
                    places[key] = file.tell()
                    file.write(tensor.raw_data)
                entries = {"location": weights, "offset": places[key], "length": len(tensor.raw_data)}
                tensor.ClearField("raw_data")
                tensor.data_location = TensorProto.EXTERNAL
                for name, value in entries.items():
                    tensor.external_data.add(key=name, value=str(value))
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
