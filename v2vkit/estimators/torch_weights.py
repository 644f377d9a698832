"""What the adapters of torch networks share: weights read without executing anything, one thread."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from v2vkit.errors import V2VError


def read_weights(path: str | Path | None, *, wanted: str, hint: str) -> bytes:
    """The bytes of a weights file of the user's.

    Args:
        wanted: what needs which weights, the beginning of the message's sentence.
        hint: what to do about it.

    Raises:
        V2VError: no path was given, or there is no such file, or it cannot be read.
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
        V2VError: no file of torch's, or one that holds more than tensors and plain values.
    """
    try:
        loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged or hostile file makes the reader raise nearly anything
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
    """On the CPU the last bits depend on the number of threads; a worker has one, so one gives the same everywhere."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)
