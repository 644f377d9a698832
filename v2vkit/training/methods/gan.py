"""The common base of the methods that train a generator: its networks, and the end of every step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch import config as functorch

from v2vkit.checkpoint.train_state import Network
from v2vkit.models.discriminator import Discriminator
from v2vkit.training.adversarial import adversarial_losses
from v2vkit.training.config import TrainConfig
from v2vkit.training.gradients import store_gradients
from v2vkit.training.methods.base import StepContext
from v2vkit.training.reconstruction import reconstruction_losses
from v2vkit.training.schedule import Schedule
from v2vkit.training.terms import LossTerm, weights_now


class GANMethod:
    """A generator, and the discriminators that its losses need.

    Attributes:
        terms: the losses that are on.
        discriminators: by the names that `terms` use; empty = trained without an adversary.
    """

    config: TrainConfig
    terms: tuple[LossTerm, ...]
    schedule: Schedule
    generator: nn.Module
    discriminators: dict[str, Discriminator]

    def networks(self) -> dict[str, Network]:
        """G, and each discriminator with its own optimiser."""
        discriminators = {name: Network(module, name) for name, module in self.discriminators.items()}
        return {"generator": Network(self.generator, "generator", prefix=""), **discriminators}

    def lay_out(self, device: torch.device) -> None:
        """Set memory layout and compilation of all networks in place, which keeps the names of weights."""
        hardware = self.config.hardware
        for network in self.networks().values():
            if device.type == "cuda" if hardware.channels_last is None else hardware.channels_last:
                network.module.to(memory_format=torch.channels_last)
            if hardware.compile and device.type != "meta":
                # Two gradients are taken from D's graph, so the first must not free the buffers of the compiled one.
                functorch.donated_buffer = False
                network.module.compile()

    def losses(self) -> tuple[LossTerm, ...]:
        """The losses that are on."""
        return self.terms

    def num_frames(self, chunk: Any) -> int:
        """Frames of this chunk over all sequences of the batch."""
        return len(chunk.frames) * self.config.data.batch_size

    def take_losses(
        self, chunk: Any, at: StepContext, *, heads: Sequence[Tensor], fakes: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Compute every loss on a chunk, and store the gradients of all networks.

        Args:
            chunk: what the losses' functions take.
            heads, fakes: outputs of the generator with their graphs, and the same outputs detached (`store_gradients`).

        Returns:
            The unweighted losses by name.
        """
        weights = self._weights(at)
        reconstruction = reconstruction_losses(weights, chunk)
        if not self.discriminators:
            assert reconstruction.total is not None
            torch.autograd.backward(at.averaged("generator", [at.scale(reconstruction.total)]))
            return reconstruction.terms
        of_networks = {term: weight for term, weight in weights.items() if term.network is not None}
        adversarial = adversarial_losses(self.config, of_networks, self.discriminators, chunk)
        store_gradients(heads, fakes, reconstruction.total, adversarial, self.discriminators, at.scale, at.averaged)
        return reconstruction.terms | adversarial.generator.terms | adversarial.terms

    def _weights(self, at: StepContext) -> dict[LossTerm, float]:
        """The losses that this epoch's sequences are long enough for, with their weights now."""
        return weights_now(
            self.terms, self.config, self.schedule, epoch=at.epoch, num_frames=at.num_frames, progress=at.progress
        )
