"""A small web server for a study, on loopback only, for the page, its clips and the answers.

It serves a fixed table of files and three routes, so that no request can reach another file.
"""

import json
import re
import socket
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from v2vkit.errors import V2VError
from v2vkit.evaluation.study.answers import RATER, AnswerLog, parse_answer
from v2vkit.evaluation.study.key import PUBLIC, Key, read_key
from v2vkit.evaluation.study.page_files import PAGE_FILES

HOST = "127.0.0.1"
MAX_BODY = 4096
"""Largest request body in bytes; answers have about 200."""
_CHUNK = 256 * 1024
_IDLE_SECONDS = 30
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class ServedFile:
    """A file that may be requested, and its media type."""

    path: Path
    media_type: str


def served_files(folder: str | Path, key: Key) -> dict[str, ServedFile]:
    """URL path -> file, for every file that may be requested.

    Raises:
        V2VError: a file of the study is missing.
    """
    public = Path(folder) / PUBLIC
    table = {f"/{name}": ServedFile(public / name, media_type) for name, media_type in PAGE_FILES.items()}
    table["/"] = table["/index.html"]
    for trial in key.trials:
        for side in (trial.left, trial.right):
            table[f"/clips/{side.id}.mp4"] = ServedFile(public / "clips" / f"{side.id}.mp4", "video/mp4")
    for file in table.values():
        if not file.path.is_file():
            raise V2VError(
                "study-damaged", f"{file.path} is missing.", "Restore it from a copy, or make the study again."
            )
    return table


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes [start, stop) that a Range header asks for (RFC 9110, 14.2).

    None = the whole file, if the header is absent or not understood. Empty if the range lies outside the file.
    """
    found = None if header is None else _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:  # the last N bytes
        return size - min(int(found[2]), size), size
    start, stop = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if found[2] and int(found[2]) < start:
        return None
    return (start, stop) if start < size else (size, size)


class StudyServer(ThreadingHTTPServer):
    """Serves one study until `shutdown`, with one thread per connection.

    Args:
        folder: the folder of the study.
        port: port on 127.0.0.1; 0 = any free port (see `server_port`).

    Raises:
        V2VError: there is no study, a file of it is missing, or the port is in use.
    """

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, folder: str | Path, *, port: int = 0):
        self.key = read_key(folder)
        self.files = served_files(folder, self.key)
        self.log = AnswerLog(folder, self.key)  # before binding: a port in use makes `server_close` close the log, too
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise V2VError(
                "port-unavailable",
                f"Port {port} of {HOST} cannot be used: {error.strerror}.",
                "Give another --port; 0 = any free port.",
            ) from None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def server_close(self) -> None:
        super().server_close()
        self.log.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores closed connections: raters may close the page at any time."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: StudyServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "v2v", ""
    timeout = _IDLE_SECONDS

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing, to protect the raters' privacy."""

    def do_GET(self) -> None:
        self.close_connection |= "Content-Length" in self.headers  # an unread body would be taken for the next request
        path, _, query = self.path.partition("?")
        if (file := self.server.files.get(path)) is not None:
            self._send_file(file)
        elif path == "/api/study":
            self._send_json(HTTPStatus.OK, {"study": self.server.key.study})
        elif path == "/api/answers":
            rater = query.removeprefix("rater=")
            if re.fullmatch(RATER, rater) is None:
                self._send_json(HTTPStatus.BAD_REQUEST, {"error": "name one rater"})
            else:
                self._send_json(HTTPStatus.OK, {"answered": self.server.log.answered(rater)})
        else:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": "not found"})

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        try:
            answer = parse_answer(body, self.server.key)
        except ValueError:
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": "not an answer to this study"})
            return
        try:
            new = self.server.log.add(answer)
        except OSError as error:
            print(f"an answer could not be saved: {error}", file=sys.stderr, flush=True)
            self._send_json(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "not kept, try again"})
            return
        self._send_json(HTTPStatus.CREATED if new else HTTPStatus.OK, {"kept": True})

    def _body(self) -> bytes | None:
        """The body of a request to the only route that takes one; None if it was refused.

        A refused body is not read, so the connection is closed after the reply. The media type is checked because
        browsers let pages of other sites send forms here, but not JSON.
        """
        length = self.headers.get("Content-Length", "")
        status = None
        if self.path != "/api/answers":
            status = HTTPStatus.NOT_FOUND
        elif self.headers.get_content_type() != "application/json":
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        elif "Transfer-Encoding" in self.headers or re.fullmatch(r"[0-9]{1,15}", length) is None:
            status = HTTPStatus.LENGTH_REQUIRED
        elif int(length) > MAX_BODY:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if status is not None:
            self.close_connection = True
            self._send_json(status, {"error": status.phrase.lower()})
            return None
        return self.rfile.read(int(length))

    def _send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self._begin(status, "application/json", len(data), {"Cache-Control": "no-store"})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _send_file(self, file: ServedFile) -> None:
        with file.path.open("rb") as opened:
            size = opened.seek(0, 2)
            part = byte_range(self.headers.get("Range"), size)
            start, stop = part or (0, size)
            if part is not None and start == stop:
                status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                self._begin(status, file.media_type, 0, {"Content-Range": f"bytes */{size}"})
                return
            status, more = HTTPStatus.OK, {"Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
            if part is not None:
                status = HTTPStatus.PARTIAL_CONTENT
                more["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            self._begin(status, file.media_type, stop - start, more)
            if self.command == "HEAD":
                return
            opened.seek(start)
            rest = stop - start
            while rest and (data := opened.read(min(_CHUNK, rest))):
                self.wfile.write(data)
                rest -= len(data)

    def _begin(self, status: HTTPStatus, media_type: str, length: int, more: dict[str, str]) -> None:
        self.send_response(status)
        headers = {"Content-Type": media_type, "Content-Length": str(length), **_HEADERS, **more}
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
