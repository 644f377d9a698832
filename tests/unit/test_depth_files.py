"""Depth maps of other people: what is read, and the sentence for what cannot be."""

import os
import pickle
import struct
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.errors import raises
from v2vkit.errors import V2VError
from v2vkit.video.depth_files import read_depth

METRES = np.array([[1.0, 2.5, 80.0], [0.5, 0.0, 255.0]], np.float32)
VALID = METRES > 0


def _png(path: Path, image: NDArray[np.generic]) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def _npy(path: Path, array: NDArray[np.generic]) -> Path:
    np.save(path, array)
    return path


def _exr(path: Path, channels: dict[str, NDArray[np.generic]], **header: object) -> Path:
    exr = pytest.importorskip("OpenEXR")
    settings = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage} | header
    with exr.File(settings, channels) as file:
        file.write(str(path))
    return path


@pytest.mark.parametrize(("scale", "units"), [(None, 256), (1000, 1000), (256.0, 256)])
def test_a_png_is_read_in_its_unit(tmp_path: Path, scale: float | None, units: int) -> None:
    path = _png(tmp_path / "a.png", np.rint(np.minimum(METRES * units, 65535)).astype(np.uint16))
    depth, valid = read_depth(path, scale=scale)
    assert depth.dtype == np.float32
    assert np.array_equal(valid, VALID)
    assert np.allclose(depth, np.minimum(METRES, 65535 / units), atol=0.5 / units)


def test_an_array_of_floats_is_metres(tmp_path: Path) -> None:
    depth, valid = read_depth(_npy(tmp_path / "a.npy", METRES))
    assert np.array_equal(depth, METRES)
    assert np.array_equal(valid, VALID)


def test_nan_infinity_and_zero_are_unknown_and_come_back_as_zero(tmp_path: Path) -> None:
    depth, valid = read_depth(_npy(tmp_path / "a.npy", np.array([[np.nan, np.inf, 0.0, 3.0]])))
    assert depth.tolist() == [[0, 0, 0, 3]]
    assert valid.tolist() == [[False, False, False, True]]


def test_disparity_becomes_depth(tmp_path: Path) -> None:
    depth, valid = read_depth(_npy(tmp_path / "a.npy", np.array([[0.5, 2.0, 0.0]])), inverse=True)
    assert depth.tolist() == [[2.0, 0.5, 0.0]]
    assert valid.tolist() == [[True, True, False]]


@pytest.mark.parametrize("name", ["Z", "depth", "ViewLayer.Depth.Z", "Depth.V", "Y", "distance"])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_an_exr_channel_of_depth_is_read_by_its_name(tmp_path: Path, name: str, kind: type) -> None:
    depth, valid = read_depth(_exr(tmp_path / "a.exr", {name: METRES.astype(kind)}))
    assert np.array_equal(depth, METRES)
    assert np.array_equal(valid, VALID)


def test_depth_is_found_beside_colours_and_normals(tmp_path: Path) -> None:
    others = {name: np.ones_like(METRES) for name in ("R", "G", "B", "A", "Normal.X", "Normal.Y", "Normal.Z")}
    depth, _ = read_depth(_exr(tmp_path / "a.exr", others | {"Depth.Z": METRES}))
    assert np.array_equal(depth, METRES)


def test_three_equal_colours_of_an_exr_are_depth(tmp_path: Path) -> None:
    depth, _ = read_depth(_exr(tmp_path / "a.exr", dict.fromkeys("RGB", METRES)))
    assert np.array_equal(depth, METRES)


@pytest.mark.parametrize("background", [1e10, 65504.0, np.inf])
def test_the_background_of_a_renderer_is_unknown(tmp_path: Path, background: float) -> None:
    _, valid = read_depth(_exr(tmp_path / "a.exr", {"Z": np.array([[background, 7.0]], np.float32)}))
    assert valid.tolist() == [[False, True]]


def test_colours_in_an_exr_are_not_depth(tmp_path: Path) -> None:
    channels = {name: METRES + number for number, name in enumerate("RGB")}
    with raises("depth-channel-missing", "a.exr", "B, G, R"):
        read_depth(_exr(tmp_path / "a.exr", channels))


@pytest.mark.parametrize("keep", [0, 30, 300, -5])
def test_a_damaged_exr_is_refused(tmp_path: Path, keep: int, capfd: pytest.CaptureFixture[str]) -> None:
    path = _exr(tmp_path / "a.exr", {"Z": np.random.default_rng(0).random((64, 64), np.float32)})
    path.write_bytes(path.read_bytes()[:keep])
    with raises("image-damaged", "a.exr"):
        read_depth(path)
    assert capfd.readouterr().out == "", "nothing is printed between what a command prints"


