"""The frame rate of an open video."""

from fractions import Fraction

from v2vkit.config import DEFAULT_RATE
from v2vkit.video.container import OpenVideo, is_avi, is_raw


def frame_rate(video: OpenVideo) -> Fraction:
    """The average frame rate, else FFmpeg's guess, else 25.

    Raw streams have no average (FFmpeg's demuxer always returns 25): `VideoOptions.raw_rate` is used, else the rate in
    their headers, which the decoder reads. AVI counts ticks, of which an H.264 frame may take two; FFmpeg's guess
    accounts for that.
    """
    stream = video.stream
    rates = [stream.average_rate, stream.guessed_rate, stream.base_rate]
    if is_raw(video.container):
        rates = [video.options.raw_rate, stream.codec_context.framerate, stream.guessed_rate]
    elif is_avi(video.container):
        rates = [stream.guessed_rate, stream.average_rate]
    return next((rate for rate in rates if rate is not None and 0 < rate <= 1000), DEFAULT_RATE)


def stated_frames(video: OpenVideo) -> int | None:
    """The number of frames in the header; None if it states none, or counts ticks instead (AVI)."""
    counts_ticks = is_avi(video.container) and frame_rate(video) != video.stream.average_rate
    return None if counts_ticks else video.stream.frames or None
