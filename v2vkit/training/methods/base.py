"""The interface of a training method, which `Trainer.fit` trains."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest
from v2vkit.checkpoint.train_state import Networks, TrainState
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.parallel import Averaging, Parallel, not_averaged
from v2vkit.training.perceptual import resolve_perceptual
from v2vkit.training.schedule import Schedule
from v2vkit.training.terms import LossTerm


@dataclass(frozen=True)
class StepContext:
    """The position of a step in training.

    Attributes:
        epoch: of the full schedule, counted from 0.
        progress: epochs of the full schedule done, with fraction.
        num_frames: largest number of generated frames per sequence in this epoch.
        scale: loss -> scaled loss, before gradients are taken (float16; else the identity).
        averaged: whatever backward starts from passes through it, so that gradients are averaged over the processes
            (`Parallel.averaging`).
    """

    epoch: int
    progress: float
    num_frames: int
    scale: Callable[[Tensor], Tensor] = lambda loss: loss
    averaged: Averaging = not_averaged


class Method(Protocol):
    """Networks, losses, training step and sample picture. A batch is divided into chunks, one optimiser step each."""

    headline: ClassVar[tuple[str, ...]]
    """Losses that the progress bar shows."""

    def networks(self) -> Networks:
        """Name -> network, with the name of its optimiser."""

    def losses(self) -> tuple[LossTerm, ...]:
        """The losses that are on."""

    def chunks(self, batch: VideoBatch, *, skip: int = 0) -> Iterator[Any]:
        """The chunks of a batch, in order; each continues from the state that `step` on the one before has left.

        Args:
            batch: [B, T, ...]; the first frames (`MethodSpec.context`) are real ones.
            skip: number of generated frames to replace by real ones (the plan measures only the chunks after them).
        """

    def step(self, chunk: Any, at: StepContext) -> dict[str, Tensor]:
        """Compute every loss on a chunk and store the gradients, scaled by `at.scale`, in the weights' `grad`.

        Networks without gradients are not updated in this step.

        Returns:
            The unweighted losses by name, for logs.
        """

    def sample(self, chunk: Any) -> NDArray[np.uint8]:
        """A picture [H, W, 3] of the outputs of `step` on a chunk."""

    def num_frames(self, chunk: Any) -> int:
        """Frames that a chunk trains on, for the progress bar."""


@dataclass(frozen=True)
class MethodSpec:
    """Description of a method, available before its networks are built. Most fields are functions of the settings.

    Attributes:
        losses: settings -> all its losses, on or off.
        unused: settings that it does not use; they are refused, as are the loss weights of other methods.
        context: settings -> number L of real frames before the generated ones of a sequence.
        schedule: settings -> its schedule.
        strides: settings -> strides of the flow that it reads, in frames of a sequence.
        coarser: settings -> default checkpoint of the workspace to start from; None = random weights.
        check: settings -> raises V2VError if they do not fit together, beyond what the losses need.
        build: settings, conditions, device, processes -> the method with random weights, a pure function of the seed.
        describe: settings, conditions -> the fields `network`, `encoder` and `first_frame` of `ModelInfo`.
        check_start: settings, conditions, (width, height) of training, folder -> raises V2VError if training cannot
            start from the model in the folder.
        inherit: state, folder, (width, height) -> copies the weights of that model; returns lines for the plan.
        resolve: settings, workspace -> settings with what was left open filled in.
        open_reader: settings, workspace, manifests -> the frames to train on.
        artifacts: settings -> {kind of a condition's artifact: kind that is read in its place}.
        own: settings that only methods which list them use; the others refuse them.
        regions: settings -> whether it reads the regions of frames.
        tracks: whether it can read tracks in place of the instances of label maps.
    """

    name: str
    losses: Callable[[TrainConfig], tuple[LossTerm, ...]]
    unused: tuple[str, ...]
    context: Callable[[TrainConfig], int]
    schedule: Callable[[TrainConfig], Schedule]
    strides: Callable[[TrainConfig], tuple[int, ...]]
    coarser: Callable[[TrainConfig], str | None]
    check: Callable[[TrainConfig], None]
    build: Callable[[TrainConfig, Conditioning, torch.device, Parallel], Method]
    describe: Callable[[TrainConfig, Conditioning], dict[str, Any]]
    check_start: Callable[[TrainConfig, Conditioning, tuple[int, int], Folder], None]
    inherit: Callable[[TrainState, Folder, tuple[int, int]], list[str]]
    resolve: Callable[[TrainConfig, Folder], TrainConfig] = lambda config, work: resolve_perceptual(
        config, work / f"checkpoints/{config.checkpoint}"
    )
    open_reader: Callable[[TrainConfig, Folder, dict[str, Manifest]], ClipReader] = lambda config, work, manifests: (
        ClipReader(work, manifests)
    )
    artifacts: Callable[[TrainConfig], Mapping[str, str]] = lambda config: {}
    own: tuple[str, ...] = ()
    regions: Callable[[TrainConfig], bool] = lambda config: config.model.feature_dims > 0
    tracks: bool = True
