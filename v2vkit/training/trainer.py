"""Everything that changes while training."""

from dataclasses import dataclass

import torch
from torch import Tensor

from v2vkit.checkpoint.model_file import model_weights
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.discriminator import Discriminator
from v2vkit.models.encoder import FeatureEncoder
from v2vkit.models.perceptual import VGGFeatures


@dataclass(frozen=True)
class Networks:
    """Everything that is trained, and VGG where a weights file was given; E where there are features."""

    generator: AnyGenerator
    image: Discriminator
    video: list[Discriminator]
    face: Discriminator | None = None
    vgg: VGGFeatures | None = None
    encoder: FeatureEncoder | None = None

    def named(self) -> dict[str, torch.nn.Module]:
        """The trained networks by the name that checkpoints use."""
        modules: dict[str, torch.nn.Module] = {"generator": self.generator, "image": self.image}
        modules |= {f"video{scale}": network for scale, network in enumerate(self.video)}
        others = {"face": self.face, "encoder": self.encoder}
        return modules | {name: module for name, module in others.items() if module is not None}

    def parameters(self, name: str) -> list[torch.nn.Parameter]:
        """What the optimiser of that name updates: E's weights with the generator's."""
        with_it = [self.encoder] if name == "generator" and self.encoder is not None else []
        return [parameter for module in (self.named()[name], *with_it) for parameter in module.parameters()]

    def model_state(self) -> dict[str, Tensor]:
        """The weights that the model file holds: the generator's, and E's where there is one."""
        return model_weights(self.generator, self.encoder)


@dataclass
class Trainer:
    """Everything that changes while training.

    Attributes:
        networks, optimizers: by the names that checkpoints use.
        scaler: scales the losses in float16 (`make_scaler`).
        average: exponential moving average of the model's weights, what rendering uses.
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
            state = self.networks.model_state()
            floating = [name for name, value in state.items() if value.is_floating_point()]
            averages, values = [self.average[name] for name in floating], [state[name] for name in floating]
            torch._foreach_lerp_(averages, values, 1 - decay)
            for name in state.keys() - floating:
                self.average[name].copy_(state[name])
