"""One HTTP request for a weights file, and what can be wrong with the answer.

urllib is used because it is always there and honours the system's proxies and certificates; pooch and torch.hub, the
usual downloaders of weights, cannot resume.
"""

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from typing import Any

from v2vkit import __version__
from v2vkit.errors import V2VError
from v2vkit.weights.keep import is_markup
from v2vkit.weights.registry import Entry

SILENCE = 30.0
"""Seconds without a byte after which a connection counts as broken."""
CHUNK = 1 << 18
"""Bytes that are read at a time."""
_MARKUP_TYPES = ("text/html", "application/xhtml+xml", "application/xml", "text/xml", "application/json")
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class BrokenConnectionError(Exception):
    """A connection that failed in a way that may pass; the text says how."""


class UselessPartError(BrokenConnectionError):
    """What is here of the file does not go with the server's: it has to come from the start."""


def open_url(entry: Entry, offset: int) -> Any:
    """The server's answer to a request for an entry's file from byte `offset` on.

    Raises:
        BrokenConnectionError: it may work in a moment.
        V2VError: it will not.
    """
    url = entry.url or ""
    headers = {"User-Agent": f"v2vkit/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        opener = urllib.request.build_opener()  # urlopen would keep the proxies of its first call
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=SILENCE)
    except urllib.error.HTTPError as error:
        raise _refusal(entry, error) from None
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise _failure(entry, getattr(error, "reason", error), first=offset == 0) from None
    if url.startswith("https:") and not response.geturl().startswith("https:"):
        response.close()
        raise V2VError(
            "connection-insecure",
            f"{url} leads to an address without encryption, {response.geturl()}.",
            elsewhere(entry),
        )
    return response


def read_chunk(response: Any) -> bytes:
    """The next bytes of the answer; none at its end.

    Raises:
        BrokenConnectionError: the connection broke off.
    """
    try:
        return bytes(response.read1(CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise BrokenConnectionError(f"the connection broke off ({_reason(error)})") from None


def refuse_pages(entry: Entry, response: Any, start: bytes) -> None:
    """Whether the answer is a page for people, as proxies send with status 200.

    Args:
        start: the first bytes of the file, if they are in this answer.

    Raises:
        V2VError: it is.
    """
    if response.headers.get_content_type() in _MARKUP_TYPES or is_markup(start):
        raise V2VError(
            "web-page",
            f"{entry.url} answers with a web page instead of the file, as a proxy does that refuses or wants a login.",
            f"Open the URL in a browser to see what it says. {elsewhere(entry)}",
        )


def other_size(entry: Entry, size: str) -> V2VError:
    """The error for an answer that cannot be the file by its size (in words)."""
    about = "" if entry.bytes is not None else "about "
    return V2VError(
        "weights-mismatch",
        f"{entry.url} sends {size}, but {entry.name} has {about}{entry.size} bytes: this is another file.",
        f"A proxy may be in the way. {elsewhere(entry)}",
    )


def elsewhere(entry: Entry) -> str:
    """How to do without this machine's connection."""
    return f"Or download {entry.url} elsewhere, and then: v2v weights add {entry.name} FILE"


def _refusal(entry: Entry, error: urllib.error.HTTPError) -> Exception:
    """What an HTTP error means."""
    said = f"{error.code} {error.reason}"
    error.close()
    if error.code == 407:
        return _login(entry, said)
    if error.code == 416:
        return UselessPartError("the server's file is shorter than what is here")
    if error.code in _TEMPORARY:
        return BrokenConnectionError(f"the server is not ready ({said})")
    return V2VError("download-refused", f"{entry.url} cannot be fetched: the server answers {said}.", elsewhere(entry))


def _failure(entry: Entry, cause: Any, *, first: bool) -> Exception:
    """What it means that no answer came; a name or port that fails at the `first` byte fails for good."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return V2VError(
            "certificate-invalid",
            f"The certificate of {entry.url} cannot be verified: {cause.verify_message}.",
            f"If a proxy opens connections, name its certificate in SSL_CERT_FILE. {elsewhere(entry)}",
        )
    if "Tunnel connection failed: 407" in str(cause):  # how urllib tells it for https
        return _login(entry, "407")
    if first and (isinstance(cause, (socket.gaierror, ConnectionRefusedError)) or "Tunnel connection" in str(cause)):
        return V2VError(
            "server-unreachable",
            f"{entry.url} cannot be reached: {_reason(cause)}.",
            f"Check the network, and HTTPS_PROXY if there is a proxy. {elsewhere(entry)}",
        )
    return BrokenConnectionError(f"the server cannot be reached ({_reason(cause)})")


def _login(entry: Entry, said: str) -> V2VError:
    return V2VError(
        "proxy-login-required",
        f"The proxy wants a login before it passes {entry.url} ({said}).",
        f"Put name and password into HTTPS_PROXY (http://NAME:PASSWORD@HOST:PORT). {elsewhere(entry)}",
    )


def _reason(cause: Any) -> str:
    """A failure in words."""
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
