"""Images in shards: lossless where they should be, and hostile ones refused before they are decompressed."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from skimage import data

from tests.errors import raises
from v2vkit.artifacts.images import decode_gray, decode_image, encode_jpeg, encode_png


def _png(width: int, height: int, *, rows: int = 1) -> bytes:
    """A grey PNG that claims to be width x height and packs zeros tightly, of a long row the first million."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packed = zlib.compress(bytes(min(width + 1, 10**6) * rows), 9)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_round_trips() -> None:
    photo = data.astronaut()[:61, :77]
    np.testing.assert_array_equal(decode_image(encode_png(photo)), photo)
    ids = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    np.testing.assert_array_equal(decode_gray(encode_png(ids)), ids)


def test_jpeg_keeps_full_colour_resolution() -> None:
    """Red and blue columns side by side stay apart: chroma is not subsampled."""
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 200
    decoded = decode_image(encode_jpeg(stripes)).astype(int)
    assert np.abs(decoded - stripes).mean() < 12
    assert (decoded[:, ::2, 0] - decoded[:, 1::2, 0]).mean() > 150


@pytest.mark.parametrize("size", [(60000, 60000), (2**31 - 1, 2), (20000, 20000), (9000, 9000)])
def test_decompression_bombs_are_refused_unopened(size: tuple[int, int]) -> None:
    bomb = _png(*size)
    tracemalloc.start()
    for decode in (decode_image, decode_gray):
        with raises("image-too-large", "clip/000000"):
            decode(bomb, "frame clip/000000")
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("bad", [b"", b"hello", b"GIF89a" + bytes(100), encode_png(np.zeros((9, 9), np.uint8))[:40]])
def test_a_file_that_is_no_image_is_a_user_error(bad: bytes) -> None:
    with raises("image-damaged", "clip/000003"):
        decode_image(bad, "frame clip/000003")


def test_colour_where_ids_are_expected() -> None:
    with raises("pixel-format-unsupported", "3 channels"):
        decode_gray(encode_png(np.zeros((4, 4, 3), np.uint8)))
