"""The device on which a network runs, by the name that every `--device` takes."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from v2vkit.errors import V2VError

if TYPE_CHECKING:
    import torch

DEVICES = "cpu, cuda, cuda:1, mps or auto"
"""What `--device` takes, for help texts."""

PRECISION = "What convolutions compute in; auto: bf16 where the device is fast at it, fp32 for imported models."
"""What `--precision` of rendering commands takes, for help texts."""

_TOO_LARGE = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""How torch says so on CUDA and MPS, on a CPU, and through cuDNN and cuBLAS, in a RuntimeError each time."""


@contextlib.contextmanager
def fitting(what: str, device: object, hint: str) -> Iterator[None]:
    """Tells in a sentence where what is done inside does not fit into the device's memory.

    Raises:
        V2VError: it does not; with the hint.
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
    """The device that was asked for; `auto` takes CUDA, then MPS, then the CPU.

    Args:
        name: `DEVICES`; a number behind `cuda:` counts from 0.

    Raises:
        V2VError: no such device, or not available here.
    """
    import torch  # as late as this: commands that only name devices begin without it

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in present:
        raise V2VError("device-unknown", f"There is no device {name!r}.", f"Give {DEVICES}.")
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
