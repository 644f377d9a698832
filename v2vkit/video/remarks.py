"""Sentences on what reading does to a video that its user may not expect."""

import av
from av.container import InputContainer
from av.stream import Disposition

from v2vkit.video.choose_stream import described_streams, real_streams
from v2vkit.video.container import OpenVideo, is_raw
from v2vkit.video.hdr import transfer_of
from v2vkit.video.interlace import has_fields
from v2vkit.video.rates import frame_rate


def remarks_on(video: OpenVideo, first: av.VideoFrame) -> tuple[str, ...]:
    """Sentences on an open video, to be printed after its name and a colon.

    Args:
        video: the open video.
        first: its first decoded frame.
    """
    found = []
    if choice := _which_stream(video.container, video):
        found.append(choice)
    if transfer := transfer_of(first):
        found.append(f"HDR video ({transfer}) is tone-mapped to SDR (BT.709).")
    if has_fields(video.stream, first):
        found.append(
            "interlaced video is deinterlaced (--keep-interlaced leaves it)."
            if video.options.deinterlace
            else "interlaced video is left as it is."
        )
    if is_raw(video.container):
        rate_hint = "--fps" if video.options.raw_rate is not None else "--fps gives another rate"
        found.append(
            f"a raw stream has no time stamps; it is taken at {float(frame_rate(video)):g} frames/s ({rate_hint})."
        )
    return tuple(found)


def _which_stream(container: InputContainer, video: OpenVideo) -> str | None:
    videos = container.streams.video
    number = next(i for i, stream in enumerate(videos) if stream is video.stream)
    real = real_streams(container)
    others = [stream for stream in videos if stream is not video.stream]
    if real == [video.stream] and all(Disposition.attached_pic in stream.disposition for stream in others):
        return None
    return f"of its {len(videos)} video streams, {described_streams(container)}, {number} is used (--stream chooses)."
