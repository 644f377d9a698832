"""Maps tasks over spawned processes of this machine.

Processes are spawned, never forked: a child forked after torch or mediapipe was used hangs. Each process is set up
once (it opens its estimator) and then runs one task after another.
"""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Generic, TypeVar

from v2vkit.errors import V2VError

T = TypeVar("T")
R = TypeVar("R")

_state: dict[str, Any] = {}


def _initialize(setup: Callable[[Any], Callable[[Any], Any]], argument: Any) -> None:
    """Set this worker up; `_ready` raises a failure later, since an error in an initializer only breaks the pool."""
    die_with_parent()
    try:
        single_thread()
        _state["function"] = setup(argument)
    except Exception as error:
        _state["error"] = error


def die_with_parent() -> None:
    """End this process when its parent ends, so that no worker outlives a killed parent."""

    def wait(parent: Any) -> None:
        parent.join()
        os._exit(1)

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=wait, args=(parent,), daemon=True).start()


def single_thread() -> None:
    """Limit this worker to one thread: N workers with N threads each would compete for N cores."""
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    import cv2

    cv2.setNumThreads(1)


def _ready() -> None:
    if "error" in _state:
        raise _state["error"]


def _call(task: Any) -> Any:
    _ready()
    return _state["function"](task)


@contextlib.contextmanager
def _explain_killed() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        raise V2VError(
            "worker-killed",
            "A worker process was killed, most likely for lack of memory.",
            "Rerun the command with fewer --workers; finished shards are kept.",
        ) from None


class LocalEngine(Generic[T, R]):
    """Applies one function to many tasks, in this process or in several.

    Args:
        setup: module-level function called once per process; gives the function to apply.
        argument: its argument; must be picklable when `workers` > 1.
        workers: number of processes; 1 works inside this process.

    Entering the context sets up the first worker, so that its errors (missing package, bad weights file) are raised
    before any task starts.
    """

    def __init__(self, setup: Callable[[Any], Callable[[T], R]], argument: Any, workers: int):
        self._setup, self._argument, self._workers = setup, argument, workers
        self._pool: ProcessPoolExecutor | None = None
        self._function: Callable[[T], R] | None = None

    def __enter__(self) -> "LocalEngine[T, R]":
        if self._workers <= 1:
            self._function = self._setup(self._argument)
            return self
        self._pool = ProcessPoolExecutor(
            self._workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_initialize,
            initargs=(self._setup, self._argument),
        )
        try:
            with _explain_killed():
                self._pool.submit(_ready).result()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def map(self, tasks: Iterable[T], *, tell: Callable[[str], object] = print) -> Iterator[tuple[T, R]]:
        """(task, result) pairs, in order of completion.

        Args:
            tasks: drawn as workers become free.
            tell: not used: this engine retries nothing.

        Raises:
            V2VError: raised by the function, or a worker process was killed.
        """
        if self._pool is None:
            assert self._function is not None
            for task in tasks:
                yield task, self._function(task)
            return
        waiting = iter(tasks)
        pending: dict[Future[R], T] = {}
        with _explain_killed():
            while True:
                # A short queue keeps every worker busy without queueing all tasks of a large data set.
                while len(pending) < 2 * self._workers:
                    try:
                        task = next(waiting)
                    except StopIteration:
                        break
                    pending[self._pool.submit(_call, task)] = task
                if not pending:
                    return
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    task = pending.pop(future)
                    yield task, future.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            processes = list((getattr(self._pool, "_processes", None) or {}).values())
            self._pool.shutdown(wait=kind is None, cancel_futures=True)
            if kind is not None:
                for process in processes:
                    process.terminate()
            self._pool = None
