"""A small HTTP server that serves one file, with the faults that a test tells it."""

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from v2vkit.weights.registry import Entry

DATA = bytes((7 * index * index + index) % 251 for index in range(400_000))
"""Content of the weights file, more than one chunk long."""
SHA256 = hashlib.sha256(DATA).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `DATA` with ranges.

    Attributes:
        asked: the Range header of every request so far, None without one.
        faults: what answers the next requests instead, one each.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.faults: list[Callable[[Handler], None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/net.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        if self.server.faults:
            self.server.faults.pop(0)(self)
        else:
            self.answer()

    def do_CONNECT(self) -> None:
        """As a proxy that wants a login before it opens a tunnel."""
        self.send_error(407)

    def answer(self, *, cut: int | None = None, ranges: bool = True, data: bytes = DATA) -> None:
        """Send the file, or the part that was asked for; with `cut`, break off after so many bytes of it."""
        asked = self.headers.get("Range") if ranges else None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send(data[start:], cut=cut)

    def send(self, body: bytes, *, kind: str = "application/octet-stream", cut: int | None = None) -> None:
        """The headers that are left and the body."""
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        self.wfile.flush()
        self.close_connection = True

    def page(self, kind: str = "text/html") -> None:
        """What a proxy sends that wants a login: a page, with status 200."""
        self.send_response(200)
        self.send(b"\n<!DOCTYPE html><html><title>Login</title></html>", kind=kind)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@contextmanager
def serving() -> Iterator[Server]:
    """The server in a thread."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def entry(url: str | None = None, **changes: object) -> Entry:
    """The entry `net` for `DATA`."""
    facts: dict[str, object] = {"name": "net", "purpose": "tests", "licence": "none", "file": "net.pth", "url": url}
    facts |= {"sha256": SHA256[:8], "bytes": len(DATA)} | changes
    return Entry.model_validate(facts)
