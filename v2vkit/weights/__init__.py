"""Weights files: the registry of known ones, the store of those that are here, checksums.

`find` and `require` are what other packages use: a file's path by its name. Nothing here loads a network.
"""

from v2vkit.weights.files import check_stored, file_digest
from v2vkit.weights.store import find, require

__all__ = ["check_stored", "file_digest", "find", "require"]