def test_an_exr_that_claims_too_much_is_not_decoded(tmp_path: Path) -> None:
    path = _exr(tmp_path / "a.exr", {"Z": METRES})
    data = bytearray(path.read_bytes())
    at = data.index(b"dataWindow\0box2i\0") + 21
    data[at : at + 16] = struct.pack("<4i", 0, 0, 99_999, 99_999)
    path.write_bytes(data)
    with raises("image-too-large", path.name):
        read_depth(path)


def test_without_openexr_the_error_names_the_extra_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(b"")
    with raises("library-missing", "a.exr", "v2vkit[exr]"):
        read_depth(tmp_path / "a.exr")


def _huge_png(path: Path) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 16, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(data)
    return path


def test_png_files_without_16_bits_of_depth_are_refused(tmp_path: Path) -> None:
    grey, colour = np.full((4, 4), 9, np.uint8), np.full((4, 4, 3), 9, np.uint16)
    with raises("pixel-format-unsupported", "grey.png", "8"):
        read_depth(_png(tmp_path / "grey.png", grey))
    with raises("pixel-format-unsupported", "colour.png"):
        read_depth(_png(tmp_path / "colour.png", colour))
    (tmp_path / "jpeg.png").write_bytes(cv2.imencode(".jpg", grey)[1].tobytes())
    with raises("format-unsupported", "jpeg.png"):
        read_depth(tmp_path / "jpeg.png")
    whole = _png(tmp_path / "cut.png", np.random.default_rng(0).integers(1, 65535, (64, 64), np.uint16))
    whole.write_bytes(whole.read_bytes()[:2000])
    with raises("image-damaged", "cut.png"):
        read_depth(whole)
    with raises("image-too-large", "huge.png"):
        read_depth(_huge_png(tmp_path / "huge.png"))


class _Mine:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


def test_an_array_file_never_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("object.npy", np.array([[_Mine()]], object), allow_pickle=True)
    Path("pickle.npy").write_bytes(pickle.dumps(_Mine()))
    for name in ("object.npy", "pickle.npy"):
        with raises("image-damaged", name):
            read_depth(name)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.ones((2, 2, 3)), "pixel-format-unsupported"),
        (np.ones((2, 2), np.uint8), "pixel-format-unsupported"),
        (np.ones((2, 2), bool), "pixel-format-unsupported"),
        (np.ones((2, 2), complex), "pixel-format-unsupported"),
        (np.ones((0, 2)), "pixel-format-unsupported"),
        (np.array([[1.0, -0.25]]), "depth-out-of-range"),
        (np.array([[-np.inf, 1.0]]), "depth-out-of-range"),
    ],
)
def test_arrays_that_are_not_depth_are_refused(tmp_path: Path, array: NDArray[np.generic], code: str) -> None:
    with raises(code, "a.npy"):
        read_depth(_npy(tmp_path / "a.npy", array))


def test_an_array_that_claims_too_much_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (9_000, 9_000)).flush()
    with raises("image-too-large", path.name):
        read_depth(path)
    path.write_bytes(path.read_bytes()[:1000])
    with raises("image-damaged", "a.npy"):
        read_depth(path)


@pytest.mark.parametrize("ending", [".png", ".npy", ".exr"])
def test_hostile_bytes_are_read_or_refused(tmp_path: Path, ending: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.random((8, 8), np.float32)
    writers = {".npy": _npy, ".exr": lambda path, array: _exr(path, {"Z": array})}
    writers[".png"] = lambda path, array: _png(path, (60_000 * array).astype(np.uint16))
    path = writers[ending](tmp_path / f"a{ending}", image)
    whole = path.read_bytes()
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(min(len(data), 400), size=rng.integers(1, 6)):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            read_depth(path)
        except V2VError:
            refused += 1
    assert refused > 100


def test_depth_files_of_another_kind_and_missing_ones_are_refused(tmp_path: Path) -> None:
    for name in ("no.png", "no.npy"):
        with raises("file-missing", name):
            read_depth(tmp_path / name)
    with raises("format-unsupported", ".png, .exr, .npy"):
        read_depth(tmp_path / "a.tiff")
    (tmp_path / "folder.png").mkdir()
    with raises("file-required", "folder.png"):
        read_depth(tmp_path / "folder.png")
