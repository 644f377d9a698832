"""Frame-exact decoding of videos.

Variable frame rate: frames are never dropped or doubled; each keeps its own time stamp. Where a frame has no stamp, or
one that does not increase, its stamp is extrapolated at the average rate and the frame is marked `repaired`.

AVI states when packets are decoded and not when frames are shown. FFmpeg's guess is out of order with B frames, so
AVI frames get the first frame's stamp plus the decoding time that has passed since.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.video.container import MPEG_TICK, OpenVideo, decode_all, is_avi, is_raw, open_video
from v2vkit.video.damage import Damage
from v2vkit.video.geometry import geometry_of
from v2vkit.video.interlace import deinterlaced, has_fields, stated_fields
from v2vkit.video.options import VideoOptions
from v2vkit.video.rates import frame_rate, stated_frames
from v2vkit.video.seeking import find_pts, from_key_frame


@dataclass(frozen=True)
class Frame:
    """One picture and when it is shown.

    Attributes:
        image: RGB uint8 [H, W, 3], as displayed (square pixels, right way up).
        pts: time stamp in ticks of `time_base`, strictly increasing from frame to frame.
        time_base: seconds per tick.
        index: number of the frame in the file, from 0.
        repaired: the file's own time stamp was missing or did not increase.
        duration: ticks for which it is shown, as stated by the file; None = not stated. In MP4 with B frames only the
            last frame's duration is its own.
    """

    image: NDArray[np.uint8]
    pts: int
    time_base: Fraction
    index: int
    repaired: bool = False
    duration: int | None = None


def decode(
    path: str | Path,
    start: int = 0,
    stop: int | None = None,
    *,
    threads: bool = True,
    start_pts: int | None = None,
    long_side: int | None = None,
    options: VideoOptions | None = None,
    damage: Damage | None = None,
) -> Iterator[Frame]:
    """The frames `start` (inclusive) to `stop` (exclusive), in the order of display.

    The result is bit-identical to decoding from frame 0. With `start` > 0 the decoder starts at the preceding key
    frame if the file allows that to be exact, and at frame 0 otherwise. At the end of the file decoding ends without an
    error, possibly before `stop`.

    Args:
        path: a local video file.
        start: number of the first frame.
        stop: number after the last frame; None = to the end.
        threads: let the decoder use every core; False inside worker processes.
        start_pts: time stamp of frame `start`, if known from an earlier pass in which no frame was `repaired`. Saves
            reading the packets before it.
        long_side: shrink the pictures so that the longer side is at most this many pixels (shot detection, previews).
        options: how it is read; None = defaults.
        damage: records frames that cannot be decoded. They are left out, and later frames are numbered without them.

    Raises:
        V2VError: the file is missing, empty, mostly undecodable, cut off, not a video, without frames, or its picture
            size changes.
    """
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(f"frames {start} to {stop} of {path}")
    if stop == start:
        return
    if start > 0:
        with open_video(path, threads=threads, options=options, damage=damage) as video:
            fields = is_interlaced(path, video)
            pts = start_pts if start_pts is not None else find_pts(video, start)
            frames = from_key_frame(video, pts, lead=fields) if pts is not None else None
            if frames is not None:
                stamped = number_frames(video, frames, start - fields, None if stop is None else stop + fields)
                yield from _numbered(to_frames(path, stamped, long_side=long_side, fields=fields), start, stop)
                return
    with open_video(path, threads=threads, options=options, damage=damage) as video:
        fields = is_interlaced(path, video)
        stamped = from_beginning(path, video, None if stop is None else stop + fields)
        stamped = (item for item in stamped if item[1] >= start - fields)
        yield from _numbered(to_frames(path, stamped, long_side=long_side, fields=fields), start, stop)


def _numbered(frames: Iterator[Frame], start: int, stop: int | None) -> Iterator[Frame]:
    """The frames numbered `start` to `stop` (exclusive)."""
    return (frame for frame in frames if frame.index >= start and (stop is None or frame.index < stop))


def is_interlaced(path: str | Path, video: OpenVideo) -> bool:
    """Whether the frames of a video that has just been opened need deinterlacing.

    Decided by its stream or, if that states nothing, by its first frame, for which the file is opened again.

    Raises:
        V2VError: as `decode`.
    """
    stated = stated_fields(video.stream)
    if stated is not None or not video.options.deinterlace:
        return bool(stated) and video.options.deinterlace
    with open_video(path, threads=False, options=video.options) as other:
        first = next(decode_all(other), None)
        return first is not None and has_fields(other.stream, first)


def to_frames(
    name: str | Path, stamped: "Iterable[Stamped]", *, long_side: int | None = None, fields: bool | None = None
) -> Iterator[Frame]:
    """Decoded frames as RGB pictures; `long_side` as in `decode`.

    Args:
        fields: whether to deinterlace, which delays frames by one; None = if the video is interlaced and its options
            allow it.

    Raises:
        V2VError: the picture size changes.
    """
    items = _one_size(name, stamped)
    first = next(items, None)
    if first is None:
        return
    video, _, raw, _ = first
    if fields is None:
        fields = video.options.deinterlace and has_fields(video.stream, raw)
    geometry = geometry_of(video.stream, raw, long_side=long_side)
    # The file is already closed when the deinterlacer returns its last frame, so all metadata is read before.
    pairs = ((_timed(item), item[2]) for item in chain([first], items))
    for timed, picture in deinterlaced(pairs) if fields else pairs:
        yield timed(geometry.to_rgb(picture))


def _timed(item: "Stamped") -> Callable[[NDArray[np.uint8]], Frame]:
    """A function from the picture to the complete frame."""
    video, index, raw, stamp = item
    return partial(
        Frame,
        pts=stamp,
        time_base=raw.time_base or MPEG_TICK,
        index=index,
        repaired=raw.pts != stamp,
        duration=_duration(video, index, raw, stamp),
    )


def _one_size(name: str | Path, stamped: "Iterable[Stamped]") -> "Iterator[Stamped]":
    """Passes frames through and checks their size.

    Raises:
        V2VError: the picture size changes.
    """
    size: tuple[int, int] | None = None
    for item in stamped:
        _, index, raw, _ = item
        size = size or (raw.width, raw.height)
        if (raw.width, raw.height) != size:
            raise V2VError(
                "size-mismatch",
                f"Video {name} changes its picture size at frame {index} from "
                f"{size[0]}x{size[1]} to {raw.width}x{raw.height}.",
                "Convert it to one size, or cut it there, with another program first.",
            )
        yield item


def _duration(video: OpenVideo, index: int, raw: av.VideoFrame, stamp: int) -> int | None:
    """Ticks for which a frame is shown; None = unknown. MP4 stores durations in decoding order, so the last frame is
    shown until the track ends. An AVI frame may take more ticks than stated."""
    stream = video.stream
    if is_raw(video.container) or (is_avi(video.container) and stated_frames(video) != (stream.frames or None)):
        return None
    if index + 1 == stream.frames and stream.duration is not None and stream.start_time is not None:
        rest = stream.start_time + stream.duration - stamp
        if rest > 0:
            return rest
    promised = _promised_seconds(video) if "matroska" in stream.container.format.name else None
    if raw.duration and promised is not None and stream.time_base is not None:
        # Matroska states one average duration for all frames, which may extend the last one beyond the end.
        rest = round(promised / stream.time_base) - stamp
        return min(raw.duration, rest) if rest > 0 else raw.duration
    return raw.duration or None


Stamped = tuple[OpenVideo, int, av.VideoFrame, int]
"""The open file, the frame's number, the decoded frame and its strictly increasing time stamp."""


