"""Ctrl-C that asks a loop to stop at its next item, so that what was made so far can be completed."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def first_interrupt(
    message: str, stop: threading.Event, *, signals: tuple[signal.Signals, ...] = (signal.SIGINT,)
) -> Iterator[threading.Event]:
    """Inside the block, the first Ctrl-C sets `stop` and the yielded event, and prints `message` on standard error.

    The second Ctrl-C raises KeyboardInterrupt as usual. Outside the main thread, and where the signal is ignored,
    nothing is changed.

    Args:
        signals: treated alike; after the first of them, each does again what it did before.
    """
    asked = threading.Event()
    before = {number: signal.getsignal(number) for number in signals}
    # None: a handler that was not installed from Python and cannot be put back.
    before = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()
        stop.set()
        put_back()
        with contextlib.suppress(OSError):
            os.write(2, f"\n{message}\n".encode())  # print() may be interrupted in the middle of another print()

    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        put_back()
