"""Threads that run ahead."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from v2vkit.engine.threads import map_in_threads, pool_calls, prefetch


def test_order_is_kept() -> None:
    assert list(prefetch(iter(range(100)), ahead=3)) == list(range(100))


def test_it_runs_ahead_but_not_far() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    for taken, item in enumerate(prefetch(items(), ahead=3), start=1):
        assert item == taken - 1
        while taken == 1 and len(made) < 4:  # ends only if it runs ahead
            time.sleep(0.01)
        # The items taken, those waiting and the one that waits for a place.
        assert len(made) <= taken + 3 + 1


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
    assert closed.wait(600)
    while threading.active_count() > before:
        time.sleep(0.01)


def test_closing_does_not_wait_for_a_pipe_in_which_nothing_comes() -> None:
    reader, writer = os.pipe()
    ended = threading.Event()

    def items() -> Iterator[bytes]:
        try:
            yield b"first"
            yield os.read(reader, 1)
        finally:
            ended.set()

    stream = prefetch(items())
    assert next(stream) == b"first"
    stream.close()
    assert not ended.is_set()
    os.write(writer, b"x")
    assert ended.wait(600), "the thread stops when it can"
    os.close(reader)
    os.close(writer)


def test_mapping_keeps_the_order_and_uses_other_threads() -> None:
    caller = threading.get_ident()

    def slow(i: int) -> tuple[int, bool]:
        time.sleep(0.02 if i % 3 == 0 else 0)
        return i, threading.get_ident() != caller

    assert list(map_in_threads(slow, range(30), threads=4)) == [(i, True) for i in range(30)]


def test_mapping_draws_its_items_in_the_callers_thread_and_not_far_ahead() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for i in range(50):
            drawn.append(threading.get_ident())
            yield i

    stream = map_in_threads(lambda i: i, items(), waiting=3)
    assert next(stream) == 0
    assert len(drawn) == 4
    assert set(drawn) == {threading.get_ident()}
    stream.close()


def test_an_error_while_mapping_is_raised_and_nothing_later_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    cancelled = threading.Event()

    class Pool(ThreadPoolExecutor):
        def __exit__(self, *error: Any) -> bool | None:
            cancelled.set()
            return super().__exit__(*error)

    def work(i: int) -> int:
        begun.append(i)
        if i == 1:
            raise ValueError("broken")
        if i == 2:
            cancelled.wait(600)
        return i

    monkeypatch.setattr("v2vkit.engine.threads.ThreadPoolExecutor", Pool)
    before = threading.active_count()
    stream = map_in_threads(work, range(100), waiting=4)
    assert next(stream) == 0
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert begun in ([0, 1], [0, 1, 2])
    assert threading.active_count() == before


def test_whichever_is_free_calls_each_from_one_thread_at_a_time() -> None:
    inside, most, calls = [0, 0], [0, 0], [0, 0]
    both = threading.Barrier(2)

    def make(k: int) -> Callable[[int], int]:
        def function(i: int) -> int:
            inside[k] += 1
            most[k] = max(most[k], inside[k])
            calls[k] += 1
            if i < 2:
                both.wait(600)  # passes only where both are at work
            time.sleep(0.005)
            inside[k] -= 1
            return 10 * i

        return function

    call = pool_calls([make(0), make(1)])
    assert list(map_in_threads(call, range(20), threads=4)) == [10 * i for i in range(20)]
    assert most == [1, 1]
    assert sum(calls) == 20


def test_a_function_that_raised_is_free_again() -> None:
    def fail(i: int) -> int:
        raise ValueError(str(i))

    call = pool_calls([fail])
    for i in range(2):
        with pytest.raises(ValueError, match=str(i)):
            call(i)
