"""Threads that run ahead."""

import threading
import time
from collections.abc import Iterator

import pytest

from v2vkit.engine.prefetch import prefetch


def test_order_is_kept() -> None:
    assert list(prefetch(iter(range(100)), ahead=3)) == list(range(100))


def test_it_runs_ahead_but_not_far() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    stream = prefetch(items(), ahead=3)
    assert next(stream) == 0
    time.sleep(0.3)
    assert 3 <= len(made) <= 6
    stream.close()


def test_errors_arrive_after_the_items_before_them() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    stream = prefetch(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)


def test_closing_stops_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    before = threading.active_count()
    stream = prefetch(items(), ahead=2)
    next(stream)
    stream.close()
    assert closed.wait(2)
    assert threading.active_count() == before
