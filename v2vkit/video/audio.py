"""Copies audio from one file to another: packet by packet, or converted to AAC where players of the target need it."""

import io
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from v2vkit.errors import V2VError, counted
from v2vkit.video.audio_codec import add_encoder, can_convert, layout_of
from v2vkit.video.audio_feeds import AudioFeed, FileAudio
from v2vkit.video.container import reading

_PLAYABLE = {"mp4": frozenset(["aac", "alac", "mp3", "mp2", "ac3", "eac3", "opus", "flac"])}
"""Codecs that players accept in a container, where FFmpeg writes more of them (PCM and Vorbis in MP4)."""
_STEP = Fraction(1, 1000)
"""Seconds per tick of the container with the coarsest clock (Matroska)."""
Span = tuple[Fraction | None, Fraction | None]
"""(begin, end) in seconds of a file's own clock; None = the file's beginning or end."""


class AudioCopy:
    """Copies the audio streams of `source` into `target`.

    A stream that the target's container or players do not accept is converted to AAC and reported in `notes`. A stream
    that cannot be decoded is left out and reported in `problems`, and so is damage in the source. Neither stops the
    video.

    Args:
        source: file or feed; without audio nothing is copied.
        target: container whose header has not been written yet.
        shift: seconds by which the target's video begins later than the source's; None = the target's video begins at
            zero.
        span: only packets that begin within these seconds of the source's clock are copied. A given beginning becomes
            time zero of the target.
    """

    def __init__(
        self,
        source: str | Path | AudioFeed,
        target: OutputContainer,
        *,
        shift: Fraction | None,
        span: Span = (None, None),
    ):
        self.source = str(source) if isinstance(source, (str, Path)) else source.name
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._encoders: dict[int, AudioStream] = {}  # those of `_streams` that are converted
        self._target = target
        self._streams: dict[int, AudioStream] = {}
        self._feed: AudioFeed | None = None
        self._next: Packet[Any] | None = None
        self._begin: float | None = None  # of the last packet that was written, in seconds
        self._last_dts: dict[int, int] = {}  # stream of the source -> of its last packet, in its ticks
        self._offset, self._span = Fraction(0), span
        try:
            with reading(self.source):
                self._feed = FileAudio(source) if isinstance(source, (str, Path)) else source
                self._choose(self._feed, shift)
        except V2VError as error:
            self._give_up(error.message)
        self._peek()

    def _choose(self, feed: AudioFeed, shift: Fraction | None) -> None:
        if self._span[0] is not None:
            self._offset = -self._span[0]
        elif shift is not None:
            self._offset = shift
        elif feed.begin is not None:
            self._offset = -feed.begin
        container = self._target.format.name
        for stream in feed.streams:
            name = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
            if name in _PLAYABLE.get(container, {name}) and _fits(stream, feed.first_packets(stream.index), container):
                self._streams[stream.index] = _add_copy(self._target, stream)
            elif can_convert(stream):
                self._streams[stream.index] = self._encoders[stream.index] = add_encoder(self._target, stream)
                self.notes.append(f"The sound of {self.source} ({name}) is converted to AAC for {container}.")
            else:
                other = _fits(stream, feed.first_packets(stream.index), "matroska")
                self.problems.append(
                    f"The audio of {self.source} ({name}) was left out: {container} files cannot hold this kind of "
                    "audio, and it cannot be converted. "
                    + ("Write to .mkv, which can." if other else "Convert it to AAC first.")
                )
        feed.choose(self._streams)

    def _in_span(self, packet: "Packet[Any]") -> bool:
        assert packet.dts is not None
        time, (begin, end) = packet.dts * packet.time_base, self._span
        return (begin is None or time >= begin) and (end is None or time < end)

    def _peek(self) -> "Packet[Any] | None":
        """The next packet to write, which stays the next one; None = the end, or none has arrived yet."""
        try:
            with reading(self.source):
                while self._next is None and self._feed is not None:
                    packet = self._feed.take()
                    if packet is None:
                        return None
                    self._next = packet if self._in_span(packet) else None
        except V2VError as error:
            at = "" if self._begin is None else f"the audio of {self.source} stops at {self._begin:.2f} s: "
            self._give_up(f"{at}{error.message}")
        return self._next

    def write_until(self, until: float | None) -> None:
        """Writes the packets that begin before `until` seconds; None = all remaining packets."""
        try:
            self._write_until(until)
        except ValueError as error:  # refused time stamps or damage; a full disk raises OSError and goes to the caller
            reason = getattr(error, "strerror", None) or type(error).__name__
            self._give_up(f"the audio of {self.source} stops at {self._begin or 0:.2f} s: {reason}")

    def _write_until(self, until: float | None) -> None:
        while (packet := self._peek()) is not None:
            assert packet.dts is not None
            begin = float(packet.dts * packet.time_base + self._offset)
            if until is not None and begin > until:
                return
            self._next, self._begin = None, begin
            shift = round(self._offset / packet.time_base)
            packet.dts += shift
            if packet.pts is not None:
                packet.pts += shift
            self._close_gap(packet)
            encoder = self._encoders.get(packet.stream_index)
            if encoder is not None:
                for frame in packet.decode():
                    assert isinstance(frame, av.AudioFrame)
                    self._target.mux(encoder.encode(frame))
                continue
            packet.stream = self._streams[packet.stream_index]
            self._target.mux(packet)
        if until is None:
            while self._encoders:
                _, encoder = self._encoders.popitem()
                self._target.mux(encoder.encode(None))

    def _close_gap(self, packet: "Packet[Any]") -> None:
        """Delays a packet that begins up to a second before the previous one's time stamp to just after it: in joined
        recordings the sound of a part ends a little after its picture."""
        assert packet.dts is not None
        last = self._last_dts.get(packet.stream_index)
        if last is not None and 0 <= last - packet.dts < 1 / packet.time_base:  # more is refused by the container
            packet.dts = last + max(1, ceil(_STEP / packet.time_base))
            packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
        self._last_dts[packet.stream_index] = packet.dts

    def end_at(self, end: Fraction) -> None:
        """Leaves out the packets that begin at `end` seconds of the target or later."""
        self._span = (self._span[0], end - self._offset)
        if self._next is not None and not self._in_span(self._next):
            self._next = None

    def close(self) -> None:
        """Closes the source."""
        if self._feed is not None:
            if self._feed.num_lost:
                self.problems.append(
                    f"{counted(self._feed.num_lost, 'packet')} of the audio of {self.source} were left out: they "
                    "arrived too long before their frames"
                )
            self._feed.close()
            self._feed = None

    def _give_up(self, problem: str) -> None:
        self._next = None
        self.problems.append(problem)
        self.close()


def _add_copy(target: OutputContainer, stream: AudioStream) -> AudioStream:
    """Adds a stream to the target that takes the packets of `stream`."""
    copy = target.add_stream_from_template(stream)
    copy.codec_context.layout = layout_of(stream)  # mp4 refuses channels without a known layout
    return copy


def _fits(stream: AudioStream, packets: "list[Packet[Any]]", container: str) -> bool:
    """Whether the container accepts the audio stream: its first packets are muxed in memory."""
    with io.BytesIO() as file:
        try:
            with av.open(file, "w", format=container) as trial:
                copy = _add_copy(trial, stream)
                for packet in packets:
                    packet.stream = copy
                    trial.mux(packet)
        except (av.FFmpegError, ValueError):
            return False
    return True
