"""Ctrl-C that asks a loop to stop at its next item, so that what was made so far can be completed."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def first_interrupt(message: str, stop: threading.Event) -> Iterator[threading.Event]:
    """Inside the block, the first Ctrl-C sets `stop` and the yielded event, and prints `message` on standard error.

    The second Ctrl-C raises KeyboardInterrupt as usual. Outside the main thread, and where the signal is ignored,
    nothing is changed.
    """
    asked = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()
        stop.set()
        signal.signal(signal.SIGINT, before)
        with contextlib.suppress(OSError):
            os.write(2, f"\n{message}\n".encode())  # print() may be interrupted in the middle of another print()

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
