"""A weights store for tests, which takes any file under any known name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from v2vkit.weights.keep import add
from v2vkit.weights.registry import registry

Store = Callable[[str, Path], str]
"""Puts a file into the store under a name; gives its path there."""


def empty_store(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Store:
    """Make this folder the store. It is empty and checks no checksums, and no package carries a file."""
    monkeypatch.setenv("V2V_WEIGHTS", str(folder))
    for name, entry in registry().items():
        unknown = {"sha256": None, "bytes": None, "mib": None, "url": None, "carriers": ()}
        monkeypatch.setitem(registry(), name, entry.model_copy(update=unknown))
    return lambda name, file: str(add(name, file))
