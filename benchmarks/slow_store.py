"""A file system like an object store: files of the local disk, each request of which takes its time and is counted."""

import time
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


class SlowStore(LocalFileSystem):
    """`slowstore:///folder/file` is `/folder/file`; every request that reads a file waits `latency` seconds."""

    protocol = ("slowstore",)
    latency = 0.0
    requests: list[str] = []  # noqa: RUF012 - of all instances: fsspec makes them

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, str):
            path = path.removeprefix("slowstore://")
        return super()._strip_protocol(path)

    def _request(self, what: str) -> None:
        self.requests.append(what)
        time.sleep(self.latency)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "r" in mode:
            self._request(f"open {path}")
        return super()._open(path, mode, **options)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> Any:
        return super().cat_file(path, start=start, end=end, **options)

    def get_file(self, path1: str, path2: Any, callback: Any = None, **options: Any) -> Any:
        self._request(f"get {path1}")
        return super().get_file(path1, path2, callback=callback, **options)


def register() -> None:
    """Make `slowstore://` known to fsspec."""
    fsspec.register_implementation("slowstore", SlowStore, clobber=True)
