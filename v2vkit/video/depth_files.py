"""Reads and checks depth maps: 16-bit PNG, OpenEXR and .npy."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.config import MAX_PIXELS
from v2vkit.errors import V2VError
from v2vkit.video.images import read_numbers
from v2vkit.video.npy_files import open_array
from v2vkit.video.png_header import GREY, png_header

ENDINGS = (".png", ".exr", ".npy")
"""File name endings that `read_depth` reads."""
KITTI_SCALE = 256.0
"""Stored units per metre of a KITTI depth PNG."""
_BACKGROUND = 65504.0  # largest half float: renderers write this or more (Blender: 1e10) for the background

Depth = tuple[NDArray[np.float32], NDArray[np.bool_]]


def read_depth(path: str | Path, *, scale: float | None = None, inverse: bool = False) -> Depth:
    """One depth map: distance along the optical axis, or relative depth (any monotonic function of it).

    Args:
        path: a PNG with 16 bits and one channel, an OpenEXR file with a depth channel (half or float; `Z`, `Depth.V`
            and the like, a single channel of any name, or three equal colours), or a 2-D array in a .npy file.
        scale: stored units per metre: 256 (KITTI), 1000 (millimetres), 5000 (TUM). None = 256 for PNG, 1 otherwise.
            Does not matter for relative depth.
        inverse: the file holds disparity (inverse depth; larger = nearer), as written by MiDaS and its successors.

    Returns:
        depth float32 [H, W] in metres (or relative), 0 where unknown; valid bool [H, W]: False where the file holds 0,
        NaN or infinity, or (EXR) 65504 and more, which renderers write for the background.

    Raises:
        V2VError: missing, damaged, of another kind, 8 bits, colours, negative numbers, or OpenEXR is not installed.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise V2VError(
            "format-unsupported",
            f"The depth map {path} is not one of {', '.join(ENDINGS)}.",
            "Convert it, best to 16-bit PNG.",
        )
    if Path(path).exists() and not Path(path).is_file():
        raise V2VError("file-required", f"The depth map {path} is not a regular file.", "Give a file.")
    stored = {".png": _read_png, ".exr": _read_exr, ".npy": _read_npy}[ending](path)
    # NaN compares as False on both sides.
    if (stored < 0).any():
        raise V2VError(
            "depth-out-of-range",
            f"The depth map {path} holds negative numbers (down to {float(np.nanmin(stored)):g}).",
            "Save the distance along the optical axis, which is positive; 0 means that it is unknown.",
        )
    valid = np.isfinite(stored) & (stored > 0)
    units = scale if scale is not None else KITTI_SCALE if ending == ".png" else 1.0
    known = np.where(valid, stored, 1).astype(np.float64)
    depth = (units / known if inverse else known / units).astype(np.float32)
    valid &= np.isfinite(depth) & (depth > 0)
    return np.where(valid, depth, np.float32(0)), valid


def _read_png(path: str | Path) -> NDArray[Any]:
    with _explain_errors(path):
        header = png_header(path)
    if header is None:
        raise V2VError(
            "format-unsupported",
            f"The depth map {path} is not a PNG.",
            "Save it again as PNG with 16 bits and one channel.",
        )
    if header.colour != GREY:
        raise V2VError(
            "pixel-format-unsupported",
            f"The depth map {path} is a colour image.",
            "A colour-coded picture holds no depth values. Save the depth itself, with 16 bits and one channel.",
        )
    if header.bits != 16:
        raise V2VError(
            "pixel-format-unsupported",
            f"The depth map {path} has {header.bits} bits per pixel, too few steps for depth.",
            "Save it with 16 bits and one channel, or as EXR.",
        )
    return read_numbers(path).astype(np.float32)


def _read_npy(path: str | Path) -> NDArray[Any]:
    with _explain_errors(path):
        try:
            found = open_array(path)
        except ValueError as error:
            raise V2VError(
                "image-damaged",
                f"The depth map {path} cannot be read as an array: {error}.",
                "Save one 2-D array of numbers with numpy.save.",
            ) from None
    if found.dtype.kind not in "fiu" or found.ndim != 2 or found.dtype.itemsize < 2 or 0 in found.shape:
        what = f"{found.dtype} of shape {found.shape}"
        raise V2VError(
            "pixel-format-unsupported",
            f"The depth map {path} holds {what}, not a 2-D array of floats or of integers of 16 bits or more.",
            "Save one array [height, width] per frame.",
        )
    _check_pixels(path, found.shape[1], found.shape[0])
    with np.errstate(invalid="ignore"):  # signalling NaN
        return np.array(found, np.float64)


def _read_exr(path: str | Path) -> NDArray[Any]:
    try:
        import OpenEXR
    except ImportError:
        raise V2VError(
            "library-missing",
            f"Reading {path} needs the library OpenEXR.",
            "Install it with: pip install 'v2vkit[exr]', or convert the depth maps to 16-bit PNG.",
        ) from None
    with _explain_errors(path), Path(path).open("rb"):
        pass
    try:
        # The library prints warnings to standard output as well as raising errors.
        with contextlib.redirect_stdout(io.StringIO()):
            header = OpenEXR.File(str(path), header_only=True).header()
            (left, top), (right, bottom) = (tuple(int(v) for v in corner) for corner in header["dataWindow"])
            _check_pixels(path, right - left + 1, bottom - top + 1)
            file = OpenEXR.File(str(path), separate_channels=True)
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, ValueError, OSError, KeyError, TypeError, IndexError) as error:
        raise V2VError(
            "image-damaged", f"The depth map {path} is damaged or not an EXR file ({error}).", "Replace the file."
        ) from None
    name = _depth_channel_name(channels)
    if name is None:
        raise V2VError(
            "depth-channel-missing",
            f"The EXR file {path} has the channels {', '.join(sorted(channels)) or 'none'}; none of them is depth.",
            "Save depth as the channel Z, or as the only channel.",
        )
    pixels = channels[name]
    if pixels.dtype not in (np.float16, np.float32) or pixels.shape != (bottom - top + 1, right - left + 1):
        raise V2VError(
            "pixel-format-unsupported",
            f"The channel {name} of {path} is subsampled, deep or made of integers.",
            "Save it as half or float at full resolution.",
        )
    with np.errstate(invalid="ignore"):
        return np.where(pixels >= _BACKGROUND, np.float32(np.inf), pixels.astype(np.float32))


def _depth_channel_name(channels: dict[str, NDArray[Any]]) -> str | None:
    """The channel (or layer) called `Z` or `depth`; else the only channel; else red if all colours are equal."""
    named = []
    for name in channels:
        *layers, last = name.lower().split(".")
        if last == "depth" or (last == "z" and not layers) or (layers and layers[-1] in ("depth", "z")):
            named.append(name)
    if len(named) == 1:
        return named[0]
    if len(channels) == 1:
        return next(iter(channels))
    colours = [channels.get(name) for name in ("R", "G", "B")]
    if set(channels) <= {"R", "G", "B", "A"} and all(c is not None for c in colours):
        red, green, blue = colours
        if np.array_equal(red, green, equal_nan=True) and np.array_equal(red, blue, equal_nan=True):  # type: ignore[arg-type]
            return "R"
    return None


def _check_pixels(path: str | Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise V2VError(
            "image-too-large",
            f"The depth map {path} claims more than the allowed {MAX_PIXELS} pixels.",
            "Scale it down.",
        ) from None


@contextlib.contextmanager
def _explain_errors(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise V2VError("file-missing", f"The depth map {path} does not exist.", "Check the path.") from None
    except OSError as error:
        raise V2VError(
            "file-unreadable", f"The depth map {path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None