def from_beginning(name: str | Path, video: OpenVideo, stop: int | None = None) -> Iterator[Stamped]:
    """Every frame of a stream that has just been opened, up to number `stop` (exclusive).

    Raises:
        V2VError: there are none, or the file is cut off.
    """
    return to_the_end(name, number_frames(video, decode_all(video), 0, stop), stop)


def to_the_end(name: str | Path, stamped: Iterator[Stamped], stop: int | None = None) -> Iterator[Stamped]:
    """Passes frames through; if they end before frame `stop`, checks that the file is complete.

    Raises:
        V2VError: there are none, or the file is cut off.
    """
    last = None
    for item in stamped:
        last = item
        yield item
    if last is None:
        raise V2VError(
            "frames-missing", f"Video {name} has no frames.", "Copy or download the file again, or choose another one."
        )
    if stop is None or last[1] + 1 < stop:
        _check_end(name, last[0], last[2], last[3])


def number_frames(
    video: OpenVideo, frames: Iterator[av.VideoFrame], start: int = 0, stop: int | None = None
) -> Iterator[Stamped]:
    """Numbers the frames from `start` and makes their time stamps strictly increasing."""
    time_base = video.stream.time_base or MPEG_TICK
    step = max(1, round(1 / (frame_rate(video) * time_base)))
    previous: int | None = None
    delay: int | None = None  # from the first frame's decoding time stamp to its presentation time stamp
    for index, raw in enumerate(frames, start):
        if raw.is_corrupt:
            video.damage.marked.append(index)
        stamp = None if is_raw(video.container) else raw.pts
        if is_avi(video.container) and previous is not None:
            stamp = None if raw.dts is None or delay is None else raw.dts + delay
        elif stamp is not None and raw.dts is not None:
            delay = stamp - raw.dts
        if stamp is None or (previous is not None and stamp <= previous):
            stamp = 0 if previous is None else previous + step
        previous = stamp
        yield video, index, raw, stamp
        if stop is not None and index + 1 >= stop:
            return


def _check_end(name: str | Path, video: OpenVideo, last: av.VideoFrame, stamp: int) -> None:
    """Refuses files that are shorter than their header states.

    A cut .mp4 fails by itself; Matroska, WebM and AVI end early without an error, but state their length.
    """
    rate, promised = frame_rate(video), _promised_seconds(video)
    if promised is None or last.pts is None or last.time_base is None:
        return
    end = stamp * last.time_base + max(last.duration * last.time_base if last.duration else 0, 1 / rate)
    if end + Fraction(3, 2) / rate < promised:
        raise V2VError(
            "video-damaged",
            f"Video {name} is cut off: it ends after {float(end):.2f} s of {float(promised):.2f} s.",
            "Copy or download the file again.",
        )


def _promised_seconds(video: OpenVideo) -> Fraction | None:
    if is_avi(video.container) and video.stream.frames:
        return video.stream.frames / (video.stream.average_rate or frame_rate(video))
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", video.stream.metadata.get("DURATION", ""))
    if found is None:
        return None
    return int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3])
