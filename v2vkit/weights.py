"""Optional weights files of the user's: never fetched, always named by their checksum.

third_party/weights.toml lists the files that are known, where they come from and under which licence.
"""

import hashlib
from pathlib import Path

from v2vkit.errors import V2VError


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
        raise V2VError(f"The file {path} cannot be read: {reason}.", "Give the path of a file that exists.") from None
