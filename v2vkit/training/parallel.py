"""Data-parallel training: every process takes its share of a batch's sequences, and gradients are averaged.

Processes come from `torchrun --nproc-per-node N -m v2vkit train …` or another launcher that sets the same variables;
they communicate through Lightning Fabric, which a single process does not import.
"""

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from v2vkit.engine.devices import pick_device
from v2vkit.engine.launcher import join_attempt, launched_processes
from v2vkit.errors import V2VError


class Parallel:
    """Communication with the other processes of a run; without any, every method is a no-op."""

    def __init__(self, fabric: Any = None):
        self._fabric = fabric
        self.rank: int = 0 if fabric is None else fabric.global_rank
        self.num_processes: int = 1 if fabric is None else fabric.world_size

    @property
    def device(self) -> torch.device | None:
        """The device that Fabric assigned to this process; None without other processes."""
        return None if self._fabric is None else self._fabric.device

    def share(self, windows: list[Any]) -> list[Any]:
        """This process's part of a batch; all parts are equally large."""
        return windows[self.rank :: self.num_processes]

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes."""
        return tensor if self._fabric is None else self._fabric.all_reduce(tensor, reduce_op="mean")

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over all processes, in one message."""
        if self._fabric is None:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = self.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def adam(self, parameters: Iterable[Tensor], *, zero: bool, **settings: Any) -> torch.optim.Optimizer:
        """Adam; with `zero` every process keeps the moments of a share of the weights and updates only that share."""
        if not zero or self._fabric is None:
            return torch.optim.Adam(parameters, **settings)
        from torch.distributed.optim import ZeroRedundancyOptimizer

        return ZeroRedundancyOptimizer(parameters, torch.optim.Adam, **settings)

    def collect(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Send sharded moments to the first process, which saves them; all processes have to call it."""
        for optimizer in optimizers:
            if hasattr(optimizer, "consolidate_state_dict"):
                optimizer.consolidate_state_dict(to=0)

    def agree(self, yes: bool) -> bool:
        """The first process's answer, in every process."""
        return yes if self._fabric is None else bool(self._fabric.broadcast(yes))

    def first_number(self, number: int) -> int:
        """The first process's number, in every process."""
        return number if self._fabric is None else int(self._fabric.broadcast(number))

    def wait(self) -> None:
        """Wait until all processes have reached this call."""
        if self._fabric is not None:
            self._fabric.barrier()


ALONE = Parallel()


def open_parallel(device: str) -> Parallel:
    """Join the other processes, if a launcher started several.

    Args:
        device: as in the settings: cpu, cuda or auto; each process gets one.

    Raises:
        V2VError: Lightning is not installed, or the device is missing or cannot be shared.
    """
    number = launched_processes()
    if number == 1:
        return ALONE
    if device not in ("auto", "cpu", "cuda"):
        raise V2VError(
            "setting-conflict",
            f"{number} processes cannot share the device {device}.",
            "Give --device cpu or --device cuda; with cuda, each process gets its own GPU.",
        )
    pick_device(device)
    try:
        from lightning.fabric import Fabric
    except ImportError:
        raise V2VError(
            "library-missing",
            f"{number} processes were started, but Lightning, through which they communicate, is not installed.",
            "pip install 'v2vkit[cluster]', or start one process.",
        ) from None
    accelerator = "cpu" if device == "cpu" or not torch.cuda.is_available() else "cuda"
    nodes = max(1, number // int(os.environ.get("LOCAL_WORLD_SIZE", number)))
    join_attempt("nccl" if accelerator == "cuda" else "gloo")
    fabric = Fabric(accelerator=accelerator, devices=number // nodes, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return Parallel(fabric)
