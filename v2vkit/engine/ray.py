"""Maps tasks over the actors of a Ray cluster: one estimator per actor, one task at a time.

A task whose actor or node died is given to another actor. This is safe, because a task writes the same bytes whenever
it runs, under a temporary name that is renamed at the end.
"""

import os
import platform
import secrets
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from v2vkit import __version__
from v2vkit.engine.local import single_thread
from v2vkit.errors import V2VError

T = TypeVar("T")
R = TypeVar("R")

_TRIES = 3  # of one task; a frame that kills its worker must not kill all of them
_PATIENCE = 600.0  # seconds without any living worker before the command gives up
_POLL = 1.0  # seconds between checks of the time


def _versions() -> tuple[str, str]:
    return __version__, ".".join(platform.python_version_tuple()[:2])


def _package(private: bool) -> Any:
    """The module ray; with `private`, prepared for a cluster of its own. Ray reads these variables at its import."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if private:
        if "ray" in sys.modules and os.environ.get("RAY_AUTH_MODE") != "token":
            raise V2VError(
                "cluster-unprotected",
                "Ray was imported without token authentication, so a private cluster would be open to the network.",
                "Set RAY_AUTH_MODE=token before ray is imported, or give the --address of a running cluster.",
            )
        # Ray listens on all interfaces and runs what it is sent, so strangers must not know the token.
        os.environ["RAY_AUTH_MODE"] = "token"
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError:
        raise V2VError(
            "library-missing", "--engine ray needs the package ray.", "Install it: pip install 'v2vkit[ray]'"
        ) from None
    return ray


class _Worker:
    """The actor: opens the function once, then applies it to one task after another."""

    def __init__(self, setup: Callable[[Any], Callable[[Any], Any]], argument: Any, folder: str):
        self._function: Callable[[Any], Any] | None = None
        self._error: Exception | None = None
        with suppress(OSError):  # a node without this folder can still work with absolute paths and URLs
            os.chdir(folder)
        try:
            single_thread()
            self._function = setup(argument)
        except Exception as error:
            self._error = error

    def ready(self) -> tuple[tuple[str, str], Exception | None]:
        """Versions of v2vkit and Python, and the error of the set-up."""
        return _versions(), self._error

    def call(self, task: Any) -> tuple[Any, V2VError | None]:
        """The result, or the error that the user can fix. Ray would wrap an error that is raised."""
        assert self._function is not None
        try:
            return self._function(task), None
        except V2VError as error:
            return None, error


class RayEngine(Generic[T, R]):
    """Applies one function to many tasks, in the actors of a Ray cluster.

    Args:
        setup, argument: as for `LocalEngine`; every node must have the same v2vkit.
        workers: number of actors; 0 = as many as the cluster has CPUs (or GPUs for).
        num_tasks: no more actors than tasks are started.
        address: of the cluster; empty = RAY_ADDRESS where it is set, else a private cluster on this machine.
        gpus: GPUs of each actor.
    """

    def __init__(
        self,
        setup: Callable[[Any], Callable[[T], R]],
        argument: Any,
        *,
        workers: int,
        num_tasks: int,
        address: str,
        gpus: float,
    ):
        self._setup, self._argument = setup, argument
        self._workers, self._num_tasks, self._gpus = workers, num_tasks, gpus
        self._address = address or os.environ.get("RAY_ADDRESS", "")
        self._ray = _package(private=not self._address)
        self._joined = False
        self._starting: dict[Any, Any] = {}  # reference of `ready` -> actor
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, T, int]] = {}  # reference of `call` -> actor, task, number of this try
        self._alive = time.monotonic()
        self._failed = 0  # workers in a row that died while they started

    def __enter__(self) -> "RayEngine[T, R]":
        try:
            self._join()
            number = self._workers or self._room()
            for _ in range(min(number, self._num_tasks)):
                self._start()
            while not self._idle:
                self._look(print)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def map(self, tasks: Iterable[T], *, tell: Callable[[str], object] = print) -> Iterator[tuple[T, R]]:
        """(task, result) pairs, in order of completion.

        Args:
            tasks: drawn as workers become free.
            tell: is called with a line about every lost worker.

        Raises:
            V2VError: raised by the function, a task lost its worker several times, or no worker is left.
        """
        waiting, again = iter(tasks), deque[tuple[T, int]]()
        exhausted = False
        while True:
            while self._idle and not (exhausted and not again):
                if again:
                    task, tries = again.popleft()
                else:
                    try:
                        task, tries = next(waiting), 0
                    except StopIteration:
                        exhausted = True
                        break
                actor = self._idle.pop()
                self._busy[actor.call.remote(task)] = actor, task, tries + 1
            if exhausted and not again and not self._busy:
                return
            for task, result, tries in self._look(tell):
                if tries:
                    again.append((task, tries))
                else:
                    yield task, result

    def _join(self) -> None:
        """Connect to the cluster, or start a private one."""
        if self._ray.is_initialized():  # by the program that calls this library
            return
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if not self._address:
            self._ray.init(address="local", include_dashboard=False, num_cpus=self._workers or None, **quiet)
        else:
            try:
                self._ray.init(address=self._address, **quiet)
            except (ConnectionError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
                raise V2VError(
                    "cluster-unreachable",
                    f"The Ray cluster {self._address} cannot be reached: {str(error).splitlines()[0]}.",
                    "Check --address and `ray status`; RAY_AUTH_MODE and the token must be those of the cluster.",
                ) from None
        self._joined = True

    def _room(self) -> int:
        """Number of actors that fit into the cluster."""
        has = self._ray.cluster_resources()
        number = int(has.get("CPU", 0))
        if self._gpus:
            number = min(number, int(has.get("GPU", 0) / self._gpus + 1e-6))
        if number < 1:
            needs = f"1 CPU and {self._gpus:g} GPUs" if self._gpus else "1 CPU"
            raise V2VError(
                "workers-missing",
                f"The Ray cluster has no room for a worker, which takes {needs}.",
                "Add nodes, change --worker-gpus, or give --workers to wait for nodes that start later.",
            )
        return number

    def _start(self) -> None:
        # No restarts by Ray: it would wait for room on the lost node although other actors are free for the task.
        actor = self._ray.remote(num_cpus=1, num_gpus=self._gpus, max_restarts=0, max_task_retries=0)(_Worker)
        made = actor.remote(self._setup, self._argument, str(Path.cwd()))
        self._starting[made.ready.remote()] = made

    def _look(self, tell: Callable[[str], object]) -> list[tuple[T, R, int]]:
        """Wait a moment; (task, result, 0) of finished tasks and (task, …, tries) of those that lost their worker."""
        errors = self._ray.exceptions
        lost = (errors.RayActorError, errors.ObjectLostError, errors.WorkerCrashedError, errors.NodeDiedError)
        done, _ = self._ray.wait([*self._starting, *self._busy], num_returns=1, timeout=_POLL)
        if done or self._busy or self._idle:
            self._alive = time.monotonic()
        elif time.monotonic() - self._alive > _PATIENCE:
            raise V2VError(
                "workers-missing",
                f"The Ray cluster started no worker within {_PATIENCE:.0f} seconds.",
                "`ray status` shows its free resources. Rerun the command; finished shards are kept.",
            )
        found: list[tuple[T, R, int]] = []
        for reference in done:
            if reference in self._starting:
                actor = self._starting.pop(reference)
                with suppress(*lost):
                    self._check(*self._ray.get(reference))
                    self._idle.append(actor)
                    self._failed = 0
                    continue
                self._refuse_failing()
                tell("A Ray worker died while it started; another one is started.")
                self._start()
                time.sleep(_POLL)
                continue
            actor, task, tries = self._busy.pop(reference)
            try:
                result, error = self._ray.get(reference)
            except lost:
                self._lose(actor, tries, tell)
                found.append((task, None, tries))  # type: ignore[arg-type]
                continue
            except errors.RayTaskError as failure:
                raise failure.cause from failure
            if error is not None:
                raise error
            self._idle.append(actor)
            found.append((task, result, 0))
        return found

    def _check(self, versions: tuple[str, str], error: Exception | None) -> None:
        if error is not None:
            raise error
        if versions != _versions():
            there, here = (f"v2vkit {version} on Python {python}" for version, python in (versions, _versions()))
            raise V2VError(
                "version-mismatch",
                f"A Ray worker has {there}, and this machine {here}.",
                "Install the same version on every node.",
            )

    def _refuse_failing(self) -> None:
        """Count a worker that died while it started.

        Raises:
            V2VError: every worker has, several times.
        """
        self._failed += 1
        if self._failed >= _TRIES * (1 + len(self._starting) + len(self._idle) + len(self._busy)):
            raise V2VError(
                "worker-killed",
                f"{self._failed} Ray workers in a row died while they started.",
                "Check that every node has v2vkit and memory for the estimator: the logs of Ray say why they died.",
            )

    def _lose(self, actor: Any, tries: int, tell: Callable[[str], object]) -> None:
        """Replace a dead actor."""
        if tries >= _TRIES:
            raise V2VError(
                "worker-killed",
                f"The same shard lost its Ray worker {tries} times, most likely for lack of memory.",
                "Give workers more memory (fewer per node). Rerun the command; finished shards are kept.",
            )
        tell(f"A Ray worker or its node died; its shard is made again (try {tries + 1} of {_TRIES}).")
        with suppress(Exception):
            self._ray.kill(actor)
        self._start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        actors = [*self._starting.values(), *self._idle, *(actor for actor, _, _ in self._busy.values())]
        for actor in actors:
            with suppress(Exception):  # it is dead already
                self._ray.kill(actor)
        self._starting, self._idle, self._busy = {}, [], {}
        if self._joined:
            self._joined = False
            self._ray.shutdown()
