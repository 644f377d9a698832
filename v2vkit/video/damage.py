"""Damage report of a video, collected while it is decoded."""

from array import array
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from v2vkit.errors import counted

_MOST_NAMED = 5


class Damage:
    """The packets that could not be decoded, and the frames that the decoder marks as damaged.

    One object belongs to one pass over a video and is complete after its last frame.

    Attributes:
        marked: numbers of the frames that the decoder marked as damaged.
        num_lost: packets that could not be decoded.
    """

    def __init__(self) -> None:
        self.marked: list[int] = []
        self.num_lost = 0
        self.num_decoded = 0
        self._whole = True
        self._origin = 0
        self._time_base = Fraction(1)
        self._shown = array("q")  # time stamps of the decoded frames
        self._near: list[int] = []  # time stamps of the packets at which the decoder failed
        self._expected: set[int] = set()  # time stamps of packets whose frames have not been decoded yet

    def decode(self, packets: Iterable["Packet[VideoStream]"], *, begin: int | None = None) -> Iterator[av.VideoFrame]:
        """The frames of these packets; what cannot be decoded is recorded and left out. Clears earlier records.

        Args:
            packets: of one stream, with the empty one at the end that flushes the decoder.
            begin: time stamp of the video's begin, in ticks, if the first packet is a later one.

        Raises:
            av.error.InvalidDataError: more packets were lost than frames decoded.
        """
        Damage.__init__(self)
        self._whole, error = begin is None, None
        for packet in packets:
            if packet.size and packet.pts is not None and not packet.is_discard:
                self._expected.add(packet.pts)
            try:
                frames = packet.decode()
            except av.error.InvalidDataError as failure:
                self.num_lost, error = self.num_lost + 1, error or failure
                self._near += [] if packet.pts is None else [packet.pts]
                continue
            for frame in frames:
                self._note(frame, begin)
                yield frame
        if error is not None and self.num_lost > self.num_decoded:
            raise error

    def _note(self, frame: av.VideoFrame, begin: int | None) -> None:
        if self.num_decoded == 0:
            self._origin = (frame.pts or 0) if begin is None else begin
            self._time_base = frame.time_base or Fraction(1)
        self.num_decoded += 1
        if frame.pts is not None:
            self._expected.discard(frame.pts)
            self._shown.append(frame.pts)

    def problems(self) -> list[str]:
        """Sentences on lost frames (numbers of the intact video) and damaged ones, without the file name."""
        found = []
        if self.num_lost:
            frames = self._lost()
            what = counted(self.num_lost, "frame" if frames else "packet")
            verb = "is" if self.num_lost == 1 else "are"
            places = frames or [f"near {self._seconds(pts)}" for pts in self._near]
            where = f": {_listed(places)}" if places else ""
            found.append(f"{what} of the video cannot be decoded and {verb} left out{where}")
        if self.marked:
            verb = "is" if len(self.marked) == 1 else "are"
            found.append(f"{counted(len(self.marked), 'frame')} {verb} visibly damaged: {spans(self.marked)}")
        return found

    def _lost(self) -> list[str]:
        """Positions of the lost frames; empty if time stamps cannot tell them from frames that are not shown."""
        missing = sorted(self._expected)
        if len(missing) != self.num_lost:
            return []
        shown = np.sort(np.array(self._shown, np.int64))
        numbers = np.searchsorted(shown, missing) + np.arange(len(missing))
        return [
            f"frame {number} ({self._seconds(pts)})" if self._whole else f"at {self._seconds(pts)}"
            for number, pts in zip(numbers, missing, strict=True)
        ]

    def _seconds(self, pts: int) -> str:
        return f"{float((pts - self._origin) * self._time_base):.2f} s"


def _listed(parts: list[str]) -> str:
    return ", ".join(parts[:_MOST_NAMED]) + (", ..." if len(parts) > _MOST_NAMED else "")


def spans(numbers: list[int]) -> str:
    """Increasing numbers as ranges: `3-5, 9`; at most five ranges are written."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return _listed([str(first) if first == last else f"{first}-{last}" for first, last in parts])
