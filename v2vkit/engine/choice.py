"""Chooses the engine that maps tasks: processes of this machine, or the actors of a Ray cluster."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar, get_args

from v2vkit.engine.cores import allowed_cores
from v2vkit.engine.local import LocalEngine
from v2vkit.errors import V2VError

T = TypeVar("T")
R = TypeVar("R")
EngineName = Literal["local", "ray"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)


class Engine(Protocol[T, R]):
    """Applies one function to many tasks; entering the context sets up the first worker and raises its errors."""

    def __enter__(self) -> "Engine[T, R]": ...

    def map(self, tasks: Iterable[T], *, tell: Callable[[str], object] = print) -> Iterator[tuple[T, R]]:
        """(task, result) pairs, in order of completion; `tell` is called with a line about every retried task."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class EngineOptions:
    """Where tasks run.

    Attributes:
        name: of the engine.
        workers: number of processes; 0 = one per core that this process may use, or as many as the Ray cluster takes.
        address: of a running Ray cluster; empty = RAY_ADDRESS where it is set, else a private one on this machine.
        gpus: GPUs of each Ray worker; a fraction lets workers share a GPU.
    """

    name: EngineName = "local"
    workers: int = 0
    address: str = ""
    gpus: float = 0.0

    def check(self) -> None:
        """Refuse options that have no effect.

        Raises:
            V2VError: an unknown engine, or options of Ray for the local engine.
        """
        if self.name not in ENGINES:
            raise V2VError("engine-unknown", f"There is no engine {self.name!r}.", f"Give {' or '.join(ENGINES)}.")
        if self.name == "local" and (self.address or self.gpus):
            flag = "--address" if self.address else "--worker-gpus"
            raise V2VError(
                "setting-conflict", f"{flag} is for --engine ray.", f"Add --engine ray, or leave {flag} out."
            )


def local_workers(workers: int, num_tasks: int) -> int:
    """Number of processes for these tasks on this machine; `workers` as in `EngineOptions`."""
    return min(workers or allowed_cores(), num_tasks)


def make_engine(
    options: EngineOptions, setup: Callable[[Any], Callable[[T], R]], argument: Any, *, num_tasks: int, shared: bool
) -> Engine[T, R]:
    """The engine for these tasks.

    Args:
        setup, argument: as for `LocalEngine`.
        num_tasks: no more workers than tasks are started.
        shared: other processes see the files of the workspace.

    Raises:
        V2VError: the Ray package is missing, or the workspace is in the memory of this process.
    """
    if options.name == "ray" and num_tasks:  # nothing to do needs no cluster
        if not shared:
            raise V2VError(
                "folder-unsupported",
                "Ray workers cannot see a workspace in the memory of this process.",
                "Give a folder that every node sees, or one in an object store.",
            )
        from v2vkit.engine.ray import RayEngine

        return RayEngine(
            setup,
            argument,
            workers=options.workers,
            num_tasks=num_tasks,
            address=options.address,
            gpus=options.gpus,
        )
    return LocalEngine(setup, argument, local_workers(options.workers, num_tasks) if shared else 1)
