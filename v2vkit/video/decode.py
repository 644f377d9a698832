"""Frames of a video, exact by number.

Variable frame rate: frames are never dropped or doubled; each keeps its own time stamp. Where a file gives a frame no
stamp, or one that does not increase, the stamp is continued at the average rate and the frame is marked `repaired`.

AVI tells when packets are decoded and not when frames are shown. What FFmpeg guesses is in disorder where there are B
frames, so that frames of AVI are shown from the first one's stamp on at the pace of decoding.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.video.container import OpenVideo, decode_all, demux, open_video
from v2vkit.video.continuity import is_joined
from v2vkit.video.geometry import Geometry, geometry_of
from v2vkit.video.probe import frame_rate


@dataclass(frozen=True)
class Frame:
    """One picture and when it is shown.

    Attributes:
        image: RGB uint8 [H, W, 3], as displayed (square pixels, right way up).
        pts: time stamp in ticks of `time_base`, strictly increasing from frame to frame.
        time_base: seconds per tick.
        index: number of the frame in the file, from 0.
        repaired: the file's own time stamp was missing or did not increase.
        duration: ticks for which it is shown, as the file says; None where it does not. Where MP4 has B frames, only
            that of the last frame is its own.
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
) -> Iterator[Frame]:
    """The frames `start` (inclusive) to `stop` (exclusive), in the order of display.

    The result is bit for bit what decoding from frame 0 gives. With `start` > 0 the decoder starts at the last key
    frame before it wherever the file allows that to be exact, and at frame 0 otherwise. Decoding stops quietly at the
    end of the file, so that fewer frames than asked for may come.

    Args:
        path: a local video file.
        start: number of the first frame.
        stop: number after the last frame; None = to the end.
        threads: let the decoder use every core; False inside worker processes.
        start_pts: time stamp of frame `start`, known from an earlier pass over the same file in which no frame was
            `repaired`. Saves reading the file up to there to find it.
        long_side: shrink the pictures while decoding so that the longer side is at most this (for shot cuts, previews).

    Raises:
        V2VError: the file is missing, empty, damaged, cut off, not a video, without frames, or changes its picture
            size on the way.
    """
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(f"frames {start} to {stop} of {path}")
    yield from to_frames(path, _stamped(path, start, stop, threads, start_pts), long_side=long_side)


def to_frames(name: str | Path, stamped: "Iterable[Stamped]", *, long_side: int | None = None) -> Iterator[Frame]:
    """Decoded frames as RGB pictures; `long_side` as of `decode`.

    Raises:
        V2VError: the picture size changes on the way.
    """
    geometry: Geometry | None = None
    for video, index, raw, stamp in stamped:
        if geometry is None:
            geometry = geometry_of(video.stream, raw, long_side=long_side)
        if (raw.width, raw.height) != geometry.stored:
            raise V2VError(
                f"Video {name} changes its picture size at frame {index} from "
                f"{geometry.stored[0]}x{geometry.stored[1]} to {raw.width}x{raw.height}.",
                "Convert it to one size, or cut it there, with another program first.",
            )
        image = geometry.to_rgb(raw)
        yield Frame(
            image,
            stamp,
            raw.time_base or Fraction(1, 90000),
            index,
            repaired=raw.pts != stamp,
            duration=_duration(video.stream, index, raw, stamp),
        )


def _duration(stream: VideoStream, index: int, raw: av.VideoFrame, stamp: int) -> int | None:
    """Ticks for which a frame is shown. MP4 keeps the durations in the order of decoding, so that the last frame is
    shown until the track ends."""
    if index + 1 == stream.frames and stream.duration is not None and stream.start_time is not None:
        rest = stream.start_time + stream.duration - stamp
        if rest > 0:
            return rest
    promised = _promised_seconds(stream) if "matroska" in stream.container.format.name else None
    if raw.duration and promised is not None and stream.time_base is not None:
        # Matroska states one duration for all frames, the average behind which a frame after a long gap ends too late.
        rest = round(promised / stream.time_base) - stamp
        return min(raw.duration, rest) if rest > 0 else raw.duration
    return raw.duration or None


Stamped = tuple[OpenVideo, int, av.VideoFrame, int]
"""The open file, the frame's number, the decoded frame and its strictly increasing time stamp."""


def _stamped(path: str | Path, start: int, stop: int | None, threads: bool, start_pts: int | None) -> Iterator[Stamped]:
    if stop == start:
        return
    if start > 0:
        with open_video(path, threads=threads) as video:
            pts = start_pts if start_pts is not None else _find_pts(video, start)
            frames = from_key_frame(video, pts) if pts is not None else None
            if frames is not None:
                yield from number_frames(video, frames, start, stop)
                return
    with open_video(path, threads=threads) as video:
        yield from (item for item in from_beginning(path, video, stop) if item[1] >= start)


def from_beginning(name: str | Path, video: OpenVideo, stop: int | None = None) -> Iterator[Stamped]:
    """Every frame of a stream that has just been opened, up to number `stop` (exclusive).

    Raises:
        V2VError: there is none, or they end before the header says so.
    """
    return to_the_end(name, number_frames(video, decode_all(video), 0, stop), stop)


