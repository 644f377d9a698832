"""What is true of any weights file: its checksum, and whether its tensors are stored in whole."""

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
    """Refuses what a repository with Git LFS has in place of a large file that has not been fetched.

    Raises:
        V2VError: the file is such a pointer.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        begin = file.read(len(_POINTER))
    if begin == _POINTER:
        raise V2VError(
            "lfs-pointer",
            f"{path} is a Git LFS pointer: a note of where the file is kept, in place of the file itself.",
            "Fetch it: git lfs install, then git lfs pull in its repository.",
        )


def check_stored(where: str | Path, key: Any, value: Any, *, hint: str) -> None:
    """Whether an entry of a state dict that somebody else wrote is a tensor with all its numbers stored.

    Args:
        where: the file, for the message.
        key, value: the entry.
        hint: what to do when it is not usable, for the message.

    Raises:
        V2VError: its name is no text; it is no dense tensor, or is larger than what is stored.
    """
    import torch  # as late as this: commands that only name weights begin without it

    dense = isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_quantized
    if not isinstance(key, str) or not dense:
        raise V2VError("weights-damaged", f"{where} is not a state dict: `{key}` is not a dense tensor.", hint)
    if value.is_meta or value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise V2VError("weights-damaged", f"{where} is damaged: `{key}` is larger than what is stored.", hint)
