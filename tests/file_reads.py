"""Counts the files that are read whole from the local disk."""

from collections import Counter
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem


def count_file_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Path -> how often its whole content is read from now on."""
    counts: Counter[str] = Counter()
    read = LocalFileSystem.cat_file

    def counted(self: LocalFileSystem, path: str, start: int | None = None, end: int | None = None, **more: Any) -> Any:
        if start is None:
            counts[path] += 1
        return read(self, path, start=start, end=end, **more)

    monkeypatch.setattr(LocalFileSystem, "cat_file", counted)
    return counts
