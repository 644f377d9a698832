"""For adapters of torch networks: load weights without executing anything, and compute in one thread."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from v2vkit.errors import V2VError


def read_weights(path: str | Path | None, *, wanted: str, hint: str) -> bytes:
    """The bytes of the user's weights file.

    Args:
        wanted: first sentence of the error message, without its full stop: what needs which weights.
        hint: what to do about it.

    Raises:
        V2VError: no path was given, or the file is missing or cannot be read.
    """
    if path is None or not Path(path).is_file():
        found = "None were given" if path is None else f"There is no file {path}"
        raise V2VError("weights-missing", f"{wanted}. {found}.", hint)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise V2VError(
            "weights-damaged", f"The weights {path} cannot be read: {error.strerror}.", "Check the file."
        ) from None


def load_weights(data: bytes, where: str | Path) -> dict[str, Any]:
    """The dictionary in a weights file; nothing in the file is executed.

    Raises:
        V2VError: not a torch file, or one that holds more than tensors and plain values.
    """
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged or hostile file can raise nearly anything
        raise V2VError(
            "weights-damaged",
            f"The weights {where} cannot be read ({type(error).__name__}).",
            "Give a file made by torch.save that holds a state dict and nothing else.",
        ) from None
    if not isinstance(loaded, dict):
        raise V2VError(
            "weights-damaged", f"The weights {where} hold no state dict.", "Give a file that holds a state dict."
        )
    return loaded


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread, as workers do: on a CPU the last bits depend on the number of threads."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
