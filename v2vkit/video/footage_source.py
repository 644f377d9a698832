"""Opens videos, pipes and folders of pictures as `Source`s: the first frame is read at once, the others on demand."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from typing import Any

from av import VideoFrame
from av.packet import Packet

from v2vkit.config import DEFAULT_RATE
from v2vkit.video.audio_feeds import PipedAudio
from v2vkit.video.container import OpenVideo, demux, is_raw, open_pipe, open_video
from v2vkit.video.continuity import begin_of, may_jump
from v2vkit.video.damage import Damage
from v2vkit.video.decode import (
    Frame,
    Stamped,
    from_beginning,
    is_interlaced,
    number_frames,
    to_frames,
    to_the_end,
)
from v2vkit.video.footage import read_frames
from v2vkit.video.limits import Limits, Part, find_part, no_frames_within, within
from v2vkit.video.numbering import pairing_name
from v2vkit.video.options import VideoOptions
from v2vkit.video.pipes import STANDARD_INPUT
from v2vkit.video.probe import lacks_frame_rate, probe
from v2vkit.video.rates import frame_rate, stated_frames
from v2vkit.video.remarks import remarks_on
from v2vkit.video.seeking import from_key_frame
from v2vkit.video.sources import find_sequence, sequence_problems
from v2vkit.video.stream import AudioTrack, InputFrame, Source

_LATE = 10
"""Seconds; if a file's clock begins later than this (as in broadcasts), rendered time stamps begin at zero."""


@dataclass(frozen=True)
class _Opened:
    """What is known of an open video before its frames are read.

    Attributes:
        fps: average frame rate; None = known only after reading all packets.
        begin: begin of the video in seconds of its own clock; of the earlier of audio and video in transport and
            program streams; None = unknown.
        end: end of the limits on that clock; None = the video's end.
        num_frames: number of frames within the limits; None = known only after reading.
        whole: all frames are within the limits.
        audio: source of its sound; None = it has none.
        timed: it has time stamps.
        remarks: sentences on conversions that a user may not expect.
        anywhere: it is a transport or program stream, whose clock begins at an arbitrary time.
    """

    fps: Fraction | None
    begin: Fraction | None
    end: Fraction | None
    num_frames: int | None
    whole: bool
    audio: str | PipedAudio | None
    timed: bool
    remarks: tuple[str, ...]
    anywhere: bool

    @property
    def late(self) -> bool:
        return self.begin is not None and (self.anywhere or self.begin > _LATE)


_Reading = Generator[tuple[_Opened, Frame], None, None]
"""The frames of a video, each with the facts about it; the video stays open until they end."""


def open_video_source(
    path: str, *, start: float = 0.0, duration: float | None = None, options: VideoOptions | None = None
) -> Source:
    """A video file, opened once, also for a part in the middle.

    It is opened again only for its sound, for a second pass over its frames, if its packets do not allow exact seeking
    (open groups of pictures), and if its rate has to be computed from all packets (Matroska without a default
    duration).

    Args:
        path: a local file.
        start, duration: the part that is used, in seconds.
        options: how it is read; None = defaults.

    Raises:
        V2VError: it cannot be read, or that part has no frames.
    """
    limits, options, damage = Limits.typed(start, duration, None), options or VideoOptions(), list[Damage]()
    opened, first, read = _begin(path, lambda: _read_file(path, limits, options, damage))
    source = _source(path, opened, first, read)
    return replace(source, fps=opened.fps or probe(path).fps, problems=lambda: _worst(damage))


def open_pipe_source(
    *, start: float = 0.0, duration: float | None = None, options: VideoOptions | None = None
) -> Source:
    """A video from standard input, in any container that can be read without seeking, or y4m.

    Frames before `start` are decoded and dropped. Its sound is held in memory until its frames are written.

    Raises:
        V2VError: standard input is empty or holds no video, or that part has no frames.
    """
    limits = Limits.typed(start, duration, None)
    damage = Damage()
    opened, first, read = _begin(STANDARD_INPUT, lambda: _read_pipe(limits, options or VideoOptions(), damage))
    source = _source(STANDARD_INPUT, opened, first, read)
    return replace(source, repeatable=False, problems=damage.problems)


def _worst(damage: list[Damage]) -> list[str]:
    """The problems found by the longest of several passes over a video."""
    return max(damage, key=lambda each: each.num_decoded).problems()


def open_picture_source(path: str, *, fps: Fraction) -> Source:
    """A folder of pictures, read as by `ingest`, or a single picture, at a constant rate.

    Raises:
        V2VError: as `find_sequence`, or the first picture cannot be read. The others raise when they are read.
    """
    files, problems = find_sequence(path), sequence_problems(path)  # now: the target may be written into the folder
    unread = [read_frames(files, fps=fps)]
    first = next(unread[0])

    def frames() -> Iterator[InputFrame]:
        again = chain([first], unread.pop()) if unread else read_frames(files, fps=fps)
        return (InputFrame(frame.image) for frame in again)

    height, width = first.image.shape[:2]
    count = len(files.images)
    names = tuple(pairing_name(name) for name in files.images)
    return Source(path, width, height, fps, frames, num_frames=count, problems=lambda: problems, names=names)


