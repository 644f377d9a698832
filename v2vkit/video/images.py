"""Reads untrusted image files.

Decoded with Pillow, which refuses truncated files; OpenCV would fill the rest with grey.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from v2vkit.config import MAX_PIXELS
from v2vkit.errors import V2VError
from v2vkit.weights.files import refuse_pointer

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_WITHOUT_SIGNATURE = {".tga": "TGA"}
"""File name ending -> format that has no signature; only these are recognised by the ending."""
_REDUCED = 254
"""TIFF's tag NewSubfileType: bit 0 = a smaller copy of another page."""
_HINT = "Replace the file, or save it again as PNG or JPEG."


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """An image file as RGB uint8 [H, W, 3], upright by its EXIF orientation.

    Reads PNG, JPEG, BMP, WebP, TIFF, PNM (.ppm, .pgm, .pbm), TGA, JPEG 2000 and AVIF. Grey becomes RGB, 16 bits become
    the upper 8, palettes become colours, and transparency is ignored.

    Raises:
        V2VError: missing, empty, damaged, not an image of these formats, larger than `MAX_PIXELS`, with several
            pictures in it, or with pixels of undefined brightness (floats, 32-bit integers).
    """
    pixels, mode, format_name = _load(path, upright=True)
    if mode.startswith("I;16") or (mode == "I" and format_name in ("PNG", "PPM")):
        pixels = (pixels.astype(np.int64) >> 8).astype(np.uint8)
    elif mode in ("I", "F"):
        raise V2VError(
            "pixel-format-unsupported",
            f"Image {path} has floats or 32-bit integers as pixels.",
            "Save it with 8 or 16 bits.",
        )
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels, dtype=np.uint8)


def read_numbers(path: str | Path) -> NDArray[np.generic]:
    """The stored numbers of a single-channel image [H, W] (of a palette image: the indices).

    Raises:
        V2VError: as `read_image`.
    """
    return _load(path, upright=False)[0]


def _refuse_several(path: str | Path, image: Image.Image) -> None:
    """Refuses animations and multi-page files; thumbnails and the extra pictures of phones do not count.

    Raises:
        V2VError: the file holds several pictures.
    """
    count: int = getattr(image, "n_frames", 1)
    if count < 2 or image.format == "MPO":
        return
    if isinstance(image, TiffImageFile):
        pages = 0
        for number in range(count):
            image.seek(number)
            pages += not int(image.tag_v2.get(_REDUCED, 0)) & 1
        image.seek(0)
        count = pages
    if count > 1:
        raise V2VError(
            "pages-unsupported",
            f"Image {path} holds {count} pictures, and one is expected.",
            "Save each as a file of its own, or all as a video (an animated .gif is read as one).",
        )


def _load(path: str | Path, *, upright: bool) -> tuple[NDArray[np.generic], str, str | None]:
    """Pixels, mode and format; the size is checked from the header before anything is decompressed."""
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise V2VError("file-required", f"Image {path} is not a regular file.", "Give an image file.")
        extra = _WITHOUT_SIGNATURE.get(Path(path).suffix.lower())
        with Image.open(path, formats=(*_FORMATS, extra) if extra else _FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            format_name = image.format
            _refuse_several(path, image)
            if upright:
                picture = ImageOps.exif_transpose(image)
                if picture.mode not in ("L", "I", "F") and not picture.mode.startswith("I;16"):
                    picture = picture.convert("RGB")
                return np.array(picture), picture.mode, format_name
            return np.array(image), image.mode, format_name
    except FileNotFoundError:
        raise V2VError("file-missing", f"Image {path} does not exist.", "Check the path.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        raise V2VError(
            "image-too-large", f"Image {path} claims more than the allowed {MAX_PIXELS} pixels.", "Scale it down."
        ) from None
    except UnidentifiedImageError:
        refuse_pointer(path)
        if Path(path).stat().st_size == 0:
            raise V2VError("file-empty", f"Image {path} is empty (0 bytes).", _HINT) from None
        raise V2VError("image-damaged", f"Image {path} is not an image.", _HINT) from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        OverflowError,
        ZeroDivisionError,
    ) as error:
        # Pillow's parsers raise all of these on hostile bytes.
        raise V2VError("image-damaged", f"Image {path} is damaged or cut off ({error}).", _HINT) from None
