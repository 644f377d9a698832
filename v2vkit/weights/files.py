"""Checks of any weights file: checksum, Git LFS pointers, complete tensors."""

import hashlib
from pathlib import Path
from typing import Any

from v2vkit.errors import V2VError

_POINTER = b"version https://git-lfs.github.com/spec/"


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's content as hex digits.

    Raises:
        V2VError: the file does not exist or cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise V2VError(
            "file-unreadable", f"The file {path} cannot be read: {reason}.", "Give the path of a file that exists."
        ) from None


def refuse_pointer(path: str | Path) -> None:
    """Refuses Git LFS pointers, the placeholders of large files that have not been fetched.

    Raises:
        V2VError: the file is such a pointer.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        begin = file.read(len(_POINTER))
    if begin == _POINTER:
        raise V2VError(
            "lfs-pointer",
            f"{path} is a Git LFS pointer, a placeholder for a file that has not been fetched.",
            "Fetch it: git lfs install, then git lfs pull in its repository.",
        )


def check_stored(where: str | Path, key: Any, value: Any, *, hint: str) -> None:
    """Refuses entries of an untrusted state dict that are not dense tensors with complete storage.

    Args:
        where: the file, for messages.
        key, value: the entry.
        hint: hint of the error.

    Raises:
        V2VError: the key is not a string, or the value is not a dense tensor or larger than its storage.
    """
    import torch  # imported late: commands that only look up weights do not load it

    dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized
    if not isinstance(key, str) or not dense:
        raise V2VError("weights-damaged", f"{where} is not a state dict: `{key}` is not a dense tensor.", hint)
    if value.is_meta or value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise V2VError("weights-damaged", f"{where} is damaged: `{key}` is larger than its stored data.", hint)
