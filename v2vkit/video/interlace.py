"""Deinterlacing with FFmpeg's bwdif: one frame out for each frame in.

A frame is computed from its own fields and those of its two neighbours. So a part of a video needs one more frame at
both ends to give the same frames as the whole video.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

import av
from av.filter import Graph
from av.video.stream import VideoStream

from v2vkit.video.container import MPEG_TICK

T = TypeVar("T")
_PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE; 0 is unknown, larger values are interlaced


def stated_fields(stream: VideoStream) -> bool | None:
    """Whether a stream states that it is interlaced; None = not stated."""
    order = int(stream.codec_context.field_order)
    return None if order == 0 else order > _PROGRESSIVE


def has_fields(stream: VideoStream, first: av.VideoFrame) -> bool:
    """Whether a video is interlaced, by its stream or, if that states nothing, by its first frame."""
    stated = stated_fields(stream)
    return first.interlaced_frame if stated is None else stated


def deinterlaced(items: Iterable[tuple[T, av.VideoFrame]]) -> Iterator[tuple[T, av.VideoFrame]]:
    """(item, deinterlaced frame) of each (item, frame), delayed by one; frames not marked as interlaced are unchanged.

    The resulting frames carry pixels and colour tags, but no time stamps.
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
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or MPEG_TICK
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
