"""Frames to look at, kept while they are measured."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


class Sheet:
    """Some frames of several videos of one length, a row for each video, spread evenly over their time.

    Args:
        length: frames of each video.
        columns: how many frames are kept of each, at most.
    """

    def __init__(self, length: int, columns: int):
        self._chosen = set(np.linspace(0, length - 1, min(columns, length)).round().astype(int).tolist())
        self._rows: list[list[Image]] = []

    def keep(self, frames: Iterator[Image]) -> Iterator[Image]:
        """The same frames, RGB uint8 [H, W, 3]; those that are on the sheet become its next row as they are taken."""
        row: list[Image] = []
        self._rows.append(row)

        def kept() -> Iterator[Image]:
            for number, frame in enumerate(frames):
                if number in self._chosen:
                    row.append(frame)
                yield frame

        return kept()

    def picture(self) -> Image:
        """The rows below each other, RGB uint8 [rows * H, columns * W, 3]; all videos must have been taken whole."""
        return np.concatenate([np.concatenate(row, 1) for row in self._rows], 0)
