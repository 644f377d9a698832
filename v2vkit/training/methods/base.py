"""What a method is: what is trained, as one object. `Trainer.fit` trains it, whatever it is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.train_state import Networks, TrainState
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.parallel import Parallel
from v2vkit.training.schedule import Schedule
from v2vkit.training.terms import LossTerm


@dataclass(frozen=True)
class StepContext:
    """Where in training a step is.

    Attributes:
        epoch: of the full schedule, counted from 0.
        progress: epochs of the full schedule done, with fraction.
        num_frames: generated frames that a sequence has at most in this epoch.
        scale: multiplies a loss before its gradients are taken (float16; else it changes nothing).
    """

    epoch: int
    progress: float
    num_frames: int
    scale: Callable[[Tensor], Tensor] = lambda loss: loss


class Method(Protocol):
    """Networks, losses, one step and a picture of it. A batch is trained on in chunks, each an optimiser step."""

    headline: ClassVar[tuple[str, ...]]
    """Losses that the progress bar shows."""

    def networks(self) -> Networks:
        """What is trained, by name, and which optimiser updates which."""

    def losses(self) -> tuple[LossTerm, ...]:
        """The losses that are on."""

    def chunks(self, batch: VideoBatch, *, skip: int = 0) -> Iterator[Any]:
        """The parts of a batch that `step` takes, in order; each sees what the ones before it have left.

        Args:
            batch: [B, T, ...], the first `MethodSpec.context` frames being given ones.
            skip: generated frames for which real ones stand in, to measure what comes after them.
        """

    def step(self, chunk: Any, at: StepContext) -> dict[str, Tensor]:
        """Compute every loss on a chunk and put the gradients, scaled by `at.scale`, into the weights' `grad`.

        Networks without a gradient afterwards are not updated in this step.

        Returns:
            The unweighted losses by name, for logs.
        """

    def sample(self, chunk: Any) -> NDArray[np.uint8]:
        """A picture [H, W, 3] of what was made of a chunk in `step`."""

    def num_frames(self, chunk: Any) -> int:
        """Frames that a chunk trains on, for the progress bar."""


@dataclass(frozen=True)
class MethodSpec:
    """What there is to know about a method before its networks are built.

    Attributes:
        losses: settings -> every loss that it has, on or off.
        unused: settings that mean nothing to it; given, they are refused. So are the weights of other methods' losses.
        context: given frames before the generated ones of a sequence (L).
        schedule: settings -> when what happens.
        strides: settings -> strides of the flow that it reads, in frames of a sequence.
        coarser: settings -> checkpoint of the workspace that it starts from, unless another is named; None = from none.
        check: settings -> raises V2VError for those that do not fit together, beyond what the losses need.
        build: settings, source maps, device, processes -> freshly initialised, a pure function of the seed.
        describe: settings, source maps -> the fields of `ModelInfo` that say what is in the model file.
        check_start: settings, source maps, width and height that are trained at, folder -> raises V2VError where the
            model in it cannot be started from.
        inherit: state, folder, width and height -> copies the weights of the model in it; a line per network for the
            plan.
    """

    name: str
    losses: Callable[[TrainConfig], tuple[LossTerm, ...]]
    unused: tuple[str, ...]
    context: int
    schedule: Callable[[TrainConfig], Schedule]
    strides: Callable[[TrainConfig], tuple[int, ...]]
    coarser: Callable[[TrainConfig], str | None]
    check: Callable[[TrainConfig], None]
    build: Callable[[TrainConfig, Conditioning, torch.device, Parallel], Method]
    describe: Callable[[TrainConfig, Conditioning], dict[str, Any]]
    check_start: Callable[[TrainConfig, Conditioning, tuple[int, int], Folder], None]
    inherit: Callable[[TrainState, Folder, tuple[int, int]], list[str]]
