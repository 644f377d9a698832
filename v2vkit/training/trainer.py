"""Everything that changes while training."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.discriminator import Discriminator

if TYPE_CHECKING:
    from v2vkit.models.perceptual import VGGFeatures


@dataclass(frozen=True)
class Networks:
    """Everything that is trained, and VGG where a weights file was given."""

    generator: AnyGenerator
    image: Discriminator
    video: list[Discriminator]
    face: Discriminator | None = None
    vgg: "VGGFeatures | None" = None

    def named(self) -> dict[str, torch.nn.Module]:
        """The trained networks by the name that checkpoints use."""
        modules: dict[str, torch.nn.Module] = {"generator": self.generator, "image": self.image}
        modules |= {f"video{scale}": network for scale, network in enumerate(self.video)}
        return modules if self.face is None else modules | {"face": self.face}


@dataclass
class Trainer:
    """Everything that changes while training.

    Attributes:
        networks, optimizers: by the names that checkpoints use.
        scaler: scales the losses in float16 (`make_scaler`).
        average: exponential moving average of the generator's weights, what rendering uses.
        epoch, batch, steps: the next batch, and optimiser steps so far.
    """

    networks: Networks
    optimizers: dict[str, torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    average: dict[str, Tensor]
    epoch: int = 0
    batch: int = 0
    steps: int = 0

    def update_average(self, decay: float) -> None:
        """average <- decay average + (1 - decay) weights; a young average follows faster, so that it never lags."""
        decay = min(decay, (1 + self.steps) / (10 + self.steps)) if decay else 0.0
        with torch.no_grad():
            state = self.networks.generator.state_dict()
            floating = [name for name, value in state.items() if value.is_floating_point()]
            averages, values = [self.average[name] for name in floating], [state[name] for name in floating]
            torch._foreach_lerp_(averages, values, 1 - decay)
            for name in state.keys() - floating:
                self.average[name].copy_(state[name])
