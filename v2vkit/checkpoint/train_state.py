"""The mutable state of training: networks, optimisers, EMA and the position in the schedule."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """A network that is trained.

    Attributes:
        module: its weights.
        optimizer: name of the optimiser that updates it; several networks may share one.
        prefix: of its weights' names in the model file; None = not in the model file (discriminators).
    """

    module: nn.Module
    optimizer: str
    prefix: str | None = None


Networks = Mapping[str, Network]
"""Name, as in snapshots -> network."""


def parameters_of(networks: Networks, optimizer: str) -> list[nn.Parameter]:
    """The parameters that the optimiser of that name updates."""
    updated = [network.module for network in networks.values() if network.optimizer == optimizer]
    return [parameter for module in updated for parameter in module.parameters()]


def saved_weights(networks: Networks) -> dict[str, Tensor]:
    """The weights of the model file by their names in it; the tensors themselves, not copies."""
    kept = [(network.prefix, network.module) for network in networks.values() if network.prefix is not None]
    return {prefix + name: tensor for prefix, module in kept for name, tensor in module.state_dict().items()}


@dataclass
class TrainState:
    """The mutable state of training.

    Attributes:
        networks, optimizers: by name.
        scaler: scales the losses in float16 (`make_scaler`).
        ema: exponential moving average of `saved_weights`, which rendering uses.
        epoch, batch: the next batch to train on.
        steps: optimiser steps so far.
    """

    networks: Networks
    optimizers: dict[str, torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    ema: dict[str, Tensor]
    epoch: int = 0
    batch: int = 0
    steps: int = 0

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The networks' weights by name."""
        return {name: network.module for name, network in self.networks.items()}

    def parameters(self, optimizer: str) -> list[nn.Parameter]:
        """The parameters that the optimiser of that name updates."""
        return parameters_of(self.networks, optimizer)

    def update_ema(self, decay: float) -> None:
        """ema <- decay ema + (1 - decay) weights; with a smaller decay in the first steps."""
        decay = min(decay, (1 + self.steps) / (10 + self.steps)) if decay else 0.0
        with torch.no_grad():
            weights = saved_weights(self.networks)
            floating = [name for name, value in weights.items() if value.is_floating_point()]
            averages, values = [self.ema[name] for name in floating], [weights[name] for name in floating]
            torch._foreach_lerp_(averages, values, 1 - decay)
            for name in weights.keys() - floating:
                self.ema[name].copy_(weights[name])
