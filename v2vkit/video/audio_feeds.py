"""Sources of audio packets to copy: a file that is opened for them, or a pipe that also carries the video."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import av
from av.audio.stream import AudioStream
from av.packet import Packet

from v2vkit.video.choose_stream import choose_video
from v2vkit.video.container import demux, open_media

_NUM_TRIAL_PACKETS = 8
_MOST_BYTES = 64 * 1024 * 1024


class AudioFeed(Protocol):
    """Audio packets for a muxer. Raises FFmpeg's errors unchanged.

    Attributes:
        name: for messages.
        streams: the audio streams.
        num_lost: packets that were dropped because too many were waiting.
    """

    name: str
    streams: tuple[AudioStream, ...]
    num_lost: int

    @property
    def begin(self) -> Fraction | None:
        """When the accompanying video begins, in seconds of its own clock; None = unknown."""
        ...

    def first_packets(self, index: int) -> list["Packet[Any]"]:
        """Copies of the first packets of the stream with this index, to test which containers accept them."""
        ...

    def choose(self, indices: Iterable[int]) -> None:
        """Makes `take` return only packets of these streams."""
        ...

    def take(self) -> "Packet[Any] | None":
        """The next packet; None = the end, or none has arrived yet."""
        ...

    def close(self) -> None:
        """Ends the feed."""
        ...


class FileAudio:
    """The audio streams of a regular file, which is opened once more for them; call everything inside `reading`."""

    num_lost = 0

    def __init__(self, path: str | Path):
        self.name = str(path)
        self._container = open_media(path)
        self.streams = tuple(self._container.streams.audio)
        self._packets: Iterator[Packet[Any]] = iter(())

    @property
    def begin(self) -> Fraction | None:
        """When the file's video begins."""
        video = choose_video(self.name, self._container)
        if video is None or video.start_time is None or video.time_base is None:
            return None
        return video.start_time * video.time_base

    def first_packets(self, index: int) -> list["Packet[Any]"]:
        """From a second opening of the file."""
        with open_media(self.name) as container:
            stream = next(stream for stream in container.streams.audio if stream.index == index)
            return list(
                islice((packet for packet in demux(container, stream) if packet.dts is not None), _NUM_TRIAL_PACKETS)
            )

    def choose(self, indices: Iterable[int]) -> None:
        """Reads these streams from their beginning."""
        wanted = [stream for stream in self.streams if stream.index in set(indices)]
        if wanted:
            self._packets = (packet for packet in demux(self._container, *wanted) if packet.dts is not None)

    def take(self) -> "Packet[Any] | None":
        """The next packet of the file."""
        return next(self._packets, None)

    def close(self) -> None:
        """Closes the file."""
        self._packets = iter(())
        self._container.close()


class PipedAudio:
    """Audio packets that a pipe's demuxer finds between those of the video, held until their frames are written.

    One thread may put packets in while another takes them. At most `max_bytes` are held; beyond that the oldest packets
    are dropped. `num_lost` counts these once streams have been chosen.
    """

    def __init__(self, name: str, streams: Sequence[AudioStream], *, max_bytes: int = _MOST_BYTES):
        self.name, self.streams, self.num_lost = name, tuple(streams), 0
        self._chosen: frozenset[int] | None = None
        self._packets: deque[Packet[Any]] = deque()
        self._num_bytes, self._max_bytes = 0, max_bytes

    begin = None

    def put(self, packet: "Packet[Any]") -> None:
        """Adds a packet that the demuxer has just found."""
        if self._chosen is not None and packet.stream_index not in self._chosen:
            return
        self._packets.append(packet)
        self._num_bytes += packet.size
        while self._num_bytes > self._max_bytes and self.take() is not None:
            self.num_lost += self._chosen is not None

    def first_packets(self, index: int) -> list["Packet[Any]"]:
        """From the packets that are held."""
        here = (packet for packet in [*self._packets] if packet.stream_index == index)
        return [_copied(packet) for packet in islice(here, _NUM_TRIAL_PACKETS)]

    def choose(self, indices: Iterable[int]) -> None:
        """Drops packets of other streams, now and later."""
        self._chosen = frozenset(indices)

    def take(self) -> "Packet[Any] | None":
        """The oldest packet."""
        while self._packets:
            packet = self._packets.popleft()
            self._num_bytes -= packet.size
            if self._chosen is None or packet.stream_index in self._chosen:
                return packet
        return None

    def close(self) -> None:
        """Drops all packets, now and later."""
        self._chosen = frozenset()
        self._packets.clear()


def _copied(packet: "Packet[Any]") -> "Packet[Any]":
    copy: Packet[Any] = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.time_base, copy.is_keyframe = packet.pts, packet.dts, packet.time_base, packet.is_keyframe
    return copy
