"""Carrying audio over from one file to another, packet by packet, without decoding it."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from v2vkit.errors import V2VError, counted
from v2vkit.video.audio_feeds import AudioFeed, FileAudio
from v2vkit.video.container import reading

# Channels -> what FFmpeg takes so many for where a file (AVI, Matroska with PCM) says nothing else.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


Span = tuple[Fraction | None, Fraction | None]
"""From when to when, in seconds of a file's own clock; None = from its beginning, to its end."""


class AudioCopy:
    """The audio streams of `source` on their way into `target`.

    A stream that the target's container cannot hold is left out and told in `problems`, as is a source that turns out
    to be damaged; neither stops the video.

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
        self._target = target
        self._streams: dict[int, AudioStream] = {}
        self._feed: AudioFeed | None = None
        self._next: Packet[Any] | None = None
        self._begin: float | None = None  # of the last packet that was written, in seconds
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
            if _fits(stream, feed.first_packets(stream.index), container):
                self._streams[stream.index] = _add_copy(self._target, stream)
            else:
                other = _fits(stream, feed.first_packets(stream.index), "matroska")
                self.problems.append(
                    f"The audio of {self.source} ({stream.codec_context.name if stream.codec_context else 'unknown'}) "
                    f"was left out: {container} files cannot hold this kind of audio. "
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
            packet.stream = self._streams[packet.stream_index]
            try:
                self._target.mux(packet)
            except ValueError as error:  # time stamps that the container refuses; a full disk is no ValueError
                self._stop(f"the audio of {self.source} stops at {begin:.2f} s: {error}")

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
    layout = stream.codec_context.layout
    # mp4 refuses channels whose places are not known.
    if layout.name == f"{layout.nb_channels} channels" and layout.nb_channels in _LAYOUTS:
        copy.codec_context.layout = _LAYOUTS[layout.nb_channels]
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
