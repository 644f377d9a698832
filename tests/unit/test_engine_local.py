"""Worker processes on this machine."""

import os
from collections.abc import Callable

from tests.errors import raises
from v2vkit.engine.local import LocalEngine


def _dies_at(fatal: int) -> Callable[[int], int]:
    def work(task: int) -> int:
        if task == fatal:
            os._exit(9)
        return 10 * task

    return work


def test_a_killed_worker_is_a_sentence() -> None:
    with LocalEngine(_dies_at, 2, 2) as engine:
        assert sorted(engine.map(range(2))) == [(0, 0), (1, 10)]
        with raises("worker-killed", "--workers"):
            list(engine.map([2]))


def _dies(argument: int) -> Callable[[int], int]:
    os._exit(9)


def test_a_worker_that_is_killed_while_it_is_set_up_is_a_sentence() -> None:
    with raises("worker-killed", "--workers"), LocalEngine(_dies, 0, 2):
        pass
