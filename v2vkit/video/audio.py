"""Carrying audio over from one file to another: packet by packet, or as AAC where the target's players need that."""

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

_TAKEN = {"mp4": frozenset(["aac", "alac", "mp3", "mp2", "ac3", "eac3", "opus", "flac"])}
"""Codecs that players take from a container, where those are fewer than FFmpeg puts into it (PCM and Vorbis in MP4)."""
_STEP = Fraction(1, 1000)
"""Seconds; the coarsest ticks of a container (Matroska's)."""
Span = tuple[Fraction | None, Fraction | None]
"""From when to when, in seconds of a file's own clock; None = from its beginning, to its end."""


class AudioCopy:
    """The audio streams of `source` on their way into `target`.

    A stream that the target's container or its players cannot take is converted to AAC, which is told in `notes`. One
    that cannot be decoded is left out and told in `problems`, as is a source that turns out to be damaged; neither
    stops the video.

    Args:
        source: file with audio, or a feed; one without any gives nothing to do.
        target: container whose header has not been written yet.
        shift: seconds by which the target's video is later than the source's; None where the target's begins at zero,
            wherever the source's does.
        span: only the packets that begin between these seconds of the source's clock (None = its beginning, its end);
            where a beginning is given, that is when the target begins.
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
            self._stop(error.message)
        self._upcoming()

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
            if name in _TAKEN.get(container, {name}) and _fits(stream, feed.first_packets(stream.index), container):
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

    def _wanted(self, packet: "Packet[Any]") -> bool:
        assert packet.dts is not None
        time, (begin, end) = packet.dts * packet.time_base, self._span
        return (begin is None or time >= begin) and (end is None or time < end)

    def _upcoming(self) -> "Packet[Any] | None":
        """The next packet to be written; None = there is none left, or none yet."""
        try:
            with reading(self.source):
                while self._next is None and self._feed is not None:
                    packet = self._feed.take()
                    if packet is None:
                        return None
                    self._next = packet if self._wanted(packet) else None
        except V2VError as error:
            at = "" if self._begin is None else f"the audio of {self.source} stops at {self._begin:.2f} s: "
            self._stop(f"{at}{error.message}")
        return self._next

    def pump(self, until: float | None) -> None:
        """Writes the packets that begin before `until` seconds; None = all that are left."""
        try:
            self._pump(until)
        except ValueError as error:  # time stamps that the container refuses, damage; a full disk is no ValueError
            reason = getattr(error, "strerror", None) or type(error).__name__
            self._stop(f"the audio of {self.source} stops at {self._begin or 0:.2f} s: {reason}")

    def _pump(self, until: float | None) -> None:
        while (packet := self._upcoming()) is not None:
            assert packet.dts is not None
            begin = float(packet.dts * packet.time_base + self._offset)
            if until is not None and begin > until:
                return
            self._next, self._begin = None, begin
            shift = round(self._offset / packet.time_base)
            packet.dts += shift
            if packet.pts is not None:
                packet.pts += shift
            self._follow(packet)
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

    def _follow(self, packet: "Packet[Any]") -> None:
        """Puts a packet right behind the one before it where it would begin less than a second too early: in joined
        recordings the sound of a part ends a little after its picture."""
        assert packet.dts is not None
        last = self._last_dts.get(packet.stream_index)
        if last is not None and 0 <= last - packet.dts < 1 / packet.time_base:  # more is refused by the container
            packet.dts = last + max(1, ceil(_STEP / packet.time_base))
            packet.pts = packet.dts if packet.pts is None else max(packet.pts, packet.dts)
        self._last_dts[packet.stream_index] = packet.dts

    def close(self) -> None:
        """Closes the source."""
        if self._feed is not None:
            if self._feed.num_lost:
                self.problems.append(
                    f"{counted(self._feed.num_lost, 'packet')} of the audio of {self.source} were left out: they came "
                    "too long before their frames"
                )
            self._feed.close()
            self._feed = None

    def _stop(self, problem: str) -> None:
        self._next = None
        self.problems.append(problem)
        self.close()


def _add_copy(target: OutputContainer, stream: AudioStream) -> AudioStream:
    """A stream of the target for the packets of another one."""
    copy = target.add_stream_from_template(stream)
    copy.codec_context.layout = layout_of(stream)  # mp4 refuses channels whose places are not known
    return copy


def _fits(stream: AudioStream, packets: "list[Packet[Any]]", container: str) -> bool:
    """Whether the container can hold the audio stream, tried out on its first packets in memory."""
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
