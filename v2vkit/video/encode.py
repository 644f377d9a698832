"""Video encoding: yuv420p, BT.709 (H.264 by default), every frame exactly once and at its own time.

A file is written under a temporary name beside its target and renamed when it is complete. A pipe gets each frame as
soon as it is encoded (`v2vkit.video.outputs`).
"""

import contextlib
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from v2vkit.errors import DISK_FULL, V2VError, disk_full
from v2vkit.video.audio import AudioCopy, Span
from v2vkit.video.audio_feeds import AudioFeed
from v2vkit.video.geometry import BICUBIC, pad_to_even
from v2vkit.video.outputs import FileOutput, Output
from v2vkit.video.targets import CODECS, HEVC, WITHOUT_DELAY, check_codec, no_frames, size_changed

_BT709, _LIMITED = 1, 1  # matrix, primaries and transfer (ITU-T H.273); AVCOL_RANGE_MPEG

_FINEST, _COARSER = Fraction(1, 1_000_000), Fraction(1, 90_000)
"""Seconds per tick; finer ticks than the first become the second. MP4 stores durations in 32 bits, which overflow after
36 minutes of microseconds. FFmpeg then writes 64 bits, of which other players read half."""


class VideoWriter:
    """Encodes frames one by one; use it as a context manager.

    The file has one frame per `write` call. Odd sizes are padded to even ones by repeating the last row or column
    (yuv420p stores colour for 2 x 2 pixels). After an exception, or without a frame, no file remains.

    Args:
        path: target, ending in .mp4, .mov or .mkv, or another output. An existing file is replaced at the end.
        fps: frame rate, exact (`Fraction(30000, 1001)`); also the average rate stated for variable rate.
        time_base: seconds per tick of `pts`; None = constant rate, frame i at i / fps. Time stamps are kept exactly
            in .mp4 and .mov (those in microseconds or less are rounded to 1/90000 s); .mkv rounds them to
            milliseconds. If the first is negative, all (and the audio) are shifted so that it becomes zero: players
            skip negative times.
        crf: constant quality, 0 (lossless) to 51.
        codec: name of an FFmpeg encoder that takes yuv420p.
        preset: speed against size, for the encoders that have presets.
        audio_from: file (or feed) whose audio streams are copied packet by packet; converted to AAC where players of
            the container do not accept them.
        audio_span: part of that audio to copy, in seconds of its file's clock (None = its beginning or end), in whole
            packets. A given beginning becomes time zero of the video.

    Attributes:
        problems: sentences on audio that could not be copied; complete after the block.
        notes: sentences on audio that was converted; complete after the block.

    Raises:
        V2VError: unknown ending or codec, missing or unwritable folder, frames of different sizes, time stamps that do
            not increase, disk full, no frame.
        BrokenPipeError: the reader of the pipe has closed it.
    """

    def __init__(
        self,
        path: str | Path | Output,
        *,
        fps: Fraction,
        time_base: Fraction | None = None,
        crf: int = 18,
        codec: str = "libx264",
        preset: str = "fast",
        audio_from: str | Path | AudioFeed | None = None,
        audio_span: Span = (None, None),
    ):
        self._output = FileOutput(path) if isinstance(path, (str, Path)) else path
        self.path = self._output.name
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.num_frames = 0
        self._fps, self._given_base = Fraction(fps), time_base
        fine = time_base is not None and time_base <= _FINEST and self._output.format != "matroska"
        self._time_base = _COARSER if fine else time_base
        self._crf, self._codec, self._preset, self._audio_from = crf, codec, preset, audio_from
        self._audio_span = audio_span
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._audio: AudioCopy | None = None
        self._size: tuple[int, int] = (0, 0)
        self._origin = 0
        self._first_pts = 0
        self._last_pts: int | None = None
        self._last_duration: int | None = None
        self._durations: dict[int, int] = {}  # time stamp -> ticks for which the frame is shown
        self._waiting: deque[Packet[VideoStream]] = deque()  # encoded, not yet in the file
        self._first_dts: int | None = None
        self._num_packets = 0
        check_codec(codec)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._abandon()

    def write(self, image: NDArray[np.uint8], *, pts: int | None = None, duration: int | None = None) -> None:
        """Adds one frame.

        Args:
            image: RGB uint8 [H, W, 3]; every frame has the size of the first.
            pts: time stamp in ticks of `time_base`; needed exactly when `time_base` was given.
            duration: ticks for which it is shown if it is the last frame (others: until the next begins); None =
                1 / fps.
        """
        assert (pts is None) == (self._time_base is None), "pts and time_base go together"
        height, width = image.shape[:2]
        pts, duration = self._in_ticks(pts), self._in_ticks(duration)
        stamp = self.num_frames if pts is None else pts
        if self._container is None:
            self._origin = min(0, stamp)
            self._first_pts = stamp - self._origin
            self._open(width, height)
        stamp -= self._origin
        if (width, height) != self._size:
            raise size_changed(self.num_frames, self.path, (width, height), self._size)
        if self._last_pts is not None and stamp <= self._last_pts:
            raise V2VError(
                "timestamp-out-of-order",
                f"Frame {self.num_frames} for {self.path} is not later than the frame before it.",
                "Give the frames in the order in which they are shown.",
            )
        if self._last_pts is not None:
            self._durations[self._last_pts] = stamp - self._last_pts
        self._last_pts, self._last_duration = stamp, duration
        frame = av.VideoFrame.from_ndarray(pad_to_even(image), format="rgb24")
        # Convert AND tag: tagging BT.709 alone would shift every colour, because FFmpeg converts with BT.601.
        frame = frame.reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation=BICUBIC, threads=1
        )
        frame.pts, frame.time_base = stamp, self._ticks
        self._encode(frame, until=float(stamp * self._ticks))
        self.num_frames += 1

    def _in_ticks(self, given: int | None) -> int | None:
        """Converts ticks of the given time base to those of the file."""
        if given is None or self._time_base is None or self._given_base is None or self._time_base == self._given_base:
            return given
        return round(given * self._given_base / self._time_base)

    @property
    def _ticks(self) -> Fraction:
        return 1 / self._fps if self._time_base is None else self._time_base

    def _open(self, width: int, height: int) -> None:
        self._size = (width, height)
        try:
            self._container = self._output.open()
            stream = self._container.add_stream(self._codec, rate=self._fps, time_base=self._ticks)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._failed(error) from None
        assert isinstance(stream, VideoStream)
        context = stream.codec_context
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt = "yuv420p"
        context.time_base = self._ticks
        if self._codec in HEVC and self._output.format in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # of HEVC's two tags the one that Apple's players accept
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        context.options = CODECS[self._codec](self._crf, self._preset)
        if self._output.streamed:
            context.options = context.options | WITHOUT_DELAY.get(self._codec, {})
        self._stream = stream
        if self._audio_from is not None:
            shift = None if self._time_base is None else -self._origin * self._time_base
            self._audio = AudioCopy(self._audio_from, self._container, shift=shift, span=self._audio_span)

    def _encode(self, frame: av.VideoFrame | None, *, until: float | None) -> None:
        assert self._container is not None and self._stream is not None  # noqa: PT018
        try:
            packets = self._stream.encode(frame)
            self._num_packets += len(packets)
            self._waiting.extend(packets)
            self._put(last=frame is None)
            if self._audio is not None:
                self._audio.write_until(until)
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from None

    def _put(self, *, last: bool) -> None:
        """Writes the packets with known durations; keeps the newest one back until `last`."""
        assert self._container is not None
        while self._waiting and (last or (len(self._waiting) > 1 and self._waiting[0].pts in self._durations)):
            packet = self._waiting.popleft()
            self._first_dts = packet.dts if self._first_dts is None else self._first_dts
            duration = self._durations.pop(packet.pts or 0, None)
            if self._time_base is not None and duration is not None:
                packet.duration = duration
            if self._time_base is not None and last and not self._waiting:
                self._close_track(packet)
            self._container.mux(packet)

    def _end(self) -> Fraction:
        """End of the video in seconds; snapped to first frame + number of frames / rate if less than a tick away."""
        assert self._last_pts is not None
        length = 1 / self._fps if self._last_duration is None else self._last_duration * self._ticks
        end = self._last_pts * self._ticks + length
        even = self._first_pts * self._ticks + self.num_frames / self._fps
        return even if abs(even - end) <= self._ticks else end

    def _close_track(self, packet: "Packet[VideoStream]") -> None:
        """Sets the duration of the packet that is decoded last so that the track has the right length: in MP4 that is
        the sum of the packets' durations in decoding order."""
        assert self._container is not None
        assert self._stream is not None
        if self._output.format == "matroska" or packet.dts is None or packet.pts is None:
            return
        self._container.start_encoding()  # chooses the file's ticks
        ticks = self._stream.time_base or self._ticks
        first, begin = self._first_dts or 0, self._first_pts * self._ticks
        rest = self._end() - begin - (packet.dts - first) * self._ticks
        # With a large delay of x264 nothing is left; a frame never gets less than its own duration.
        rest = max(rest, packet.duration * self._ticks if packet.duration else Fraction(0))
        packet.pts, packet.dts = round(packet.pts * self._ticks / ticks), round(packet.dts * self._ticks / ticks)
        packet.time_base, packet.duration = ticks, max(1, round(rest / ticks))

    def end_sound(self) -> None:
        """Leaves out sound after the last frame, which would otherwise be copied to the end of `audio_span`."""
        if self._audio is not None and self._last_pts is not None:
            self._audio.end_at(self._end())

    def _finish(self) -> None:
        if self._container is None or self._last_pts is None:
            raise no_frames(self.path)
        self._durations[self._last_pts] = max(1, round((self._end() - self._last_pts * self._ticks) / self._ticks))
        self._encode(None, until=None)
        try:
            self._container.close()
            self._container = None
            if self._num_packets != self.num_frames:
                raise V2VError(
                    "frame-count-mismatch",
                    f"The encoder {self._codec} made {self._num_packets} frames of {self.num_frames} for {self.path}.",
                    "Choose another codec.",
                )
            self._output.commit()
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from None

    def _abandon(self) -> None:
        """Closes everything and removes the temporary file, if the video was not finished."""
        if self._audio is not None:
            self.problems.extend(self._audio.problems)
            self.notes.extend(self._audio.notes)
            self._audio.close()
            self._audio = None
        if self._container is not None:
            with contextlib.suppress(av.FFmpegError, OSError, ValueError):
                self._container.close()
            self._container = None
        self._output.discard()

    def _failed(self, error: Exception) -> Exception:
        if isinstance(error, BrokenPipeError):
            return error  # the reader closed the pipe: not an error of the video
        if getattr(error, "errno", None) in DISK_FULL:
            return disk_full(self.path)
        reason = getattr(error, "strerror", None) or str(error)
        return V2VError(
            "target-unwritable",
            f"Video {self.path} cannot be written with {self._codec}: {reason}.",
            "Check the permissions of its folder, and the codec.",
        )


def write_video(
    path: str | Path,
    images: Iterable[NDArray[np.uint8]],
    *,
    fps: Fraction,
    crf: int = 18,
    codec: str = "libx264",
    audio_from: str | Path | None = None,
) -> list[str]:
    """Writes all `images` (RGB uint8 [H, W, 3]) at a constant rate; returns sentences on audio that was not copied.

    Raises:
        V2VError: see `VideoWriter`.
    """
    with VideoWriter(path, fps=fps, crf=crf, codec=codec, audio_from=audio_from) as writer:
        for image in images:
            writer.write(image)
    return writer.problems
