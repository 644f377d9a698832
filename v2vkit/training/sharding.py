"""Sharded training: every process keeps a share of the generator's weights, gradients, Adam moments and EMA.

Torch's FSDP2 (`fully_shard`): the weights of a block are gathered before its forward and its backward pass and freed
after them, and its gradients are averaged over the processes and scattered, once for each frame of a chunk.

A state is sharded after it has its starting weights or its snapshot, and gathered to be saved, so files do not depend
on the number of processes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from v2vkit.checkpoint.train_state import TrainState, saved_weights

_SHARDED = "generator"
"""The optimiser whose networks are sharded. Discriminators are small, and keep no EMA."""


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process has only its share of the tensor (a `DTensor`, whose import takes long)."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """The tensor gathered from all processes, if it is sharded; all of them have to call it."""
    found: Tensor = getattr(tensor, "full_tensor", lambda: tensor)()
    return found


def gather(tensors: dict[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Gather tensors one after another, in the CPU's memory; all processes have to call it.

    Args:
        keep: whether this process needs them; otherwise it gets none.
    """
    found = {}
    for name in sorted(tensors):  # in the same order in all processes
        gathered = whole(tensors[name].detach())
        if keep:
            found[name] = gathered.cpu()
    return found


def shard_state(state: TrainState, device: torch.device) -> None:
    """Shard the generator's part of a state in place; the states of all processes have to be equal.

    Args:
        device: of this process.
    """
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (get_world_size(),))
    optimizer = state.optimizers[_SHARDED]
    moments = [optimizer.state.pop(parameter, {}) for parameter in state.parameters(_SHARDED)]
    for network in state.networks.values():
        if network.optimizer == _SHARDED:
            network.module.to(memory_format=torch.contiguous_format)  # the only layout that FSDP2 shards
            blocks = list(_blocks(network.module))
            for block in blocks:
                fully_shard(block, mesh=mesh, reshard_after_forward=True)
            if len(blocks) > 1:
                fully_shard(network.module, mesh=mesh)  # so that the blocks share streams and prefetch each other
    parameters = state.parameters(_SHARDED)
    (group,) = optimizer.param_groups
    group["params"] = parameters
    for parameter, values in zip(parameters, moments, strict=True):
        if values:
            # Sorted, because safetensors reads the tensors of a file in another order in each process.
            optimizer.state[parameter] = {key: _shard_like(parameter, values[key]) for key in sorted(values)}
    state.ema.update({name: _shard_like(w, state.ema[name]) for name, w in saved_weights(state.networks).items()})


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The parts whose weights are gathered together: the outermost `nn.Sequential`s and the layers beside them."""
    for child in module.children():
        if isinstance(child, nn.Sequential) or next(child.parameters(recurse=False), None) is not None:
            yield child
        else:
            yield from _blocks(child)


def _shard_like(weight: Tensor, tensor: Tensor) -> Tensor:
    """This process's share of a tensor that belongs to a weight; a count of steps stays whole."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(weight, DTensor) or tensor.shape != weight.shape:
        return tensor
    return distribute_tensor(tensor.detach().contiguous(), weight.device_mesh, weight.placements)
