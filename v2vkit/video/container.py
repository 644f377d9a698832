"""Opening of untrusted video files; every failure becomes a V2VError that names the file.

Only demuxers of real video and audio files are allowed. Otherwise FFmpeg opens play lists and concat scripts, which
read other files or the network, and renders text files as video.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from v2vkit.config import MAX_PIXELS
from v2vkit.errors import V2VError
from v2vkit.video.choose_stream import choose_video
from v2vkit.video.continuity import Clock, may_jump, streams_with_time
from v2vkit.video.damage import Damage
from v2vkit.video.file_kinds import refuse_remote, why_unreadable
from v2vkit.video.geometry import square_pixel_size
from v2vkit.video.options import VideoOptions
from v2vkit.video.pipes import STANDARD_INPUT, PipeReader, check_standard_input
from v2vkit.weights.files import refuse_pointer

MPEG_TICK = Fraction(1, 90000)
"""Time base of MPEG in seconds: of streams that state none."""
_DEMUXERS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,ivf,mjpeg,flv,asf,ogg,gif,apng,mxf,dv,nut,"
    "yuv4mpegpipe,wav,mp3,aac,flac,aiff,ac3"
)
_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
# No protocol is allowed. A shorter analysis than for files lets the first frame come out sooner.
_PIPE_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "", "analyzeduration": "1000000"}
_COPY = "Copy or download the file again."
_READABLE = "Give a video file such as .mp4, .mov, .mkv, .webm or .avi that plays from beginning to end."


class OpenVideo(NamedTuple):
    """An open file, its video stream, how it is read, and the damage found in it so far."""

    container: InputContainer
    stream: VideoStream
    options: VideoOptions
    damage: Damage


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turns FFmpeg's errors inside the block into V2VErrors that name the file."""
    try:
        yield
    except (av.FFmpegError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise V2VError(
            "video-damaged", f"Video {path} is damaged, cut off or not a video ({reason}).", _READABLE
        ) from None


def check_file(path: str | Path) -> None:
    """Refuses files that cannot be media files, before FFmpeg opens them.

    Raises:
        V2VError: the path does not exist, is a folder or special file, is empty or may not be read.
    """
    file = Path(path)
    refuse_remote(path)
    try:
        if not file.exists():
            raise V2VError("file-missing", f"Video {path} does not exist.", "Check the path.")
        if file.is_dir():
            raise V2VError("file-required", f"{path} is a folder, not a video file.", "Give a video file.")
        if not file.is_file():
            raise V2VError("file-required", f"{path} is not a regular file.", "Give a video file.")
        if file.stat().st_size == 0:
            raise V2VError("file-empty", f"Video {path} is empty (0 bytes).", _COPY)
        if (reason := why_unreadable(file)) is not None:
            raise V2VError(
                "format-unsupported", f"{path}: {reason}.", "A folder of numbered pictures can be named as a video is."
            )
        refuse_pointer(file)
    except OSError as error:
        raise V2VError(
            "file-unreadable", f"Video {path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from None


def open_media(path: str | Path) -> InputContainer:
    """The file as an FFmpeg container, which the caller closes; call it inside `reading`."""
    check_file(path)
    # "file:" keeps a name such as "a:b.mp4" from being taken for a protocol.
    return av.open(f"file:{path}", options=_OPTIONS, metadata_errors="replace")


@contextmanager
def open_video(
    path: str | Path, *, threads: bool = True, options: VideoOptions | None = None, damage: Damage | None = None
) -> Iterator[OpenVideo]:
    """The container and its video stream; FFmpeg's errors inside the block become V2VErrors.

    Args:
        path: a local video file.
        threads: let the decoder use every core; False means one thread.
        options: how it is read; None = defaults.
        damage: records what cannot be decoded.

    Raises:
        V2VError: missing, empty, unreadable, without a video stream (as is audio with a cover picture), without the
            chosen stream, or with frames larger than `MAX_PIXELS`.
    """
    options = options or VideoOptions()
    with reading(path), open_media(path) as container:
        stream = _video_stream(path, container, options)
        _check_index(path, stream)
        stream.thread_type = "AUTO" if threads else "NONE"
        stream.codec_context.thread_count = 0 if threads else 1
        yield OpenVideo(container, stream, options, damage or Damage())


@contextmanager
def open_pipe(options: VideoOptions | None = None, damage: Damage | None = None) -> Iterator[OpenVideo]:
    """A video from standard input, like a file of `open_video` but without seeking.

    The decoder uses slice threads, not frame threads, so each frame comes out as soon as it is complete.

    Raises:
        V2VError: standard input is empty, or as `open_video`.
    """
    check_standard_input()
    pipe = PipeReader()
    try:
        with reading(STANDARD_INPUT):
            # Not closed here: the audio copy still needs its streams. It is freed with the last of them.
            container = av.open(pipe, "r", options=_PIPE_OPTIONS, metadata_errors="replace")
            options = options or VideoOptions()
            stream = _video_stream(STANDARD_INPUT, container, options)
            stream.thread_type = "SLICE"
            stream.codec_context.thread_count = 0
            yield OpenVideo(container, stream, options, damage or Damage())
    except V2VError:
        if pipe.num_bytes == 0:
            raise V2VError(
                "stdin-empty", "Standard input is empty (0 bytes).", "Check the command whose output it is."
            ) from None
        raise


def _video_stream(name: str | Path, container: InputContainer, options: VideoOptions) -> VideoStream:
    """The video stream of a container.

    Raises:
        V2VError: as `open_video`.
    """
    stream = choose_video(name, container, options.stream)
    if stream is None:
        kind = "only audio" if container.streams.audio else "no video stream"
        raise V2VError("video-stream-missing", f"{name} holds {kind}.", _READABLE)
    if stream.codec_context is None:  # although PyAV's annotation promises one
        raise V2VError("codec-unsupported", f"No decoder for the codec of video {name} is available.", _READABLE)
    width, height = stream.codec_context.width, stream.codec_context.height
    if width < 1 or height < 1:
        raise V2VError("video-damaged", f"Video {name} states no picture size: it is damaged or cut off.", _READABLE)
    # Both as stored and as displayed: a pixel may be displayed up to 16 times as wide as high.
    size = max((width, height), square_pixel_size(stream))
    if size[0] * size[1] > MAX_PIXELS:
        raise V2VError(
            "image-too-large",
            f"Video {name} claims {size[0]}x{size[1]} pixels, more than the allowed {MAX_PIXELS} in all.",
            "Scale the video down with another program first.",
        )
    return stream


def demux(container: InputContainer, *streams: Stream) -> Iterator["Packet[Any]"]:
    """The packets of some streams, and at the end an empty packet for each, which flushes its decoder.

    Works around PyAV (up to 18.1): it reads past the end of its table of chosen streams when another stream begins
    late, as transport streams may. It then returns packets of that stream, or raises an IndexError after the flush.

    Where the clock of a transport or program stream jumps, later packets are shifted (`v2vkit.video.continuity`).
    """
    num_flushed = 0
    clock = Clock() if may_jump(container) else None
    try:
        for packet in container.demux(*(streams if clock is None else streams_with_time(container))):
            if clock is not None:
                clock.move(packet)
            if any(packet.stream is stream for stream in streams):
                num_flushed += not packet.size
                yield packet
    except IndexError:
        if num_flushed < len(streams):
            raise


def decode_all(video: OpenVideo) -> Iterator[av.VideoFrame]:
    """Every frame of a video that has just been opened; records in `video.damage` what cannot be decoded."""
    return video.damage.decode(demux(video.container, video.stream))


def is_avi(container: InputContainer) -> bool:
    """Whether the file is AVI, which states when packets are decoded and not when frames are shown."""
    return "avi" in container.format.name.split(",")


def is_raw(container: InputContainer) -> bool:
    """Whether the file is a raw stream without a container, and so without time stamps."""
    return container.format.name in ("h264", "hevc", "mpegvideo", "m4v", "mjpeg")


def _check_index(path: str | Path, stream: VideoStream) -> None:
    """Refuses an .mp4 or .mov whose index points beyond the end of the file.

    FFmpeg would decode such a file up to the cut, or fail before it.
    """
    size = Path(path).stat().st_size
    if "mov" in stream.container.format.name and any(item.pos + item.size > size for item in stream.index_entries):
        raise V2VError("video-damaged", f"Video {path} is cut off: it has {size} bytes, its frames need more.", _COPY)
