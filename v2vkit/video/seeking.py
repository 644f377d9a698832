"""Frame-exact seeking: finds frames by their packets and decodes from a key frame."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain

import av

from v2vkit.video.container import OpenVideo, demux, is_avi, is_raw
from v2vkit.video.continuity import is_joined


def find_pts(video: OpenVideo, number: int) -> int | None:
    """Time stamp of frame `number`, from the packets; None if they do not state it, or there is no such frame."""
    stamps = packet_stamps(video)
    return None if stamps is None or number >= len(stamps) else sorted(stamps)[number]


def packet_stamps(video: OpenVideo, until: Fraction | None = None) -> list[int] | None:
    """The time stamps of the packets, in decoding order; None if packets do not correspond to frames one to one.

    They correspond if the first packet is a key frame that is also shown first, and every packet has data and a time
    stamp of its own and is not marked to be discarded (edit lists). They do not in AVI, which stamps packets in
    decoding order.

    Args:
        video: just opened.
        until: stop reading this many seconds after the first frame; at most one later packet is included.
    """
    if is_avi(video.container) or is_raw(video.container) or is_joined(video.container):
        return None
    stamps: list[int] = []
    for packet in demux(video.container, video.stream):
        if packet.dts is None and packet.pts is None and not packet.size:
            continue  # the flush packet at the end
        if packet.pts is None or not packet.size or packet.is_discard or (not stamps and not packet.is_keyframe):
            return None
        stamps.append(packet.pts)
        # A packet is decoded no later than it is shown, and packets come in decoding order.
        if until is not None and packet.dts is not None and (packet.dts - stamps[0]) * packet.time_base >= until:
            break
    if not stamps or min(stamps) != stamps[0] or len(set(stamps)) != len(stamps):
        return None
    return stamps


def from_key_frame(video: OpenVideo, pts: int, *, lead: bool = False) -> Iterator[av.VideoFrame] | None:
    """Frames from exactly `pts` on, decoded from a key frame at or before it; None if the file does not allow it.

    With `lead` they begin one frame earlier.

    In an open GOP a key frame is followed by frames that are shown before it and refer to the previous group. Starting
    at a key frame whose stamp is not after `pts` excludes them.
    """
    if is_joined(video.container):
        return None
    back, step = pts, max(1, round(1 / (video.stream.time_base or Fraction(1))))
    first_stamp = video.stream.start_time or 0
    while True:
        video.container.seek(max(back, first_stamp), stream=video.stream, backward=True)
        packets = demux(video.container, video.stream)
        # In a transport stream a seek may land inside a group of pictures, before the key frame.
        packet = next((p for p in packets if p.is_keyframe or not p.size or (p.dts is not None and p.dts > pts)), None)
        if packet is None or packet.pts is None:
            return None
        if packet.is_keyframe and packet.pts <= pts - lead:
            break
        if back <= first_stamp:
            return None
        back, step = back - step, 2 * step
    frames = video.damage.decode(chain([packet], packets), begin=first_stamp)
    before: list[av.VideoFrame] = []
    for frame in frames:
        if frame.pts is None or frame.pts > pts or (frame.pts == pts and frame.is_corrupt):
            return None
        if frame.pts == pts:
            return chain(before, [frame], frames) if len(before) == lead else None
        before = [frame] if lead else []
    return None
