"""Mixed precision: what the networks compute in on which device."""

import torch

from v2vkit.config import Precision

_HALF: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}

_CPU_MULTIPLIES_BF16 = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
"""`torch.cpu`'s questions whether it has instructions for products of bfloat16 (AMX, AVX512_BF16); without, it
converts to and from it for little gain, or emulates it."""


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which forward passes run; outside of it everything is float32."""
    dtype = _HALF.get(computes_in(precision, device))
    return torch.autocast(device.type, dtype, enabled=True) if dtype else torch.autocast(device.type, enabled=False)


def computes_in(precision: Precision, device: torch.device) -> Precision:
    """What convolutions compute in there, by name: fp32, bf16 or fp16.

    `auto` says bfloat16 where it was measured to be faster, never float16: its range asks for scaled losses.
    """
    if precision == "auto":
        return "bf16" if _bf16_is_fast(device) else "fp32"
    return precision


def _bf16_is_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):  # it tells of the current one
            return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public names for these questions, so another version of it may not have these.
    return device.type == "cpu" and any(getattr(torch.cpu, question, bool)() for question in _CPU_MULTIPLIES_BF16)


def make_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Scales losses so that float16 gradients neither vanish nor overflow; a step whose gradients did is left out.

    Does nothing in other precisions, whose range is that of float32.
    """
    return torch.amp.GradScaler(device.type, enabled=computes_in(precision, device) == "fp16")
