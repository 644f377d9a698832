"""Progress of long work on standard error: a bar on a terminal, one line per minute in a log."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TextIO, TypeVar

T = TypeVar("T")

MINUTE = 60.0


class Progress(Protocol):
    """Takes the progress of the work inside a `progress` block."""

    def update(self, count: float = 1) -> None:
        """Count `count` more units as done."""

    def note(self, text: str) -> None:
        """Show a text after the figures from now on, such as a loss."""

    def write(self, text: str) -> None:
        """Print a line that stays."""


@contextmanager
def progress(
    total: float | None,
    *,
    desc: str,
    unit: str = "frame",
    done: float = 0,
    leave: bool = True,
    quiet: bool = False,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
    every: float = MINUTE,
) -> Iterator[Progress]:
    """Show the progress of the work inside the block.

    On a terminal this is a bar, elsewhere one line per minute (share, rate, time left), also while no unit finishes.
    Elsewhere, work of less than a minute prints nothing; longer work ends with a summary line.

    Args:
        total: number of units to do; None = not known.
        desc: what is done, such as the kind of an artifact.
        unit: name of what is counted, in the singular.
        done: number of units that an earlier run has done.
        leave: keep the finished bar on the terminal.
        quiet: show nothing (all but the first process of a training).
        stream: where to print; None = standard error.
        clock: gives the time in seconds.
        every: seconds between two lines of a log; shorter work prints nothing there.
    """
    stream = sys.stderr if stream is None else stream
    if quiet or stream is None:  # there is no standard error in a program without console
        yield _Silent()
    elif stream.isatty():
        from tqdm import tqdm

        with tqdm(total=total, initial=done, desc=desc, unit=unit, leave=leave, file=stream) as bar:
            yield _Bar(bar, stream)
    else:
        log = _Log(total, desc=desc, unit=unit, done=done, stream=stream, clock=clock, every=every)
        finished = threading.Event()
        beat = threading.Thread(target=_print_regularly, args=(log, finished), daemon=True)
        beat.start()
        try:
            yield log
            log.end()
        finally:
            finished.set()
            beat.join()


def tracked(items: Iterable[T], *, total: float | None, desc: str, unit: str = "frame", **settings: Any) -> Iterator[T]:
    """Yield the items and count each as done when the next is requested; other arguments as for `progress`."""
    with progress(total, desc=desc, unit=unit, **settings) as shown:
        for item in items:
            yield item
            shown.update()


def duration(seconds: float) -> str:
    """`40 s`, `13 min` or `2 h 5 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _print_regularly(log: "_Log", finished: threading.Event) -> None:
    """Runs in a thread, so that a line is printed every minute also during one long step."""
    while not finished.wait(log.every / 4):
        log.tick()


class _Silent:
    """`Progress` that shows nothing."""

    def update(self, count: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def write(self, text: str) -> None:
        pass


class _Bar:
    """`Progress` as a bar on a terminal."""

    def __init__(self, bar: Any, stream: TextIO):
        self._bar, self._stream = bar, stream

    def update(self, count: float = 1) -> None:
        self._bar.update(count)

    def note(self, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)

    def write(self, text: str) -> None:
        self._bar.write(text, file=self._stream)


class _Log:
    """`Progress` as lines in a log; safe to be called from several threads."""

    def __init__(
        self,
        total: float | None,
        *,
        desc: str,
        unit: str,
        done: float,
        stream: TextIO,
        clock: Callable[[], float],
        every: float,
    ):
        self.every = every
        self._total, self._desc, self._unit, self._stream, self._clock = total, desc, unit, stream, clock
        self._before = self._done = done
        self._note = ""
        self._begun = self._printed = clock()
        self._lock = threading.Lock()

    def update(self, count: float = 1) -> None:
        with self._lock:
            self._done += count
        self.tick()

    def note(self, text: str) -> None:
        self._note = text

    def write(self, text: str) -> None:
        # A closed stream must not end the work.
        with self._lock, suppress(OSError, ValueError):
            print(text, file=self._stream, flush=True)

    def tick(self) -> None:
        """Print a line if it is time for one."""
        with self._lock:
            now = self._clock()
            if now - self._printed < self.every:
                return
            self._printed = now
        self.write(self._line(now))

    def end(self) -> None:
        """Print the last line, if the work was long enough for one."""
        now = self._clock()
        if now - self._begun >= self.every:
            self.write(f"{self._line(now)}, took {duration(now - self._begun)}")

    def _line(self, now: float) -> str:
        rate = (self._done - self._before) / max(now - self._begun, 1e-9)
        figures = [f"{self._done:.0f} {self._unit}s"]
        if self._total:
            share = int(100 * self._done / self._total)  # 100 % only when all is done
            figures = [f"{share} % ({self._done:.0f} of {self._total:.0f} {self._unit}s)"]
        if rate > 0:
            figures.append(_speed(rate, self._unit))
            if self._total and self._total > self._done:
                figures.append(f"{duration((self._total - self._done) / rate)} left")
        return f"{self._desc}: " + ", ".join(figures + [self._note] * bool(self._note))


def _speed(rate: float, unit: str) -> str:
    return f"{rate:.3g} {unit}s per second" if rate >= 1 else f"{1 / rate:.3g} seconds per {unit}"
