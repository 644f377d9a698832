"""Optical flow on disk: KITTI's 16-bit PNG (used in `flow` artifacts) and Middlebury's `.flo`.

KITTI PNG: three 16-bit channels, red = u, green = v as `value = 64 * pixels + 32768`, blue = validity. The toolkit
stores confidence as validity: 0 = not usable, 1 = certain (as in KITTI's own files), and the 254 levels between them as
`257 * level`, for estimators with a soft confidence.
"""

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.artifacts.images import check_header
from v2vkit.config import MAX_PIXELS
from v2vkit.errors import V2VError

FloatMap = NDArray[np.float32]

STEPS_PER_PIXEL = 64
ZERO = 32768
MAX_FLOW = (65535 - ZERO) / STEPS_PER_PIXEL
"""Largest component, in pixels, that the PNG holds (511.98). Raw 0 (-512) is left to KITTI's pixels without a value."""

# Run-length matching gives the smallest files of zlib's strategies, and none is faster, on real clips (faces, streets;
# 128 to 512 pixels): 0.7 to 1.4 bytes per pixel and map; the default strategy takes 0.9 to 1.5 at level 1 and twice the
# time at level 3. The order matters: OpenCV resets the strategy when it reads the compression level.
_PNG_FLAGS = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)

_FLO_MAGIC = b"PIEH"
_FLO_UNKNOWN = 1e9


def encode_kitti(flow: FloatMap, confidence: FloatMap | None = None) -> bytes:
    """KITTI flow PNG.

    Components are rounded to 1/64 pixel. Components beyond +-`MAX_FLOW` pixels are clipped, those that are not finite
    become 0; both get confidence 0, because the stored value is not the measured one.

    Args:
        flow: float32 [H, W, 2] in pixels.
        confidence: [H, W] in [0, 1], rounded to 1/255; None means 1 everywhere.
    """
    level: NDArray[np.generic] = np.ones(flow.shape[:2], np.uint16)
    if confidence is not None:
        steps = np.rint(np.clip(confidence, 0, 1) * 255)
        level = np.where(steps == 255, 1, steps * 257)
    # The usual case costs one pass. Written so that a NaN counts as out of range.
    if not np.abs(flow).max(initial=0) <= MAX_FLOW:
        level = np.where((np.abs(flow) <= MAX_FLOW).all(axis=2), level, 0)
        flow = np.clip(np.nan_to_num(flow, nan=0.0, posinf=0.0, neginf=0.0), -MAX_FLOW, MAX_FLOW)
    # Rounded before the offset is added: float32 holds the product exactly, but not always the sum.
    raw = (np.rint(flow * np.float32(STEPS_PER_PIXEL)) + np.float32(ZERO)).astype(np.uint16)
    bgr = np.empty((*flow.shape[:2], 3), np.uint16)
    bgr[..., 0], bgr[..., 1], bgr[..., 2] = level, raw[..., 1], raw[..., 0]
    ok, data = cv2.imencode(".png", bgr, _PNG_FLAGS)
    assert ok, "OpenCV refused a uint16 image"
    return data.tobytes()


def decode_kitti(data: bytes, where: str = "a flow map") -> tuple[FloatMap, FloatMap]:
    """Flow and confidence from a KITTI flow PNG.

    Args:
        data: the bytes of the file.
        where: what the bytes are, for messages.

    Returns:
        flow float32 [H, W, 2] in pixels (0 where KITTI has no value) and confidence float32 [H, W] in [0, 1].

    Raises:
        V2VError: not a PNG, damaged, not three 16-bit channels, or more than `MAX_PIXELS` pixels.
    """
    check_header(data, where)
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgr is None:
        raise V2VError("image-damaged", f"{where} is a damaged image.", "Replace the file.")
    if bgr.dtype != np.uint16 or bgr.ndim != 3 or bgr.shape[2] != 3:
        raise V2VError(
            "pixel-format-unsupported",
            f"{where} is not a KITTI flow map: it has {bgr[0, 0].size} channel(s) of {bgr.itemsize * 8} bits.",
            "Give a PNG with three 16-bit channels.",
        )
    raw = bgr[..., 2:0:-1]
    flow = (raw.astype(np.float32) - ZERO) / STEPS_PER_PIXEL
    confidence = np.where(bgr[..., 0] == 1, np.float32(1), bgr[..., 0].astype(np.float32) / 65535)
    flow[(confidence == 0) & (raw == 0).all(axis=2)] = 0
    return flow, confidence


def decode_flo(data: bytes, where: str = "a .flo file") -> tuple[FloatMap, FloatMap]:
    """Flow and validity from a Middlebury `.flo`.

    Returns:
        flow float32 [H, W, 2] in pixels and validity float32 [H, W]: 0 (with flow 0) where a component is unknown
        (beyond 1e9, the format's mark) or not finite, else 1.

    Raises:
        V2VError: wrong magic number, or a size that does not match the length of the file.
    """
    if len(data) < 12 or data[:4] != _FLO_MAGIC:
        raise V2VError(
            "flow-damaged",
            f"{where} does not begin as a .flo file does.",
            "Give a Middlebury .flo file (little-endian).",
        )
    width, height = struct.unpack_from("<ii", data, 4)
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise V2VError(
            "flow-damaged", f"{where} has the size {width}x{height} in its header.", "Replace the file; it is damaged."
        )
    if len(data) != 12 + 8 * width * height:
        raise V2VError(
            "flow-damaged",
            f"{where} has {len(data)} bytes; {width}x{height} pixels take {12 + 8 * width * height}.",
            "Replace the file; it is cut short or damaged.",
        )
    flow = np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)
    valid = (np.abs(flow) <= _FLO_UNKNOWN).all(axis=2)
    flow[~valid] = 0
    return flow, valid.astype(np.float32)


def read_flow(path: str | Path) -> tuple[FloatMap, FloatMap]:
    """Flow and confidence from a `.flo` or KITTI `.png` file.

    Raises:
        V2VError: the file cannot be read, has another suffix, or is damaged; names the file.
    """
    decoders = {".flo": decode_flo, ".png": decode_kitti}
    decode = decoders.get(Path(path).suffix.lower())
    if decode is None:
        raise V2VError(
            "format-unsupported",
            f"{path} is not a .flo or .png file.",
            "Give a .flo file or a KITTI 16-bit .png.",
        )
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise V2VError("file-unreadable", f"{path} cannot be read: {error.strerror}.", "Check the path.") from None
    return decode(data, str(path))
