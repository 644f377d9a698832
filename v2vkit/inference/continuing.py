"""Rendering in parts: where a part begins in its source, and where it stops."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from threading import Event

from v2vkit.errors import V2VError, counted
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.session import Session
from v2vkit.inference.state import RenderState
from v2vkit.video.stream import Source


@dataclass(frozen=True)
class Rest:
    """The rest of a source whose beginning has been rendered.

    Attributes:
        source: with its sound cut to the rest; its names and number of frames are those of the rest.
        frames: the rest, with time stamps that begin at zero.
        num_before: frames that were rendered before.
        note: a sentence on where it continues; None = at the beginning.
    """

    source: Source
    frames: Iterator[ConditionedFrame]
    num_before: int = 0
    note: str | None = None


def rest_of(source: Source, frames: Iterator[ConditionedFrame], state: RenderState, session: Session) -> Rest:
    """The rest of the source of a saved state.

    The same source is read and conditioned from its beginning, because cuts, crops and smoothing depend on earlier
    frames; only the network is not run. Another source (or a pipe, which cannot be read twice) is taken as the
    continuation: its first frame follows the last one that was rendered.

    Raises:
        V2VError: the source has no more frames.
    """
    if source.name != state.source or not source.repeatable:
        session.shot = 0
        return Rest(source, frames, 0, f"{source.name} continues the rendering of {state.source}.")
    before = state.num_frames
    first = next(islice(frames, before, None), None)
    if first is None:
        raise V2VError(
            "frames-missing",
            f"All {counted(before, 'frame')} of {source.name} have been rendered.",
            "Name the source that continues it.",
        )
    begin = first.frame.pts
    audio = source.audio
    if audio is not None and begin is not None and source.time_base is not None:
        clock = (audio.span[0] or Fraction(0)) + begin * source.time_base
        audio = replace(audio, span=(clock, audio.span[1]))
    left = None if source.num_frames is None else source.num_frames - before
    rest = replace(source, audio=audio, num_frames=left, names=source.names[before:])
    moved = (_moved(frame, begin) for frame in chain([first], frames))
    return Rest(rest, moved, before, f"The rendering continues after frame {before} of {source.name}.")


def _moved(frame: ConditionedFrame, begin: int | None) -> ConditionedFrame:
    if begin is None or frame.frame.pts is None:
        return frame
    return replace(frame, frame=replace(frame.frame, pts=frame.frame.pts - begin))


def until(frames: Iterable[ConditionedFrame], stop: Event, *, most: int | None) -> Iterator[ConditionedFrame]:
    """The frames until `stop` is set, at most `most` (None = all); sets `stop` if it ends early."""
    for number, frame in enumerate(frames):
        if number == most:
            stop.set()
        if stop.is_set():
            return
        yield frame
