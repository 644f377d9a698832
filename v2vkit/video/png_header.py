"""The header of a PNG file: what its pixels are, before anything is decoded; and comments in it."""

import zlib
from pathlib import Path
from typing import NamedTuple

from v2vkit.errors import V2VError

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Colour types of the PNG specification, section 11.2.1."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class PngHeader(NamedTuple):
    """Bits per channel (1 to 16) and colour type."""

    bits: int
    colour: int


def png_header(path: str | Path) -> PngHeader | None:
    """The header of a PNG file; None for any other file.

    Raises:
        OSError: the file cannot be read.
        V2VError: it is empty.
    """
    with Path(path).open("rb") as file:
        header = file.read(26)
    if not header:
        raise V2VError("file-empty", f"The file {path} is empty (0 bytes).", "Copy or download the file again.")
    if len(header) < 26 or header[:8] != _SIGNATURE:
        return None
    return PngHeader(header[24], header[25])


def with_comment(png: bytes, text: str) -> bytes:
    """The PNG file with a text chunk `Comment` (iTXt, UTF-8) after its header."""
    body = b"iTXt" + b"Comment\0\0\0\0\0" + text.encode()
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    end = len(_SIGNATURE) + 25  # the header: length, name, 13 bytes, checksum
    return png[:end] + chunk + png[end:]
