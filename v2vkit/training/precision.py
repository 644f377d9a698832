"""Mixed precision: what the networks compute in on which device."""

import torch

from v2vkit.config import Precision


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """The context in which forward passes run; outside of it everything is float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(precision, device))


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether convolutions compute in bfloat16 there. `auto` says yes where it was measured to be faster."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Without AMX tiles a CPU converts to and from bfloat16 for little gain, or emulates it. torch has no public name
    # for the question, so another version of it may not have this one.
    return device.type == "cpu" and bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())
