"""HTTP request for a weights file, and checks of the response.

Uses urllib, which is always installed and honours the system's proxies and certificates. pooch and torch.hub, the usual
downloaders of weights, cannot resume.
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

CHUNK = 1 << 18
"""Most bytes per read."""
_MARKUP_TYPES = ("text/html", "application/xhtml+xml", "application/xml", "text/xml", "application/json")
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class BrokenConnectionError(Exception):
    """A failure that may be temporary; the text describes it."""


class StalePartError(BrokenConnectionError):
    """The part received so far does not match the server's file: the download must start from the beginning."""


def open_url(entry: Entry, offset: int, *, timeout: float) -> Any:
    """The server's response to a request for an entry's file from byte `offset` on.

    Args:
        entry: the registry entry.
        offset: the first byte.
        timeout: seconds without data after which the connection counts as broken.

    Raises:
        BrokenConnectionError: a failure that may be temporary.
        V2VError: a permanent failure.
    """
    url = entry.url or ""
    headers = {"User-Agent": f"v2vkit/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        opener = urllib.request.build_opener()  # urlopen would keep the proxies of its first call
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        raise _refusal(entry, error) from None
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        raise _failure(entry, getattr(error, "reason", error), first=offset == 0) from None
    if url.startswith("https:") and not response.geturl().startswith("https:"):
        response.close()
        raise V2VError(
            "connection-insecure",
            f"{url} redirects to an address without encryption, {response.geturl()}.",
            manual_download(entry),
        )
    return response


def read_chunk(response: Any) -> bytes:
    """The next bytes of the response; none at its end.

    Raises:
        BrokenConnectionError: the connection broke off.
    """
    try:
        return bytes(response.read1(CHUNK))
    except (OSError, http.client.HTTPException) as error:
        raise BrokenConnectionError(f"the connection broke off ({_reason(error)})") from None


def refuse_web_page(entry: Entry, response: Any, start: bytes) -> None:
    """Refuses web pages, which proxies send with status 200.

    Args:
        entry: the entry of the requested file.
        response: the response.
        start: the first bytes of the file, if they are in this response.

    Raises:
        V2VError: the response is a web page.
    """
    if response.headers.get_content_type() in _MARKUP_TYPES or is_markup(start):
        raise V2VError(
            "web-page",
            f"{entry.url} returns a web page instead of the file: perhaps a proxy refuses it or requires a login.",
            f"Open the URL in a browser to read the page. {manual_download(entry)}",
        )


def wrong_size(entry: Entry, size: str) -> V2VError:
    """The error for a response of another size (given as text) than the file."""
    about = "" if entry.bytes is not None else "about "
    return V2VError(
        "weights-mismatch",
        f"{entry.url} sends {size}, but {entry.name} has {about}{entry.size} bytes: this is another file.",
        f"A proxy may have replaced it. {manual_download(entry)}",
    )


def manual_download(entry: Entry) -> str:
    """Hint on how to download the file on another machine."""
    return f"Or download {entry.url} on another machine, and then: v2v weights add {entry.name} FILE"


def _refusal(entry: Entry, error: urllib.error.HTTPError) -> Exception:
    """The exception for an HTTP error."""
    said = f"{error.code} {error.reason}"
    error.close()
    if error.code == 407:
        return _login(entry, said)
    if error.code == 416:
        return StalePartError("the server's file is shorter than the part received so far")
    if error.code in _TEMPORARY:
        return BrokenConnectionError(f"the server is not ready ({said})")
    return V2VError(
        "download-refused", f"{entry.url} cannot be fetched: the server answers {said}.", manual_download(entry)
    )


def _failure(entry: Entry, cause: Any, *, first: bool) -> Exception:
    """The exception for a request without a response; an unknown host or refused port is permanent if `first`."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return V2VError(
            "certificate-invalid",
            f"The certificate of {entry.url} cannot be verified: {cause.verify_message}.",
            f"If a proxy decrypts connections, set SSL_CERT_FILE to its certificate. {manual_download(entry)}",
        )
    if "Tunnel connection failed: 407" in str(cause):  # urllib's error for https
        return _login(entry, "407")
    if first and (isinstance(cause, (socket.gaierror, ConnectionRefusedError)) or "Tunnel connection" in str(cause)):
        return V2VError(
            "server-unreachable",
            f"{entry.url} cannot be reached: {_reason(cause)}.",
            f"Check the network, and HTTPS_PROXY if there is a proxy. {manual_download(entry)}",
        )
    return BrokenConnectionError(f"the server cannot be reached ({_reason(cause)})")


def _login(entry: Entry, said: str) -> V2VError:
    return V2VError(
        "proxy-login-required",
        f"The proxy requires a login for {entry.url} ({said}).",
        f"Put name and password into HTTPS_PROXY (http://NAME:PASSWORD@HOST:PORT). {manual_download(entry)}",
    )


def _reason(cause: Any) -> str:
    """A failure as text."""
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
