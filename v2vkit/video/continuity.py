"""Time stamps of joined recordings: transport and program streams whose clock begins anew, or jumps, on the way.

FFmpeg's demuxers give such stamps as they stand in the file. Here the parts follow each other, and all streams of a
part are moved by the same time, so that the sound stays with its picture.
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
"""Seconds that packets beside each other may lie apart; FFmpeg's program closes longer gaps, too."""
_BACK = Fraction(1, 10)
"""Seconds by which a stream may go back without having begun anew."""


def may_jump(container: InputContainer) -> bool:
    """Whether it is a kind of file that is made to be joined as it is; others have one clock."""
    return container.format.name in _FORMATS


def streams_with_time(container: InputContainer) -> tuple[Stream, ...]:
    """The streams that `Clock` must see, whichever of them are used, so that all readers move them alike."""
    return (*container.streams.video, *container.streams.audio)


def begin_of(container: InputContainer, video: Stream) -> Fraction | None:
    """When a recording begins: its picture, or sound at most 10 s before it. Seconds; None = it does not tell."""
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
    """Whether the clock of an open file jumps: then its time stamps do not tell where in it to look for a frame.

    All of it is read once in a process (and nothing decoded). Pipes cannot be sought in anyway.
    """
    if not may_jump(container):
        return False
    found = Path(container.name.removeprefix("file:")).stat()
    return _is_joined(container.name, found.st_size, found.st_mtime_ns)


class Clock:
    """Moves the packets of all streams of one file, given in the order of the file.

    Attributes:
        jumped: the file's clock has jumped so far.
    """

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]  # of each part
        self._part: dict[int, int] = {}  # stream -> the part that it is in
        self._last: dict[int, Fraction] = {}  # stream -> begin of its last packet, moved
        self._end: dict[int, Fraction] = {}  # stream -> end of that
        self._now: Fraction | None = None  # the latest end of all

    @property
    def jumped(self) -> bool:
        return len(self._offsets) > 1

    def move(self, packet: "Packet[Any]") -> None:
        """Changes the packet's time stamps, in place, where its part of the recording is not the first."""
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
            # The picture goes on where it was; sound that comes first must not take that away from it.
            own = self._end.get(index) if packet.stream.type == "video" else None
            self._offsets.append((own or self._now or Fraction(0)) - time)
            part = len(self._offsets) - 1
        begin = time + self._offsets[part]
        length = packet.duration * packet.time_base if packet.duration else begin - self._last.get(index, begin)
        self._part[index], self._last[index], self._end[index] = part, begin, begin + length
        self._now = begin + length if self._now is None else max(self._now, begin + length)

    def _find(self, index: int, time: Fraction) -> int | None:
        """The part that a packet belongs to; None = a new one."""
        if index in self._part:
            candidates = range(self._part[index], len(self._offsets))
        else:
            candidates = range(len(self._offsets) - 1, -1, -1)
        return next((part for part in candidates if self._fits(index, time + self._offsets[part])), None)

    def _fits(self, index: int, time: Fraction) -> bool:
        last = self._last.get(index)
        return (self._now is None or abs(time - self._now) <= _LONGEST) and (last is None or time >= last - _BACK)
