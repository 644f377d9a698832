"""KITTI PNG and .flo: what they hold survives, foreign files are understood, damaged ones are refused in a sentence."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.errors import raises
from v2vkit.conditions.flow_io import MAX_FLOW, decode_flo, decode_kitti, encode_kitti, read_flow


def _random_flow(height: int = 23, width: int = 37) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 20, (height, width, 2)).astype(np.float32)


def _png(rows: list[list[tuple[int, int, int]]], *, depth: int = 16, width: int | None = None) -> bytes:
    """A PNG written by the letter of its specification, without OpenCV: RGB, no filters."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    code = ">3H" if depth == 16 else ">3B"
    raw = b"".join(b"\0" + b"".join(struct.pack(code, *pixel) for pixel in row) for row in rows)
    header = struct.pack(">IIBBBBB", width or len(rows[0]), width or len(rows), depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def test_flow_survives_to_a_128th_of_a_pixel() -> None:
    flow = _random_flow()
    decoded, confidence = decode_kitti(encode_kitti(flow))
    assert decoded.dtype == np.float32
    assert np.abs(decoded - flow).max() <= 1 / 128
    np.testing.assert_array_equal(confidence, np.ones((23, 37), np.float32))


def test_flow_on_the_grid_of_64ths_survives_exactly() -> None:
    flow = np.rint(_random_flow() * 64) / np.float32(64)
    np.testing.assert_array_equal(decode_kitti(encode_kitti(flow))[0], flow)


def test_hard_confidence_survives_exactly_and_soft_to_a_510th() -> None:
    flow = _random_flow()
    hard = (np.arange(23 * 37).reshape(23, 37) % 3 == 0).astype(np.float32)
    np.testing.assert_array_equal(decode_kitti(encode_kitti(flow, hard))[1], hard)
    soft = np.linspace(0, 1, 23 * 37, dtype=np.float32).reshape(23, 37)
    decoded = decode_kitti(encode_kitti(flow, soft))[1]
    assert np.abs(decoded - soft).max() <= 1 / 510 + 1e-6
    assert (decoded[soft == 0] == 0).all()
    assert (decoded[soft == 1] == 1).all()


def test_flow_keeps_its_value_where_it_is_not_trusted() -> None:
    flow = np.full((4, 5, 2), -3.5, np.float32)
    decoded, confidence = decode_kitti(encode_kitti(flow, np.zeros((4, 5), np.float32)))
    np.testing.assert_array_equal(decoded, flow)
    assert not confidence.any()


def test_reads_a_png_as_kitti_defines_it() -> None:
    # Red is u, green is v, (value - 2^15) / 64; blue is 1 where there is a value.
    data = _png([[(32768 + 64, 32768 - 32, 1), (0, 0, 0)], [(32768, 65535, 1), (1, 32768, 0)]])
    flow, confidence = decode_kitti(data)
    np.testing.assert_array_equal(flow[0, 0], [1.0, -0.5])
    np.testing.assert_array_equal(flow[0, 1], [0.0, 0.0])
    np.testing.assert_array_equal(flow[1, 0], [0.0, 32767 / 64])
    np.testing.assert_array_equal(confidence, [[1, 0], [1, 0]])


def test_writes_a_valid_mask_that_kitti_tools_understand() -> None:
    mask = np.array([[1, 0, 1]], np.float32)
    bgr = cv2.imdecode(np.frombuffer(encode_kitti(np.zeros((1, 3, 2), np.float32), mask), np.uint8), -1)
    np.testing.assert_array_equal(bgr[0, :, 0], [1, 0, 1])
    np.testing.assert_array_equal(bgr[0, :, 1:], np.full((3, 2), 32768))


def test_huge_flow_is_clipped_and_not_trusted() -> None:
    flow = np.zeros((1, 4, 2), np.float32)
    flow[0, 0, 0], flow[0, 1, 1], flow[0, 2, 0] = 600, -1e9, MAX_FLOW
    decoded, confidence = decode_kitti(encode_kitti(flow))
    np.testing.assert_array_equal(confidence, [[0, 0, 1, 1]])
    np.testing.assert_array_equal(decoded[0, :, 0], [MAX_FLOW, 0, MAX_FLOW, 0])
    np.testing.assert_array_equal(decoded[0, :, 1], [0, -MAX_FLOW, 0, 0])


def test_flow_that_is_not_finite_becomes_zero_and_not_trusted() -> None:
    flow = np.ones((1, 3, 2), np.float32)
    flow[0, 0, 0], flow[0, 1, 1] = np.nan, np.inf
    decoded, confidence = decode_kitti(encode_kitti(flow, np.ones((1, 3), np.float32)))
    np.testing.assert_array_equal(confidence, [[0, 0, 1]])
    np.testing.assert_array_equal(decoded, [[[0, 1], [1, 0], [1, 1]]])


def test_png_cut_short_anywhere_is_refused() -> None:
    data = encode_kitti(_random_flow())
    for length in [*range(0, 60, 7), *range(60, len(data), 97), len(data) - 13, len(data) - 1]:
        with raises("image-damaged", "clip-7"):
            decode_kitti(data[:length], "clip-7")


def test_png_with_a_flipped_bit_is_refused() -> None:
    data = bytearray(encode_kitti(_random_flow()))
    data[len(data) // 2] ^= 16
    with raises("image-damaged"):
        decode_kitti(bytes(data))


def test_decompression_bomb_is_refused_by_its_header() -> None:
    with raises("image-too-large", "3600000000 pixels"):
        decode_kitti(_png([[(0, 0, 0)]], width=60000))


def test_images_that_are_no_flow_are_refused() -> None:
    grey = cv2.imencode(".png", np.zeros((4, 5), np.uint16))[1].tobytes()
    jpeg = cv2.imencode(".jpg", np.zeros((4, 5, 3), np.uint8))[1].tobytes()
    for data in (grey, jpeg, _png([[(1, 2, 3)]], depth=8)):
        with raises("pixel-format-unsupported"):
            decode_kitti(data)
    for data in (b"", b"no image at all"):
        with raises("image-damaged"):
            decode_kitti(data)


def _flo(flow: np.ndarray) -> bytes:
    """The file as Middlebury defines it."""
    return struct.pack("<fii", 202021.25, flow.shape[1], flow.shape[0]) + flow.astype("<f4").tobytes()


def test_flo_is_read_exactly() -> None:
    flow = _random_flow()
    decoded, valid = decode_flo(_flo(flow))
    np.testing.assert_array_equal(decoded, flow)
    assert valid.all()


def test_reads_a_flo_as_middlebury_defines_it() -> None:
    data = struct.pack("<fii", 202021.25, 2, 1) + struct.pack("<4f", 1.5, -2.0, 1e10, 1e10)
    flow, valid = decode_flo(data)
    np.testing.assert_array_equal(flow, [[[1.5, -2.0], [0, 0]]])
    np.testing.assert_array_equal(valid, [[1, 0]])


def test_flo_values_that_are_not_finite_are_invalid() -> None:
    flow = np.full((1, 2, 2), np.nan, np.float32)
    flow[0, 1] = 3
    decoded, valid = decode_flo(_flo(flow))
    np.testing.assert_array_equal(valid, [[0, 1]])
    np.testing.assert_array_equal(decoded, [[[0, 0], [3, 3]]])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PIEH",
        struct.pack("<fii", 1.0, 2, 1) + bytes(16),
        struct.pack("<fii", 202021.25, 2, 1) + bytes(15),
        struct.pack("<fii", 202021.25, 2, 1) + bytes(17),
        struct.pack("<fii", 202021.25, -2, -1) + bytes(16),
        struct.pack("<fii", 202021.25, 0, 5),
        struct.pack("<fii", 202021.25, 2**31 - 1, 2**31 - 1) + bytes(16),
        struct.pack(">fii", 202021.25, 2, 1) + bytes(16),
    ],
)
def test_damaged_flo_is_refused(data: bytes) -> None:
    with raises("flow-damaged", "bad.flo"):
        decode_flo(data, "bad.flo")


def test_read_flow_goes_by_the_suffix(tmp_path: Path) -> None:
    flow = np.rint(_random_flow())
    (tmp_path / "a.flo").write_bytes(_flo(flow))
    (tmp_path / "a.PNG").write_bytes(encode_kitti(flow))
    for name in ("a.flo", "a.PNG"):
        np.testing.assert_array_equal(read_flow(tmp_path / name)[0], flow)
    with raises("format-unsupported", "a.pfm"):
        read_flow(tmp_path / "a.pfm")
    with raises("file-unreadable", "absent.flo"):
        read_flow(tmp_path / "absent.flo")
