"""Live rendering: a thread reads the stream at its own pace, and each rendering begins from the newest frame.

Frames that arrive while another one is rendered are dropped and counted. Nothing looks ahead: annotations are filled
and smoothed from past frames alone, and the first crop window is kept.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.inference.conditioned import ConditionedFrame, edited, stored
from v2vkit.inference.edits import LabelEditor
from v2vkit.inference.estimated_maps import open_map_maker
from v2vkit.inference.framing import crop_causally, open_locator
from v2vkit.inference.session import Session
from v2vkit.video.stream import InputFrame, Source, image_of

Clock = Callable[[], float]
PARTS = ("conditions", "network", "output")
_REMEMBERED = 10_000
"""Latencies; older ones no longer count."""


@dataclass
class LiveCounts:
    """What happened to the frames of a live stream. At its end, `read` = `dropped` + `shown`.

    Attributes:
        read: frames that arrived.
        dropped: frames that were replaced by a newer one before their turn.
        shown: frames that were rendered and written.
        missed: shown frames in which nothing was found.
        seconds: part of the work (`PARTS`) -> seconds that all frames took.
        latencies: seconds from the arrival of a frame until it was written, of the newest frames.
        started: when the first frame was handed out; None = not yet.
    """

    read: int = 0
    dropped: int = 0
    shown: int = 0
    missed: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    started: float | None = None

    def summary(self, now: float) -> str:
        """Rate, latency and dropped frames so far, in one line."""
        if not self.shown or self.started is None:
            return f"no frame yet; {self.read} read"
        middle, high = np.percentile(np.array(self.latencies) * 1e3, [50, 95])
        rate = self.shown / max(now - self.started, 1e-6)
        return (
            f"{rate:.1f} frames/s; latency p50 {middle:.0f} ms, p95 {high:.0f} ms; "
            f"dropped {self.dropped} of {self.read} frames"
        )

    def parts(self) -> str:
        """Mean milliseconds of each part of the work per frame."""
        return ", ".join(f"{name} {1e3 * spent / max(self.shown, 1):.1f} ms" for name, spent in self.seconds.items())


@dataclass(frozen=True)
class Arrived:
    """A frame and the time at which it arrived, in seconds of the clock."""

    frame: InputFrame
    at: float


def paced(
    frames: Iterable[InputFrame],
    *,
    fps: Fraction,
    time_base: Fraction | None,
    clock: Clock = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[InputFrame]:
    """The frames of a file, each when its time has come, as a camera would give them.

    Args:
        fps: rate of frames without time stamps.
        time_base: seconds per tick of their time stamps; None = they have none.
    """
    start, first = clock(), None
    for number, frame in enumerate(frames):
        at = number / fps if time_base is None or frame.pts is None else frame.pts * time_base
        first = at if first is None else first
        wait = start + float(at - first) - clock()
        if wait > 0:
            sleep(wait)
        yield frame


def newest(
    frames: Iterable[InputFrame], counts: LiveCounts, *, clock: Clock = time.monotonic
) -> Generator[Arrived, None, None]:
    """The newest frame whenever one is asked for; those that it replaced are counted as dropped.

    A thread reads the frames as fast as they come. The last frame is always handed out. Errors of the reader are raised
    here, after the frames before them. Closing this generator stops the thread.
    """
    changed = threading.Condition()
    waiting: list[Arrived] = []
    errors: list[BaseException] = []
    ended, stopped = threading.Event(), threading.Event()

    def read() -> None:
        iterator = iter(frames)
        try:
            for frame in iterator:
                with changed:
                    if stopped.is_set():
                        break
                    counts.read += 1
                    counts.dropped += len(waiting)
                    waiting[:] = [Arrived(frame, clock())]
                    changed.notify()
        except BaseException as error:
            errors.append(error)
        finally:
            with suppress(Exception):
                getattr(iterator, "close", lambda: None)()
            ended.set()
            with changed:
                changed.notify()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                # A time limit lets Ctrl-C through on every system.
                while not waiting and not ended.is_set():
                    changed.wait(0.2)
                if not waiting:
                    break
                arrived = waiting.pop()
            yield arrived
        if errors:
            raise errors[0]
    finally:
        with changed:
            stopped.set()
            counts.dropped += len(waiting)
            waiting.clear()
        thread.join(timeout=0.5)  # a thread that waits for a pipe cannot be stopped; it dies with the program


def causal_frames(
    source: Source,
    frames: Iterable[InputFrame],
    info: ModelInfo,
    *,
    align: bool = False,
    device: str = "cpu",
    editor: LabelEditor | None = None,
) -> Iterator[ConditionedFrame]:
    """The frames with their conditions, each before the next one is read. Estimators are opened at once.

    Args:
        source: of the frames.
        frames: those that are rendered.
        info, align, device, editor: as in `conditioned_frames`.

    Raises:
        V2VError: as `open_map_maker` and `open_locator`.
    """
    if source.annotated:
        if editor is not None:
            frames = edited(frames, editor, flow=info.generator.takes_flow, track_by_flow=False)
        return (stored(frame, info) for frame in frames)
    edit = None if editor is None else editor.edit_shot
    live = open_map_maker(info, source.name, device=device, causal=True, edit=edit)
    locate = open_locator(info, align=align, device=device)

    def conditioned() -> Iterator[ConditionedFrame]:
        pending: deque[InputFrame] = deque()

        def images() -> Iterator[NDArray[np.uint8]]:
            for frame in crop_causally(frames, info, locate):
                pending.append(frame)
                yield image_of(frame)

        for image, s, regions, found in live(images()):
            yield ConditionedFrame(s, replace(pending.popleft(), image=image), regions=regions, found=found)

    return conditioned()


def render_live(
    source: Source,
    frames: Iterable[InputFrame],
    info: ModelInfo,
    session: Session,
    write: Callable[[ConditionedFrame, NDArray[np.uint8]], object],
    counts: LiveCounts,
    *,
    align: bool = False,
    device: str = "cpu",
    editor: LabelEditor | None = None,
    clock: Clock = time.monotonic,
) -> Generator[LiveCounts, None, None]:
    """Render the newest frame, write it, and yield the counts; again and again until the stream ends.

    Args:
        source, info, align, device, editor: as in `causal_frames`.
        frames: as they arrive (`paced` for files).
        session: renders them.
        write: takes a frame with its rendering.
        counts: are kept up to date.
    """
    times: deque[tuple[float, float]] = deque()  # of arrival and of being handed out

    def handed_out() -> Generator[InputFrame, None, None]:
        with closing(newest(frames, counts, clock=clock)) as arrivals:
            for arrived in arrivals:
                times.append((arrived.at, clock()))
                counts.started = times[-1][1] if counts.started is None else counts.started
                yield arrived.frame

    handed = handed_out()
    with closing(handed):
        for frame in causal_frames(source, handed, info, align=align, device=device, editor=editor):
            (arrived, begun), conditioned = times.popleft(), clock()
            image = session.step(frame)
            generated = clock()
            write(frame, image)
            written = clock()
            counts.shown += 1
            counts.missed += not frame.found
            moments = (begun, conditioned, generated, written)
            for part, (start, end) in zip(PARTS, pairwise(moments), strict=True):
                counts.seconds[part] += end - start
            counts.latencies.append(written - arrived)
            yield counts
