"""Continuous time stamps for joined recordings: transport and program streams whose clock restarts or jumps.

FFmpeg's demuxers return the stamps of the file. Here each part begins where the previous one ends, and all streams of a
part are shifted by the same time, so audio and video stay in sync.
"""

from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

_FORMATS = ("mpegts", "mpeg")
_LONGEST = 10
"""Longest gap in seconds between neighbouring packets of one part; the same limit as in the ffmpeg program."""
_BACK = Fraction(1, 10)
"""Seconds by which a stream's time stamps may step back within one part."""


def may_jump(container: InputContainer) -> bool:
    """Whether the format (MPEG-TS, MPEG-PS) can be joined by concatenating files; all others have one clock."""
    return container.format.name in _FORMATS


def streams_with_time(container: InputContainer) -> tuple[Stream, ...]:
    """The streams that `Clock` must see, used or not, so that every reader shifts packets alike."""
    return (*container.streams.video, *container.streams.audio)


def begin_of(container: InputContainer, video: Stream) -> Fraction | None:
    """Begin of a recording in seconds: that of its video, or of audio up to 10 s earlier; None = unknown."""
    starts = [
        stream.start_time * stream.time_base
        for stream in (video, *container.streams.audio)
        if stream.start_time is not None and stream.time_base is not None
    ]
    if video.start_time is None or not starts:
        return None
    return min(start for start in starts if start >= starts[0] - _LONGEST)


@lru_cache(maxsize=64)
def _is_joined(path: str, size: int, changed: int) -> bool:
    with av.open(path, options={"format_whitelist": ",".join(_FORMATS)}, metadata_errors="replace") as container:
        clock = Clock()
        try:
            for packet in container.demux(*streams_with_time(container)):
                clock.move(packet)
                if clock.jumped:
                    return True
        except IndexError:  # see `demux`
            pass
    return False


def is_joined(container: InputContainer) -> bool:
    """Whether the clock of an open file jumps: then frames cannot be sought by their time stamps.

    Reads all packets (decodes none), once per process and file. Not for pipes.
    """
    if not may_jump(container):
        return False
    found = Path(container.name.removeprefix("file:")).stat()
    return _is_joined(container.name, found.st_size, found.st_mtime_ns)


class Clock:
    """Shifts the time stamps of a file's packets, which must come in file order and from all streams.

    Attributes:
        jumped: whether the clock has jumped so far.
    """

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]  # of each part
        self._part: dict[int, int] = {}  # stream -> index of its current part
        self._last: dict[int, Fraction] = {}  # stream -> begin of its last packet, shifted
        self._end: dict[int, Fraction] = {}  # stream -> end of its last packet, shifted
        self._now: Fraction | None = None  # latest end of all packets

    @property
    def jumped(self) -> bool:
        return len(self._offsets) > 1

    def move(self, packet: "Packet[Any]") -> None:
        """Shifts the packet's time stamps in place; those of the first part stay."""
        index = packet.stream_index
        if packet.dts is not None:
            self._note(packet, packet.dts * packet.time_base)
        shift = round(self._offsets[self._part.get(index, 0)] / packet.time_base) if index in self._part else 0
        if shift and packet.dts is not None:
            packet.dts += shift
        if shift and packet.pts is not None:
            packet.pts += shift

    def _note(self, packet: "Packet[Any]", time: Fraction) -> None:
        index = packet.stream_index
        part = self._find(index, time)
        if part is None:
            # Video continues at its own last end, even if audio packets of the new part come first.
            own = self._end.get(index) if packet.stream.type == "video" else None
            self._offsets.append((own or self._now or Fraction(0)) - time)
            part = len(self._offsets) - 1
        begin = time + self._offsets[part]
        length = packet.duration * packet.time_base if packet.duration else begin - self._last.get(index, begin)
        self._part[index], self._last[index], self._end[index] = part, begin, begin + length
        self._now = begin + length if self._now is None else max(self._now, begin + length)

    def _find(self, index: int, time: Fraction) -> int | None:
        """Index of the part that a packet belongs to; None = a new part."""
        if index in self._part:
            candidates = range(self._part[index], len(self._offsets))
        else:
            candidates = range(len(self._offsets) - 1, -1, -1)
        return next((part for part in candidates if self._fits(index, time + self._offsets[part])), None)

    def _fits(self, index: int, time: Fraction) -> bool:
        last = self._last.get(index)
        return (self._now is None or abs(time - self._now) <= _LONGEST) and (last is None or time >= last - _BACK)
