"""Back ends of rendering by name, without torch, for settings."""

from typing import Literal

from v2vkit.config import Precision

Backend = Literal["torch", "compile", "onnxruntime", "openvino", "auto"]
ON_CPU: tuple[Backend, ...] = ("onnxruntime", "openvino")
"""Back ends that run on a CPU alone."""
CPU_PRECISIONS: dict[Backend, tuple[Precision, ...]] = {
    "onnxruntime": ("auto", "fp32"),
    "openvino": ("auto", "fp32", "bf16"),
}
"""Their values of `--precision`."""
EXTRAS: dict[Backend, tuple[tuple[str, ...], str]] = {
    "onnxruntime": (("onnx", "onnxscript", "onnxruntime"), "v2vkit[export]"),
    "openvino": (("onnx", "onnxscript", "openvino"), "v2vkit[export,openvino]"),
}
"""Back end -> the packages that it needs, and what installs them."""
BACKEND = (
    "What runs the network: torch, compile (torch.compile), onnxruntime or openvino (CPU; extras `export`, "
    "`openvino`), or auto, which measures those that are installed at the start and takes the fastest. Preparing takes "
    "seconds to minutes."
)
"""Help of `--backend`."""
