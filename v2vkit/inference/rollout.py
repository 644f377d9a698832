"""Generates a video frame by frame, each from source maps and the model's own past frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.config import Precision
from v2vkit.engine.precision import autocast, resolve_precision
from v2vkit.inference.anchor import ColourAnchor
from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.blocks import downsample, pyramid, upsample_to
from v2vkit.models.generator import Output, advance
from v2vkit.models.layout import from_images, to_image
from v2vkit.models.warp import flow_levels


@dataclass
class Rollout:
    """The state of generating one video; its size does not grow with the video.

    Attributes:
        generator: in evaluation mode, on its device.
        downsamplings: downsamplings by two of its input (`ModelInfo.downsamplings`).
        first_frame_model: generates the first L frames, on the same device; None = the generator does.
        history: past frames per scale; None before the first frame.
        sources: the last L source maps [1, C, H, W], oldest first.
        precision: number format of the convolutions; `auto` leaves imported networks in float32.
        num_first: frames that the first-frame model has generated so far.
        given: remaining real first frames, RGB uint8 [H, W, 3], oldest first.
        anchor: corrects the colours of the generator's frames before they become history; None = they stay.
        forward: runs the generator (`v2vkit.inference.backends`, `tiles`); None = the generator itself.
    """

    generator: AnyGenerator
    downsamplings: int = 0
    first_frame_model: AnyGenerator | None = None
    precision: Precision = "fp32"
    history: list[Tensor] | None = None
    sources: list[Tensor] = field(default_factory=list)
    num_first: int = 0
    given: list[NDArray[np.uint8]] = field(default_factory=list)
    anchor: ColourAnchor | None = None
    forward: Callable[..., list[Output]] | None = None

    def remember(self, s: NDArray[np.float32]) -> Tensor:
        """Store a frame's source map [C, H, W]; returns s_{t-L} … s_t as [1, (L+1) C, H, W].

        The first frame's source map replaces those of missing past frames, as in training.
        """
        length = self.generator.config.history
        current = self._downsampled(self._tensor(s))
        stack = [*(self.sources or [current] * length), current]
        self.sources = stack[1:]
        return torch.cat(stack, 1)

    def step(self, s: NDArray[np.float32], flow: NDArray[np.float32] | None = None) -> Output:
        """The next frame of the finest scale from its source map float32 [C, H, W] in [0, 1].

        Args:
            flow: backward flow in pixels and confidence [3, H, W], in place of the flow that the generator predicts.
        """
        stack = self.remember(s)
        with torch.inference_mode():
            first = self._first_frame(s)
            if first is None:
                with _computing(self.generator, self.precision):
                    run = self.generator if self.forward is None else self.forward
                    replaced = {} if flow is None else {"given_flow": self._flow_levels(flow)}
                    outputs = run(stack, self.history, first_frame=self.history is None, **replaced)
            else:  # at every scale, as if the generator had generated it
                scales = pyramid(self._downsampled(first), self.generator.config.num_scales)
                outputs = [Output(x, h=x, flow=None, mask=None, warped=None) for x in scales]
            if self.anchor is not None:
                outputs = self.anchor.correct(outputs)
            self.history = advance(self.history, outputs, length=self.generator.config.history)
        return outputs[-1]

    def _first_frame(self, s: NDArray[np.float32]) -> Tensor | None:
        """A first frame [1, 3, H, W] in [-1, 1], given or of the first-frame model; None = the generator makes it."""
        if self.given:
            return from_images(self.given.pop(0)[None]).to(next(self.generator.parameters()).device)
        if self.first_frame_model is None or self.num_first >= self.generator.config.history:
            return None
        self.num_first += 1
        with _computing(self.first_frame_model, self.precision):
            return self.first_frame_model(self._tensor(s), None, first_frame=True)[-1].x_fake

    def _flow_levels(self, flow: NDArray[np.float32]) -> list[Tensor]:
        w, confidence = self._tensor(flow).split([2, 1], 1)
        return flow_levels(w, confidence, downsamplings=self.downsamplings, num_scales=self.generator.config.num_scales)

    def image(self, s: NDArray[np.float32], flow: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
        """The next frame as RGB uint8 [H, W, 3], upsampled to the source map's size if the model's is smaller.

        A given first frame is returned unchanged.
        """
        given = self.given[0] if self.given else None
        x = self.step(s, flow).x_fake
        if given is not None:
            return given
        if self.downsamplings:
            x = upsample_to(x, (s.shape[1], s.shape[2]), self.downsamplings)
        return to_image(x[0])

    def images_at_once(self, sources: Sequence[NDArray[np.float32]]) -> list[NDArray[np.uint8]]:
        """Frames of a generator without a past (`is_independent`), made in one batch; as `image` of each.

        A frame of a batch does not depend on how many others there are, from two on; one alone is made twice.

        Args:
            sources: source maps float32 [C, H, W] in [0, 1].
        """
        twice = [*sources, *sources] if len(sources) == 1 else sources
        stack = torch.cat([self._downsampled(self._tensor(s)) for s in twice])
        with torch.inference_mode(), _computing(self.generator, self.precision):
            x = self.generator(stack, None, first_frame=True)[-1].x_fake
        if self.downsamplings:
            x = upsample_to(x, (sources[0].shape[1], sources[0].shape[2]), self.downsamplings)
        return [to_image(frame) for frame in x[: len(sources)]]

    def _tensor(self, s: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(s))[None].to(next(self.generator.parameters()).device)

    def _downsampled(self, x: Tensor) -> Tensor:
        return downsample(x, self.downsamplings)


def render_precision(network: AnyGenerator, precision: Precision) -> Precision:
    """Number format of a network's convolutions on its device: fp32, bf16 or fp16."""
    imported = network.config.norm != "instance"  # must reproduce the published images
    device = next(network.parameters()).device
    return resolve_precision("fp32" if imported and precision == "auto" else precision, device)


def _computing(network: AnyGenerator, precision: Precision) -> torch.autocast:
    return autocast(render_precision(network, precision), next(network.parameters()).device)


def limit_resolution(image: NDArray[np.uint8], downsamplings: int) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] downsampled as in training and upsampled as in rendering: the best a coarse model can do."""
    x = downsample(from_images(image[None]), downsamplings)
    return to_image(upsample_to(x, (image.shape[0], image.shape[1]), downsamplings)[0])
