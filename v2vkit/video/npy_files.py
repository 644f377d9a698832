"""Arrays in .npy files from outside."""

import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def open_array(path: str | Path) -> NDArray[Any]:
    """The array of a .npy file as a memory map: only its header is read, whatever size it claims. No pickles.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged or no array.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    # numpy parses the header with Python's own parser, which raises all of these on hostile bytes.
    except (
        ValueError,
        EOFError,
        SyntaxError,
        TypeError,
        OverflowError,
        MemoryError,
        RecursionError,
        tokenize.TokenError,
    ) as error:
        raise ValueError(str(error)) from None
    if not isinstance(found, np.ndarray):
        found.close()  # an archive of arrays
        raise ValueError("it holds several arrays")
    return found
