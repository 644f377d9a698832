"""Converts stored frames to pictures as displayed: square pixels, upright, RGB."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from v2vkit.video.hdr import Transfer, tone_mapped, transfer_of

_BT2020 = 9  # matrix of ITU-T H.273
_UNSPECIFIED = 2
# libswscale's flags as plain numbers: PyAV names them only since 18. Without the two quality flags colours are off by
# up to 2 grey levels and chroma is upsampled by repetition; with them a flat colour is exact to half a level.
_EXACT = 0x40000 | 0x2000  # SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT
# libswscale's own threads are never used (`threads=1`): on a busy machine they make a frame ten times slower.
BICUBIC = 0x4 | _EXACT
AREA = 0x20 | _EXACT


@dataclass(frozen=True)
class Orientation:
    """One of the eight orientations of a picture: the axes are swapped first, then mirrored."""

    transpose: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def degrees(self) -> int:
        """Counter-clockwise rotation in degrees (0, 90, 180, 270); without mirroring."""
        if self.transpose:
            return 90 if self.mirror_y else 270
        return 180 if self.mirror_y else 0

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The upright picture [H, W, C], contiguous."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        if self.mirror_x:
            image = image[:, ::-1]
        if self.mirror_y:
            image = image[::-1]
        return np.ascontiguousarray(image)


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """The orientation from the frame's display matrix; angles between are rounded to right angles."""
    items: list[Any] = list(frame.side_data)  # PyAV annotates keys, but iterates over items
    matrix = next((bytes(item) for item in items if "DISPLAYMATRIX" in str(item.type)), b"")
    if len(matrix) < 20:
        return Orientation()
    # (x', y') = (a x + c y, b x + d y)
    a, b, _, c, d = (int(value) for value in np.frombuffer(matrix[:20], dtype="=i4"))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirror_x=a < 0, mirror_y=d < 0)
    return Orientation(transpose=True, mirror_x=c < 0, mirror_y=b < 0)


def square_pixel_size(stream: VideoStream) -> tuple[int, int]:
    """Width and height with square pixels, before rotation: the width is scaled by the sample aspect ratio.

    A ratio beyond 1:16 or 16:1 is invalid and ignored.
    """
    width, height = stream.codec_context.width, stream.codec_context.height
    ratio = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, 16) <= ratio <= 16:
        ratio = Fraction(1)
    return max(1, round(width * ratio)), height


@dataclass(frozen=True)
class Geometry:
    """How stored frames are converted to pictures.

    Attributes:
        stored: (width, height) that every frame must have.
        square: (width, height) to resample to, before rotation.
        orientation: how to turn the result upright.
        interpolation: libswscale flags.
    """

    stored: tuple[int, int]
    square: tuple[int, int]
    orientation: Orientation
    interpolation: int = BICUBIC

    @property
    def displayed(self) -> tuple[int, int]:
        """(width, height) of the pictures."""
        width, height = self.square
        return (height, width) if self.orientation.transpose else (width, height)

    def to_rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """RGB uint8 [H, W, 3], by the frame's own colour matrix and range (untagged: BT.601, FFmpeg's default).

        HDR is tone-mapped to SDR.
        """
        width, height = self.square
        if (transfer := transfer_of(frame)) is not None:
            return self._from_hdr(frame, transfer)
        rgb = frame.reformat(width=width, height=height, format="rgb24", interpolation=self.interpolation, threads=1)
        return self.orientation.apply(rgb.to_ndarray().astype(np.uint8, copy=False))

    def _from_hdr(self, frame: av.VideoFrame, transfer: Transfer) -> NDArray[np.uint8]:
        width, height = self.square
        codes = frame.reformat(
            width=width,
            height=height,
            format="rgb48le",
            src_colorspace=_BT2020 if int(frame.colorspace) == _UNSPECIFIED else None,
            interpolation=self.interpolation,
            threads=1,
        ).to_ndarray()
        primaries = int(frame.color_primaries)
        return self.orientation.apply(tone_mapped(codes.astype(np.uint16, copy=False), transfer, primaries=primaries))


def geometry_of(stream: VideoStream, frame: av.VideoFrame, *, long_side: int | None = None) -> Geometry:
    """The geometry of a stream from its first frame.

    Args:
        stream: the video stream.
        frame: one decoded frame, which carries the display matrix.
        long_side: shrink the pictures so that the longer side is at most this.
    """
    width, height = square_pixel_size(stream)
    interpolation = BICUBIC
    if long_side is not None and max(width, height) > long_side:
        scale = long_side / max(width, height)
        width, height, interpolation = max(1, round(width * scale)), max(1, round(height * scale)), AREA
    return Geometry((frame.width, frame.height), (width, height), orientation_of(frame), interpolation)


def pad_to_even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture [H, W, 3] with its last row or column repeated where their number is odd; contiguous."""
    height, width = image.shape[:2]
    if height % 2 == 0 and width % 2 == 0:
        return np.ascontiguousarray(image)
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
