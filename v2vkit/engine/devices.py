"""Devices by the names that every `--device` takes."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from v2vkit.errors import V2VError

if TYPE_CHECKING:
    import torch

DEVICES = "cpu, cuda, cuda:1, mps or auto"
"""Values of `--device`, for help texts."""

PRECISION = "Data type of the convolutions; auto: bf16 where the device is fast at it, fp32 for imported models."
"""Help of `--precision` of rendering commands."""

_TOO_LARGE = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""Parts of torch's out-of-memory messages: CUDA and MPS; CPU; cuDNN and cuBLAS. Each is a RuntimeError."""


@contextlib.contextmanager
def fitting(what: str, device: object, hint: str) -> Iterator[None]:
    """Turn out-of-memory errors of the block into a `V2VError`.

    Args:
        what: what does not fit, for the message.
        hint: what to do.

    Raises:
        V2VError: the memory of the device is too small.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        import torch

        named = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not named and not any(words in str(error) for words in _TOO_LARGE):
            raise
        raise V2VError("memory-too-small", f"{what} does not fit into the memory of {device}.", hint) from None


def pick_device(name: str) -> "torch.device":
    """The device of that name; `auto` is the first available of CUDA, MPS and the CPU.

    Args:
        name: `DEVICES`; a number behind `cuda:` counts from 0.

    Raises:
        V2VError: no such device, or it is not available here.
    """
    import torch  # late, so that commands that only name devices start without it

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in present:
        raise V2VError("device-unknown", f"{name!r} is not a device.", f"Give {DEVICES}.")
    if not present[device.type]:
        raise V2VError(
            "device-missing", f"torch finds no {device.type} device here.", "`v2v doctor` lists the devices."
        )
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        text = str(error).splitlines()[0].split(". ")[0]
        raise V2VError(
            "device-missing", f"The device {name!r} cannot be used: {text}.", "`v2v doctor` lists the devices."
        ) from None
    return device
