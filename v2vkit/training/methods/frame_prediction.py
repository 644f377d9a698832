"""The common method of PredNet and MCNet: the next frame from the observed ones, recursively.

A window has L observed frames, then the predicted ones. The network's state is detached between the chunks of a window:
gradients reach back over the frames of a chunk (and, in the first one, over the observed frames).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from v2vkit.engine.precision import autocast
from v2vkit.models.layout import to_image
from v2vkit.training.adversarial import DiscriminatorInputs
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.generated import join
from v2vkit.training.methods.base import StepContext
from v2vkit.training.methods.frames import video_schedule
from v2vkit.training.methods.gan import GANMethod
from v2vkit.training.methods.predictor import NOT_FOR_PREDICTION, prediction_discriminator
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.terms import LossTerm, losses_on
from v2vkit.training.window import chunks

NOT_FOR_FRAMES = (
    *NOT_FOR_PREDICTION,
    "num_down",
    "num_blocks",
    "upsample",
    "flow",
    "num_labels",
    "edges",
    "drop_parts",
)
"""Settings that prediction of frames does not use."""


@dataclass
class FrameChunk:
    """Consecutive frames of a batch to predict, by their numbers in the window; `step` fills `outputs`.

    Attributes:
        sequence: the batch.
        frames: numbers of the frames to predict.
        observe: number L of observed frames.
        state: the network's state after the frames before the chunk, shared by the chunks of a batch; empty before the
            observed frames.
        observed: the frames to observe first [B, L, 3, H, W]; None but in the first chunk.
        outputs: the predicted frames with their graphs, each [B, 3, H, W].
    """

    sequence: VideoBatch
    frames: list[int]
    observe: int
    state: list[Any]
    observed: Tensor | None = None
    outputs: list[Tensor] = field(default_factory=list)

    @cached_property
    def fakes(self) -> list[Tensor]:
        """The predicted frames detached, which the discriminator sees; leaves that collect gradients."""
        return [output.detach().requires_grad_() for output in self.outputs]

    @cached_property
    def predicted(self) -> Tensor:
        """The predicted frames [n B, 3, H, W]."""
        return join(self.outputs)

    @cached_property
    def real(self) -> Tensor:
        """The real frames [n B, 3, H, W]."""
        return join([self.sequence.x[:, t] for t in self.frames])


def predicted_inputs(chunk: FrameChunk) -> DiscriminatorInputs:
    """The L real frames before each frame, and the frame: real or predicted."""
    past = join([chunk.sequence.x[:, t - chunk.observe : t].flatten(1, 2) for t in chunk.frames])
    fakes = [torch.cat([past, join(chunk.fakes)], 1)]
    return DiscriminatorInputs(torch.cat([past, chunk.real], 1), fakes)


class FramePredictionMethod(GANMethod):
    """A network with `observe` and `predict`, and its discriminator where a loss needs one."""

    headline: ClassVar[tuple[str, ...]] = ("P_Frames",)
    generator: Any

    def __init__(
        self,
        config: TrainConfig,
        device: torch.device,
        *,
        build: Callable[[], nn.Module],
        detach: Callable[[Any], Any],
        terms: tuple[LossTerm, ...],
        parallel: Parallel = ALONE,
    ):
        """Builds the networks with random weights, a pure function of the seed.

        Args:
            build: makes the network.
            detach: its state -> the state without gradients.
            terms: the method's losses, on or off.
        """
        self.config, self.parallel, self.detach = config, parallel, detach
        self.terms, self.schedule = losses_on(terms, config), video_schedule(config)
        torch.manual_seed(config.data.seed)
        self.generator = build().to(device)
        names = [term.network for term in self.terms if term.network is not None]
        channels = 3 * (config.model.observe + 1)
        self.discriminators = {name: prediction_discriminator(config, channels).to(device) for name in names}
        self.lay_out(device)

    def chunks(self, batch: VideoBatch, *, skip: int = 0) -> Iterator[FrameChunk]:
        """The frames to predict in chunks of `--chunk`; every window begins from observed frames."""
        observe, state = self.config.model.observe, list[Any]()
        observed: Tensor | None = batch.x[:, skip : skip + observe]
        for frames in chunks(batch.x.shape[1], observe + skip, self.config.schedule.chunk):
            yield FrameChunk(batch, frames, observe, state, observed)
            observed = None

    def step(self, chunk: FrameChunk, at: StepContext) -> dict[str, Tensor]:
        """Predict the chunk, compute every loss on it, and store the gradients of all networks."""
        with autocast(self.config.hardware.precision, chunk.sequence.x.device):
            if chunk.observed is not None:
                chunk.state[:] = [self.generator.observe(chunk.observed)]
            for _ in chunk.frames:
                frame, chunk.state[0] = self.generator.predict(chunk.state[0])
                chunk.outputs.append(frame.float())
        losses = self.take_losses(chunk, at, heads=chunk.outputs, fakes=chunk.fakes)
        chunk.state[0] = self.detach(chunk.state[0])
        return losses

    def sample(self, chunk: FrameChunk) -> NDArray[np.uint8]:
        """Rows: real, predicted; columns: frames of the batch's first sequence."""
        pairs = zip(chunk.frames, chunk.outputs, strict=True)
        columns = [np.concatenate([to_image(chunk.sequence.x[0, t]), to_image(x[0])], 0) for t, x in pairs]
        return np.concatenate(columns, 1)
