"""Data-parallel training: every process takes its share of a batch's sequences; backward averages the gradients.

Processes come from `torchrun --nproc-per-node N -m v2vkit train …` or another launcher that sets the same variables;
they communicate through Lightning Fabric, which a single process does not import.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from v2vkit.checkpoint.train_state import Networks, parameters_of
from v2vkit.engine.devices import pick_device
from v2vkit.engine.launcher import join_attempt, launched_processes
from v2vkit.errors import V2VError
from v2vkit.training.sharding import is_sharded

Averaging = Callable[[str, Sequence[Tensor]], list[Tensor]]
"""(name of an optimiser, tensors that depend on its networks) -> the same tensors; backward has to start from all."""


def not_averaged(optimizer: str, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The `Averaging` of a single process."""
    return list(tensors)


class _Outputs(nn.Module):
    """Owns weights and returns the tensors that somebody else has computed with them."""

    def __init__(self, weights: list[nn.Parameter]):
        super().__init__()
        self.weights = nn.ParameterList(weights)
        # Without an unused weight, torch prints a warning that nobody can act on.
        self.unused = nn.Parameter(weights[0].new_zeros(1))

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        return list(tensors)


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

    def averaging(self, networks: Networks) -> Averaging:
        """Let backward replace the gradients by their means over all processes, bucket by bucket, while it runs.

        Torch's DistributedDataParallel, one for each optimiser. It wraps no network, because a step calls networks
        several times and not only their `forward`: it gets the tensors that a step calls backward on, finds the
        weights that these depend on, and leaves the others without a gradient. Every process has to call the
        function for the same optimisers in the same order, once before each backward that stores gradients.

        Args:
            networks: of the method; all processes get the first one's weights. Sharded ones are left out: their blocks
                average their own gradients.
        """
        if self._fabric is None:
            return not_averaged
        weights = {
            name: parameters_of(networks, name)
            for name in dict.fromkeys(network.optimizer for network in networks.values())
        }
        ddp = {
            name: nn.parallel.DistributedDataParallel(
                # Without the search for unused weights, buckets change after the first step, and with them rounding:
                # a resumed run of three or more processes would differ.
                _Outputs(parameters),
                find_unused_parameters=True,
            )
            for name, parameters in weights.items()
            if not is_sharded(parameters[0])
        }

        def averaged(optimizer: str, tensors: Sequence[Tensor]) -> list[Tensor]:
            if optimizer not in ddp:
                return list(tensors)
            outputs: list[Tensor] = ddp[optimizer](*tensors)
            return outputs

        return averaged

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