def _source(name: str, opened: _Opened, first: Frame, read: Callable[[], _Reading]) -> Source:
    origin = 0 if opened.whole and not opened.late else first.pts
    if opened.whole and opened.anywhere and opened.begin is not None:
        origin = round(opened.begin / first.time_base)

    def frames() -> Iterator[InputFrame]:
        with closing(read()) as reading:
            for _, frame in reading:
                yield InputFrame(frame.image, frame.pts - origin, frame.duration)

    height, width = first.image.shape[:2]
    begin = first.pts * first.time_base if not opened.whole else opened.begin if opened.late else None
    return Source(
        name,
        width,
        height,
        opened.fps or DEFAULT_RATE,
        frames,
        time_base=first.time_base,
        num_frames=opened.num_frames,
        audio=None if opened.audio is None else AudioTrack(opened.audio, (begin, opened.end)),
        timed=opened.timed,
        remarks=opened.remarks,
    )


def _begin(name: str, read: Callable[[], _Reading]) -> tuple[_Opened, Frame, Callable[[], _Reading]]:
    """Opens a video: its facts, its first frame, and a function that reads all frames, at first without reopening it.

    Raises:
        V2VError: it has no frame within the limits.
    """
    reading = read()
    opened, first = next(reading, (None, None))
    if opened is None or first is None:
        raise no_frames_within(name)

    def resumed() -> _Reading:
        with closing(reading):
            yield opened, first
            yield from reading

    unread = [resumed()]
    return opened, first, lambda: unread.pop() if unread else read()


def _read_file(path: str, limits: Limits, options: VideoOptions, reports: list[Damage]) -> _Reading:
    part = None
    reports.append(Damage())
    with open_video(path, options=options, damage=reports[-1]) as video:
        if limits == Limits():
            yield from _described(path, video, from_beginning(path, video), limits)
            return
        part = find_part(path, video, limits)
        fields = is_interlaced(path, video)
        # A deinterlacer needs the frame before the first one; it lies outside the limits and is dropped.
        lead = fields and part is not None and part.start > 0
        sought = None if part is None else from_key_frame(video, part.start_pts, lead=lead)
        if part is not None and sought is not None:
            stamped = to_the_end(path, number_frames(video, sought, part.start - lead))
            yield from _described(path, video, stamped, limits, part, fields=fields)
            return
    reports[-1] = Damage()
    with open_video(path, options=options, damage=reports[-1]) as video:
        yield from _described(path, video, from_beginning(path, video), limits, part, fields=fields)


def _read_pipe(limits: Limits, options: VideoOptions, damage: Damage) -> _Reading:
    with open_pipe(options, damage) as video:
        sound = PipedAudio(STANDARD_INPUT, video.container.streams.audio)
        stamped = to_the_end(STANDARD_INPUT, number_frames(video, _decoded(video, sound)))
        yield from _described(STANDARD_INPUT, video, stamped, limits, sound=sound if sound.streams else None)


def _decoded(video: OpenVideo, sound: PipedAudio) -> Iterator[VideoFrame]:
    """The frames of a pipe; the audio packets between them go to `sound`."""

    def pictures() -> "Iterator[Packet[Any]]":
        for packet in demux(video.container, video.stream, *sound.streams):
            if packet.stream is video.stream:
                yield packet
            elif packet.dts is not None:
                sound.put(packet)

    return video.damage.decode(pictures())


def _described(
    name: str,
    video: OpenVideo,
    stamped: Iterator[Stamped],
    limits: Limits,
    part: Part | None = None,
    sound: PipedAudio | None = None,
    fields: bool | None = None,
) -> _Reading:
    """The frames within the limits; `sound`: of a pipe (files are opened by name); `fields` as in `to_frames`."""
    beginning = next(stamped)
    frames = to_frames(name, chain([beginning], stamped), fields=fields)
    first = next(frames)
    frames = chain([first], frames)
    origin = first.pts * first.time_base if part is None else part.origin
    end = None if limits.duration is None else origin + limits.start + limits.duration
    stream, everything = video.stream, limits == Limits()
    anywhere = may_jump(video.container)
    begin = None if stream.start_time is None else stream.start_time * first.time_base
    if anywhere:
        begin = begin_of(video.container, stream)
    opened = _Opened(
        fps=None if lacks_frame_rate(video) else frame_rate(video),
        begin=begin,
        end=end if part is None else part.end,
        num_frames=part.num_frames if part is not None else stated_frames(video) if everything else None,
        whole=everything or (part is not None and part.whole),
        audio=sound or (name if video.container.streams.audio else None),
        timed=not is_raw(video.container),
        remarks=remarks_on(video, beginning[2]),
        anywhere=anywhere,
    )
    for frame in frames if everything else within(frames, limits, origin=origin):
        yield opened, frame
