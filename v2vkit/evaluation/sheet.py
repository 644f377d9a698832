"""A contact sheet: sample frames of several videos, collected while they are measured."""

from collections.abc import Iterator

import numpy as np

from v2vkit.arrays import Image


class Sheet:
    """Evenly spaced frames of several videos of equal length, one row for each video.

    Args:
        length: number of frames of each video.
        columns: largest number of frames kept of each.
    """

    def __init__(self, length: int, columns: int):
        self._chosen = set(np.linspace(0, length - 1, min(columns, length)).round().astype(int).tolist())
        self._rows: list[list[Image]] = []

    def keep(self, frames: Iterator[Image]) -> Iterator[Image]:
        """Passes frames through, RGB uint8 [H, W, 3], and keeps those of the sheet as its next row."""
        row: list[Image] = []
        self._rows.append(row)

        def kept() -> Iterator[Image]:
            for number, frame in enumerate(frames):
                if number in self._chosen:
                    row.append(frame)
                yield frame

        return kept()

    def picture(self) -> Image:
        """The sheet, RGB uint8 [rows * H, columns * W, 3]; all videos must have been read to their end."""
        return np.concatenate([np.concatenate(row, 1) for row in self._rows], 0)
