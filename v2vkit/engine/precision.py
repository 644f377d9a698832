"""Mixed precision: the data type in which networks compute, by device."""

import torch

from v2vkit.config import Precision

_HALF: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}

_CPU_MULTIPLIES_BF16 = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
"""Functions of `torch.cpu`: whether the CPU multiplies bfloat16 in hardware (AMX, AVX512_BF16). Without, torch converts
to and from it, for little gain, or emulates it."""


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which forward passes run; outside of it everything is float32."""
    dtype = _HALF.get(resolve_precision(precision, device))
    return torch.autocast(device.type, dtype, enabled=True) if dtype else torch.autocast(device.type, enabled=False)


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Data type of the convolutions on a device: fp32, bf16 or fp16.

    `auto` is bfloat16 where it was measured to be faster, never float16, whose range needs scaled losses.
    """
    if precision == "auto":
        return "bf16" if _bf16_is_fast(device) else "fp32"
    return precision


def _bf16_is_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):  # the function below asks the current device
            return torch.cuda.is_bf16_supported(including_emulation=False)
    # These functions are private, so another version of torch may lack them.
    return device.type == "cpu" and any(getattr(torch.cpu, question, bool)() for question in _CPU_MULTIPLIES_BF16)


def make_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Gradient scaler for float16, so that gradients neither underflow nor overflow; a step that overflows is skipped.

    Disabled in other precisions, whose range is that of float32.
    """
    return torch.amp.GradScaler(device.type, enabled=resolve_precision(precision, device) == "fp16")
