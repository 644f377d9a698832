"""Deinterlacing with FFmpeg's bwdif: one frame out for each frame in, with the time stamp it had.

A frame is made from its own fields and those of the frames before and after it. Whoever reads a part of a video and
wants the frames of the whole one needs a frame more at both ends.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

import av
from av.filter import Graph
from av.video.stream import VideoStream

T = TypeVar("T")
_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE; 0 is unknown, what is above is interlaced


def stated_fields(stream: VideoStream) -> bool | None:
    """Whether a stream says that it is interlaced; None = it does not say."""
    order = int(stream.codec_context.field_order)
    return None if order == 0 else order > _PROGRESSIVE


def has_fields(stream: VideoStream, first: av.VideoFrame) -> bool:
    """Whether a video is interlaced: as the stream says, or else its first frame."""
    stated = stated_fields(stream)
    return first.interlaced_frame if stated is None else stated


def deinterlaced(items: Iterable[tuple[T, av.VideoFrame]]) -> Iterator[tuple[T, av.VideoFrame]]:
    """(item, frame deinterlaced) of each (item, frame), one frame late; frames not marked as interlaced stay the same.

    The frames that come out carry pixels and colour tags, not time stamps.
    """
    graph: Graph | None = None
    waiting: deque[T] = deque()
    for item, frame in items:
        graph = graph or _bwdif(frame)
        waiting.append(item)
        graph.vpush(frame)
        yield from _ready(graph, waiting)
    if graph is not None:
        graph.vpush(None)
        yield from _ready(graph, waiting)


def _bwdif(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 90000)
    )
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _ready(graph: Graph, waiting: deque[T]) -> Iterator[tuple[T, av.VideoFrame]]:
    while waiting:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield waiting.popleft(), frame