def to_the_end(name: str | Path, stamped: Iterator[Stamped], stop: int | None = None) -> Iterator[Stamped]:
    """The same frames; once they have ended (before frame `stop`), it is checked that they may.

    Raises:
        V2VError: there is none, or they end before the header says so.
    """
    last = None
    for item in stamped:
        last = item
        yield item
    if last is None:
        raise V2VError(f"Video {name} has no frames.", "Copy or download the file again, or choose another one.")
    if stop is None or last[1] + 1 < stop:
        _check_end(name, last[0].stream, last[2], last[3])


def number_frames(
    video: OpenVideo, frames: Iterator[av.VideoFrame], start: int = 0, stop: int | None = None
) -> Iterator[Stamped]:
    """Numbers the frames from `start` and makes their time stamps strictly increasing."""
    time_base = video.stream.time_base or Fraction(1, 90000)
    step = max(1, round(1 / (frame_rate(video.stream) * time_base)))
    previous: int | None = None
    delay: int | None = None  # of the first frame's stamp behind its packet's
    for index, raw in enumerate(frames, start):
        stamp = raw.pts
        if _is_avi(video.stream) and previous is not None:
            stamp = None if raw.dts is None or delay is None else raw.dts + delay
        elif stamp is not None and raw.dts is not None:
            delay = stamp - raw.dts
        if stamp is None or (previous is not None and stamp <= previous):
            stamp = 0 if previous is None else previous + step
        previous = stamp
        yield video, index, raw, stamp
        if stop is not None and index + 1 >= stop:
            return


def _is_avi(stream: VideoStream) -> bool:
    return "avi" in stream.container.format.name.split(",")


def _find_pts(video: OpenVideo, number: int) -> int | None:
    """Time stamp of frame `number` from the packets alone; None where they do not tell, or there is no such frame."""
    stamps = packet_stamps(video)
    return None if stamps is None or number >= len(stamps) else sorted(stamps)[number]


def packet_stamps(video: OpenVideo, until: Fraction | None = None) -> list[int] | None:
    """The time stamps of the packets from the file's beginning on, in the order of decoding; None where packets do not
    map to frames one to one. With `until` no more are read than are shown so many seconds after the first, and one.

    They do when the first packet is a key frame that is also shown first, and no packet lacks a time stamp, shares one
    with another, is empty or is marked to be discarded (edit lists). AVI counts packets in the order of decoding, so
    that with B frames its time stamps are those of other frames.
    """
    if _is_avi(video.stream) or is_joined(video.container):
        return None
    stamps: list[int] = []
    for packet in demux(*video):
        if packet.dts is None and packet.pts is None and not packet.size:
            continue  # the flush packet at the end
        if packet.pts is None or not packet.size or packet.is_discard or (not stamps and not packet.is_keyframe):
            return None
        stamps.append(packet.pts)
        # No packet is decoded later than it is shown, and later ones are decoded later.
        if until is not None and packet.dts is not None and (packet.dts - stamps[0]) * packet.time_base >= until:
            break
    if not stamps or min(stamps) != stamps[0] or len(set(stamps)) != len(stamps):
        return None
    return stamps


def from_key_frame(video: OpenVideo, pts: int) -> Iterator[av.VideoFrame] | None:
    """Frames from exactly `pts` on, decoded from a key frame at or before it; None when the file does not allow it.

    A key frame may be followed by frames that are shown before it and refer to the group before (open GOP); starting
    from a key frame whose own stamp is not after `pts` leaves all of those out.
    """
    if is_joined(video.container):
        return None
    back, step = pts, max(1, round(1 / (video.stream.time_base or Fraction(1))))
    first_stamp = video.stream.start_time or 0
    while True:
        video.container.seek(max(back, first_stamp), stream=video.stream, backward=True)
        packets = demux(*video)
        # In a transport stream a seek lands amid a group of pictures, before the key frame that is sought.
        packet = next((p for p in packets if p.is_keyframe or not p.size or (p.dts is not None and p.dts > pts)), None)
        if packet is None or packet.pts is None:
            return None
        if packet.is_keyframe and packet.pts <= pts:
            break
        if back <= first_stamp:
            return None
        back, step = back - step, 2 * step
    frames = (frame for part in chain([packet], packets) for frame in part.decode())
    for frame in frames:
        if frame.pts is None or frame.pts > pts or (frame.pts == pts and frame.is_corrupt):
            return None
        if frame.pts == pts:
            return chain([frame], frames)
    return None


def _check_end(name: str | Path, stream: VideoStream, last: av.VideoFrame, stamp: int) -> None:
    """Refuses files that end before their header says so.

    A cut .mp4 fails by itself; Matroska, WebM and AVI just end early, but state how long they should be.
    """
    rate, promised = frame_rate(stream), _promised_seconds(stream)
    if promised is None or last.pts is None or last.time_base is None:
        return
    end = stamp * last.time_base + max(last.duration * last.time_base if last.duration else 0, 1 / rate)
    if end + Fraction(3, 2) / rate < promised:
        raise V2VError(
            f"Video {name} is cut off: it ends after {float(end):.2f} s of {float(promised):.2f} s.",
            "Copy or download the file again.",
        )


def _promised_seconds(stream: VideoStream) -> Fraction | None:
    if _is_avi(stream) and stream.frames:
        return stream.frames / frame_rate(stream)
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if found is None:
        return None
    return int(found[1]) * 3600 + int(found[2]) * 60 + Fraction(found[3])
