"""Weights files: registry of known files, local store, checksums.

Other packages use `find` and `require`, which return a file's path by its name. Nothing here loads a network.
"""

from v2vkit.weights.files import check_stored, file_digest
from v2vkit.weights.store import find, require

__all__ = ["check_stored", "file_digest", "find", "require"]
