"""Decode and encode PNG and JPEG bytes; the size is checked from the header before anything is decompressed."""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from v2vkit.config import MAX_PIXELS
from v2vkit.errors import V2VError

JPEG_QUALITY = 95
_PNG_COMPRESSION = 3  # of 0 to 9


def check_header(data: bytes, where: str = "an image") -> tuple[int, int, str]:
    """Width, height in pixels and Pillow mode, read from the header alone.

    Raises:
        V2VError: not an image, or more than `MAX_PIXELS` pixels (a decompression bomb).
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            width, height, mode = image.width, image.height, image.mode
    except Image.DecompressionBombError as error:
        raise V2VError("image-too-large", f"{where} is too large ({error}).", "Use a smaller image.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise V2VError("image-damaged", f"{where} is not a PNG or JPEG image ({error}).", "Replace the file.") from None
    if width * height > MAX_PIXELS:
        raise V2VError(
            "image-too-large",
            f"{where} is {width}x{height}, more than the {MAX_PIXELS} pixels that are allowed.",
            "Use a smaller image.",
        )
    return width, height, mode


def _decode(data: bytes, flags: int, where: str) -> NDArray[np.generic]:
    check_header(data, where)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise V2VError("image-damaged", f"{where} is a damaged image.", "Replace the file.")
    return np.asarray(image)


def decode_image(data: bytes, where: str = "an image") -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] from PNG or JPEG bytes.

    Raises:
        V2VError: not an image, damaged, or too large.
    """
    return np.asarray(_decode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION, where), np.uint8)


def decode_gray(data: bytes, where: str = "an image") -> NDArray[np.generic]:
    """uint8 or uint16 [H, W] from a single-channel PNG, values as stored.

    Raises:
        V2VError: not an image, damaged, too large, or more than one channel.
    """
    image = _decode(data, cv2.IMREAD_UNCHANGED, where)
    if image.ndim != 2:
        raise V2VError(
            "pixel-format-unsupported",
            f"{where} has {image.shape[2]} channels where one is expected.",
            "Save it as a single-channel PNG.",
        )
    return image


def encode_png(image: NDArray[np.generic]) -> bytes:
    """PNG bytes of uint8/uint16 [H, W] or RGB uint8 [H, W, 3]; lossless."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # type: ignore[arg-type]
    ok, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION])  # type: ignore[arg-type]
    if not ok:
        raise V2VError(
            "encoding-failed", "An image could not be encoded as PNG.", "Report the size and type of your frames."
        )
    return data.tobytes()


def encode_jpeg(image: NDArray[np.uint8], *, quality: int = JPEG_QUALITY) -> bytes:
    """JPEG bytes of RGB uint8 [H, W, 3], chroma not subsampled (4:4:4)."""
    flags = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    if not ok:
        raise V2VError(
            "encoding-failed", "An image could not be encoded as JPEG.", "Report the size and type of your frames."
        )
    return data.tobytes()
