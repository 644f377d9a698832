"""Carrying audio over from one file to another, packet by packet, without decoding it."""

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from v2vkit.errors import V2VError
from v2vkit.video.container import demux, open_media, reading

_NUM_TRIAL_PACKETS = 8
# Channels -> what FFmpeg takes so many for where a file (AVI, Matroska with PCM) says nothing else.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


Span = tuple[Fraction | None, Fraction | None]
"""From when to when, in seconds of a file's own clock; None = from its beginning, to its end."""


class AudioCopy:
    """The audio streams of `source` on their way into `target`.

    A stream that the target's container cannot hold is left out and told in `problems`, as is a source that turns out
    to be damaged; neither stops the video.

    Args:
        source: file with audio; a file without any gives nothing to do.
        target: container whose header has not been written yet.
        shift: seconds by which the target's video is later than the source's; None where the target's begins at zero,
            wherever the source's does.
        span: only the packets that begin between these seconds of the source's clock (None = its beginning, its end);
            where a beginning is given, that is when the target begins.
    """

    def __init__(
        self,
        source: str | Path,
        target: OutputContainer,
        *,
        shift: Fraction | None,
        span: Span = (None, None),
    ):
        self.source = source
        self.problems: list[str] = []
        self._target = target
        self._streams: dict[int, AudioStream] = {}
        self._packets: Iterator[Packet[Any]] = iter(())
        self._next: Packet[Any] | None = None
        self._container: InputContainer | None = None
        self._offset, self._span = Fraction(0), span
        try:
            with reading(source):
                self._container = open_media(source)
                self._choose(shift)
                self._next = next(self._packets, None)
        except V2VError as error:
            self._stop(error.message)

    def _choose(self, shift: Fraction | None) -> None:
        assert self._container is not None
        video = self._container.streams.best("video")
        if self._span[0] is not None:
            self._offset = -self._span[0]
        elif shift is not None:
            self._offset = shift
        elif video is not None and video.start_time is not None and video.time_base is not None:
            self._offset = -video.start_time * video.time_base
        for stream in self._container.streams.audio:
            container = self._target.format.name
            if _fits(self.source, stream.index, container):
                self._streams[stream.index] = _add_copy(self._target, stream)
            else:
                other = _fits(self.source, stream.index, "matroska")
                self.problems.append(
                    f"The audio of {self.source} ({stream.codec_context.name if stream.codec_context else 'unknown'}) "
                    f"was left out: {container} files cannot hold this kind of audio. "
                    + ("Write to .mkv, which can." if other else "Convert it to AAC first.")
                )
        wanted = [stream for stream in self._container.streams.audio if stream.index in self._streams]
        if wanted:
            self._packets = (
                packet for packet in demux(self._container, *wanted) if packet.dts is not None and self._wanted(packet)
            )

    def _wanted(self, packet: "Packet[Any]") -> bool:
        assert packet.dts is not None
        time, (begin, end) = packet.dts * packet.time_base, self._span
        return (begin is None or time >= begin) and (end is None or time < end)

    def pump(self, until: float | None) -> None:
        """Writes the packets that begin before `until` seconds; None = all that are left."""
        while self._next is not None:
            packet = self._next
            assert packet.dts is not None
            begin = float(packet.dts * packet.time_base + self._offset)
            if until is not None and begin > until:
                return
            shift = round(self._offset / packet.time_base)
            packet.dts += shift
            if packet.pts is not None:
                packet.pts += shift
            packet.stream = self._streams[packet.stream.index]
            try:
                self._target.mux(packet)
            except ValueError as error:  # time stamps that the container refuses; a full disk is no ValueError
                self._stop(f"the audio of {self.source} stops at {begin:.2f} s: {error}")
                return
            try:
                with reading(self.source):
                    self._next = next(self._packets, None)
            except V2VError as error:
                self._stop(f"the audio of {self.source} stops at {begin:.2f} s: {error.message}")

    def close(self) -> None:
        """Closes the source."""
        if self._container is not None:
            self._container.close()
            self._container = None

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


def _fits(source: str | Path, index: int, container: str) -> bool:
    """Whether the container can hold the audio stream, tried out on its first packets in memory."""
    with open_media(source) as trial_source, io.BytesIO() as file:
        stream = next(stream for stream in trial_source.streams.audio if stream.index == index)
        packets = list(islice((p for p in demux(trial_source, stream) if p.dts is not None), _NUM_TRIAL_PACKETS))
        try:
            with av.open(file, "w", format=container) as trial:
                copy = _add_copy(trial, stream)
                for packet in packets:
                    packet.stream = copy
                    trial.mux(packet)
        except (av.FFmpegError, ValueError):
            return False
    return True
