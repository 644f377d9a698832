"""Order-preserving threads, so that decoding, estimating, drawing, generating and encoding overlap."""

import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Python's default switch interval of 5 ms is longer than an estimator needs for a frame.
_TURN = 0.001  # seconds that a thread returning from a library waits for the interpreter at most
_LAST_ITEM = 3.0  # seconds that closing waits for the item that is being computed


def prefetch(items: Iterable[T], *, ahead: int = 4) -> Iterator[T]:
    """The same items in the same order, computed up to `ahead` items before they are asked for.

    The iterable runs in one thread. Its errors are raised here. Closing this generator (or leaving the loop over it)
    stops the thread after the item that it is computing and closes the iterable. Memory is bounded by `ahead` items.
    """
    sys.setswitchinterval(min(sys.getswitchinterval(), _TURN))
    ready: queue.Queue[tuple[T | None, BaseException | None, bool]] = queue.Queue(maxsize=max(1, ahead))
    stop = threading.Event()

    def put(entry: tuple[T | None, BaseException | None, bool]) -> bool:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put((item, None, False)):
                    return
            put((None, None, True))
        except BaseException as error:
            put((None, error, True))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = ready.get()
            if error is not None:
                raise error
            if last:
                return
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        # Long enough for an item on a busy machine: a thread inside a library should not meet the end of the program.
        # A thread that waits for a pipe cannot be stopped, and does.
        thread.join(timeout=_LAST_ITEM)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def pool_calls(functions: Sequence[Callable[[T], R]]) -> Callable[[T], R]:
    """Combine equal functions that each serve one thread at a time into one that serves as many threads at once."""
    free: queue.SimpleQueue[Callable[[T], R]] = queue.SimpleQueue()
    for function in functions:
        free.put(function)

    def call(item: T) -> R:
        function = free.get()
        try:
            return function(item)
        finally:
            free.put(function)

    return call


def map_in_threads(
    function: Callable[[T], R], items: Iterable[T], *, threads: int = 1, waiting: int = 4
) -> Iterator[R]:
    """`function(item)` of every item in order, computed in threads while the caller's thread draws the next items.

    Errors of the function are raised here. After an error, or when this generator is closed, waiting items are
    cancelled and running ones awaited. Memory is bounded by `waiting` results.
    """
    under_way: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) > waiting:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
