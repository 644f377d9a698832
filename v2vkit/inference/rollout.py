"""Generating a video frame by frame, each frame from the source maps and the model's own past frames."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.config import Precision
from v2vkit.engine.precision import autocast, computes_in
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.blocks import enlarge, halve, pyramid
from v2vkit.models.generator import Output, advance
from v2vkit.models.layout import from_images, to_image


@dataclass
class Rollout:
    """The state of one video in the making; constant size, however long the video is.

    Attributes:
        generator: in evaluation mode, on its device.
        halvings: how often what it is given is halved first (`ModelInfo.halvings`).
        first_frame_model: makes the first L frames, on the same device; None = the generator begins.
        history: past frames per scale; None before the first frame.
        sources: the last L source maps [1, C, H, W], oldest first.
        precision: what the networks' convolutions compute in; `auto` leaves imported networks in float32.
        num_first: frames that the first-frame model has made.
        given: real frames still to come in place of generated ones, RGB uint8 [H, W, 3], oldest first.
    """

    generator: AnyGenerator
    halvings: int = 0
    first_frame_model: AnyGenerator | None = None
    precision: Precision = "fp32"
    history: list[Tensor] | None = None
    sources: list[Tensor] = field(default_factory=list)
    num_first: int = 0
    given: list[NDArray[np.uint8]] = field(default_factory=list)

    def remember(self, s: NDArray[np.float32]) -> Tensor:
        """Take note of a frame's source map [C, H, W], and give s_{t-L} … s_t as [1, (L+1) C, H, W].

        Before the first frame there is no past: its source map stands in for the missing ones, as in training.
        """
        length = self.generator.config.history
        current = self._halved(self._tensor(s))
        stack = [*(self.sources or [current] * length), current]
        self.sources = stack[1:]
        return torch.cat(stack, 1)

    def step(self, s: NDArray[np.float32]) -> Output:
        """The next frame of the finest scale from its source map float32 [C, H, W] in [0, 1]."""
        stack = self.remember(s)
        with torch.inference_mode():
            first = self._first_frame(s)
            if first is None:
                with _computing(self.generator, self.precision):
                    outputs = self.generator(stack, self.history, first_frame=self.history is None)
            else:  # at every scale, as if the generator had made it
                scales = pyramid(self._halved(first), self.generator.config.num_scales)
                outputs = [Output(x, h=x, flow=None, mask=None, warped=None) for x in scales]
            self.history = advance(self.history, outputs, length=self.generator.config.history)
        return outputs[-1]

    def _first_frame(self, s: NDArray[np.float32]) -> Tensor | None:
        """The frame [1, 3, H, W] in [-1, 1] that the generator does not make: given, or of the other model."""
        if self.given:
            return from_images(self.given.pop(0)[None]).to(next(self.generator.parameters()).device)
        if self.first_frame_model is None or self.num_first >= self.generator.config.history:
            return None
        self.num_first += 1
        with _computing(self.first_frame_model, self.precision):
            return self.first_frame_model(self._tensor(s), None, first_frame=True)[-1].x_fake

    def image(self, s: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The next frame as RGB uint8 [H, W, 3], enlarged to the source map's size where the model's is smaller.

        A given frame comes back as it is.
        """
        given = self.given[0] if self.given else None
        x = self.step(s).x_fake
        if given is not None:
            return given
        if self.halvings:
            x = enlarge(x, (s.shape[1], s.shape[2]), self.halvings)
        return to_image(x[0])

    def images_at_once(self, sources: Sequence[NDArray[np.float32]]) -> list[NDArray[np.uint8]]:
        """Frames of a generator without a past (`is_independent`), made in one batch; as `image` of each.

        A frame of a batch does not depend on how many others there are, from two on; one alone is made twice.

        Args:
            sources: source maps float32 [C, H, W] in [0, 1].
        """
        twice = [*sources, *sources] if len(sources) == 1 else sources
        stack = torch.cat([self._halved(self._tensor(s)) for s in twice])
        with torch.inference_mode(), _computing(self.generator, self.precision):
            x = self.generator(stack, None, first_frame=True)[-1].x_fake
        if self.halvings:
            x = enlarge(x, (sources[0].shape[1], sources[0].shape[2]), self.halvings)
        return [to_image(frame) for frame in x[: len(sources)]]

    def _tensor(self, s: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(s))[None].to(next(self.generator.parameters()).device)

    def _halved(self, x: Tensor) -> Tensor:
        return halve(x, self.halvings)


def renders_in(network: AnyGenerator, precision: Precision) -> Precision:
    """What a network's convolutions compute in where it lies, by name: fp32, bf16 or fp16."""
    imported = network.config.norm != "instance"  # which must give the published images
    device = next(network.parameters()).device
    return computes_in("fp32" if imported and precision == "auto" else precision, device)


def _computing(network: AnyGenerator, precision: Precision) -> torch.autocast:
    return autocast(renders_in(network, precision), next(network.parameters()).device)


def made_coarse(image: NDArray[np.uint8], halvings: int) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] as a model of `halvings` can give it at best: halved as for training, enlarged as here."""
    x = halve(from_images(image[None]), halvings)
    return to_image(enlarge(x, (image.shape[0], image.shape[1]), halvings)[0])
