"""What of a video could not be decoded, gathered while it is read."""

from array import array
from collections.abc import Iterator
from fractions import Fraction

import av
from av.packet import Packet
from av.video.stream import VideoStream

from v2vkit.errors import counted

_MOST_NAMED = 5


class Damage:
    """The packets that could not be decoded, and the frames that their decoder marks as damaged.

    One object goes with one reading of a video; it is complete once the frames have ended.

    Attributes:
        marked: numbers of the frames that came out damaged.
        num_lost: packets that could not be decoded.
    """

    def __init__(self) -> None:
        self.marked: list[int] = []
        self.num_lost = 0
        self.num_decoded = 0
        self._whole = True
        self._rate: Fraction | None = None
        self._origin = 0
        self._time_base = Fraction(1)
        self._shown = array("q")  # time stamps of the frames that came
        self._expected: set[int] = set()  # those of packets whose frames have not come

    def decode(self, packets: Iterator["Packet[VideoStream]"], *, whole: bool = True) -> Iterator[av.VideoFrame]:
        """The frames of these packets; one that cannot be decoded is noted and left out.

        Args:
            packets: of one stream, with the empty one at the end that flushes the decoder.
            whole: they begin with the video's first.

        Raises:
            av.error.InvalidDataError: no frame came out of them, or fewer than were lost.
        """
        self._whole, error = whole, None
        for packet in packets:
            if packet.size and packet.pts is not None and not packet.is_discard:
                self._expected.add(packet.pts)
            try:
                frames = packet.decode()
            except av.error.InvalidDataError as failure:
                self.num_lost, error = self.num_lost + 1, error or failure
                continue
            for frame in frames:
                self._note(frame)
                yield frame
        if error is not None and self.num_lost > self.num_decoded:
            raise error

    def _note(self, frame: av.VideoFrame) -> None:
        if self.num_decoded == 0:
            self._origin, self._time_base = frame.pts or 0, frame.time_base or Fraction(1)
        self.num_decoded += 1
        if frame.pts is not None:
            self._expected.discard(frame.pts)
            self._shown.append(frame.pts)

    def problems(self) -> list[str]:
        """Sentences without the file's name: the lost frames by their numbers in the intact video, and the damaged."""
        found = []
        if self.num_lost:
            verb = "is" if self.num_lost == 1 else "are"
            where = self._lost()
            what = counted(self.num_lost, "frame" if where else "packet")
            found.append(f"{what} of the video cannot be decoded and {verb} left out{where}")
        if self.marked:
            verb = "is" if len(self.marked) == 1 else "are"
            found.append(f"{counted(len(self.marked), 'frame')} {verb} visibly damaged: {spans(self.marked)}")
        return found

    def _lost(self) -> str:
        """Where the lost frames were; nothing where time stamps do not tell."""
        missing = sorted(self._expected)
        if len(missing) != self.num_lost:
            return ""
        places = []
        for before, pts in enumerate(missing[:_MOST_NAMED]):
            number = before + sum(1 for shown in self._shown if shown < pts)
            seconds = float((pts - self._origin) * self._time_base)
            places.append(f"frame {number} ({seconds:.2f} s)" if self._whole else f"at {seconds:.2f} s")
        return ": " + ", ".join(places) + (", ..." if len(missing) > _MOST_NAMED else "")


def spans(numbers: list[int]) -> str:
    """Increasing numbers, neighbours drawn together: `3-5, 9`; at most five such parts."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    named = [str(first) if first == last else f"{first}-{last}" for first, last in parts[:_MOST_NAMED]]
    return ", ".join(named) + (", ..." if len(parts) > _MOST_NAMED else "")
