"""Choice of the video stream to read: files also hold cover pictures, thumbnails and second cameras."""

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from v2vkit.errors import V2VError


def choose_video(name: object, container: InputContainer, number: int | None = None) -> VideoStream | None:
    """The video stream to read: FFmpeg's choice, or the largest other stream where FFmpeg chooses a single picture.

    Args:
        name: of the file, for messages.
        container: the open file.
        number: the user's choice: index among the video streams, from 0; None = automatic.

    Returns:
        None if there are no video streams except cover pictures.

    Raises:
        V2VError: there is no stream of that number.
    """
    streams = container.streams.video
    if number is not None:
        if number >= len(streams):
            raise V2VError(
                "stream-unknown",
                f"{name} has no video stream {number}: {described_streams(container) or 'it has none'}.",
                "Give another --stream (they are numbered from 0), or leave it out.",
            )
        return streams[number]
    real = real_streams(container)
    best = container.streams.best("video")
    if not real or any(stream is best for stream in real):
        return real[0] if len(real) == 1 else best if isinstance(best, VideoStream) and real else None
    return max(real, key=lambda stream: stream.width * stream.height)


def real_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams except cover pictures, and except single pictures if any other stream exists."""
    videos = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    return [stream for stream in videos if stream.frames != 1] or videos


def described_streams(container: InputContainer) -> str:
    """Numbers, sizes and lengths of the video streams, as a list."""
    return ", ".join(f"{number} ({_described(stream)})" for number, stream in enumerate(container.streams.video))


def _described(stream: VideoStream) -> str:
    if Disposition.attached_pic in stream.disposition or stream.frames == 1:
        return "a single picture"
    seconds = None if stream.duration is None or stream.time_base is None else stream.duration * stream.time_base
    length = "" if seconds is None else f", {float(seconds):.4g} s"
    return f"{stream.width}x{stream.height}{length}"
