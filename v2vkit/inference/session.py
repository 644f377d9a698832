"""Renders conditioned frames in one pass and constant memory.

A frame passes `inference.sources` (read) -> `inference.conditioned` (shots, crop, annotations, channels) -> `Session`
(generator) -> `video.sinks` (write).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.config import Precision
from v2vkit.engine.devices import fitting
from v2vkit.engine.threads import batched, map_in_threads, prefetch
from v2vkit.inference.anchor import ColourAnchor
from v2vkit.inference.conditioned import ConditionedFrame
from v2vkit.inference.rollout import Rollout
from v2vkit.inference.styles import Style
from v2vkit.models.any_generator import AnyGenerator, is_independent
from v2vkit.models.generator import Output

Maps = NDArray[np.float32]
"""Source maps [C, H, W] in [0, 1]."""

_PIXELS = 1 << 20
"""Of a batch of independent frames."""
_BATCH = 4
"""Frames; more gain little, and the source maps of all of them are in memory."""

FADE = 8
"""Frames over which a refreshed rollout is faded in; half of `refresh` where that is less."""


@dataclass
class Session:
    """Renders a video one frame at a time; the rollout restarts with every shot.

    Attributes:
        generator: in evaluation mode, on its device.
        downsamplings: as in `ModelInfo`.
        first_frames: L real frames [L, H, W, 3] that replace the first L of each shot.
        first_frame_model: generates the first L frames of each shot (`v2vkit.inference.first_frames`).
        style: for a generator that takes features (`find_style`).
        precision, forward: as in `Rollout`.
        given_flow: warp with the flow of the frames in place of the predicted flow (`VideoGenerator`).
        refresh: start afresh from nothing every so many frames of a shot, cross-faded; 0 = never.
        settle: generate the first frame of a rollout so many times more, each from the one before, and keep the last.
        anchor_colours: keep mean and spread of the colours at those of the beginning of the shot (`ColourAnchor`).
        rollouts: of the shot in the making: one, or during a cross-fade the old one and its successor.
        shot, age: number of the shot, and of its frames so far.
    """

    generator: AnyGenerator
    downsamplings: int = 0
    first_frames: Image | None = None
    first_frame_model: AnyGenerator | None = None
    style: Style | None = None
    precision: Precision = "fp32"
    forward: Callable[..., list[Output]] | None = None
    given_flow: bool = False
    refresh: int = 0
    settle: int = 0
    anchor_colours: bool = False
    rollouts: list[Rollout] = field(default_factory=list, init=False)
    shot: int = field(default=0, init=False)
    age: int = field(default=0, init=False)

    def step(self, frame: ConditionedFrame) -> Image:
        """The next frame, RGB uint8 [H, W, 3]; within a shot it continues the frames before."""
        if not self.rollouts or frame.frame.shot != self.shot:
            self.rollouts, self.shot, self.age = [], frame.frame.shot, 0
        flow = None
        if self.given_flow and frame.flow is not None:
            flow = frame.flow if frame.flow[2].any() else None  # zero where a clip starts: the predicted one
            frame = replace(frame, flow=None)
        s = frame.conditioning(self.style)
        if not self.rollouts or (self.refresh and self.age and self.age % self.refresh == 0):
            self.rollouts.append(self._begin(s, flow))
        images = [rollout.image(s, flow) for rollout in self.rollouts]
        if len(images) > 1:
            fade = min(FADE, self.refresh // 2)
            step = self.age % self.refresh + 1
            images = [cross_fade(images[0], images[-1], step / (fade + 1))]
            if step >= fade:
                self.rollouts = self.rollouts[-1:]
        self.age += 1
        return images[0]

    def _begin(self, s: Maps, flow: Maps | None) -> Rollout:
        """A rollout at the beginning of a shot or at a refresh, before the frame that `s` shows, or settled on it."""
        given, anchor = [], ColourAnchor() if self.anchor_colours else None
        if self.rollouts:
            before = self.rollouts[-1].anchor
            anchor = None if before is None else before.restarted()
        elif self.first_frames is not None:
            given = list(self.first_frames)
        model = None if given else self.first_frame_model
        rollout = Rollout(self.generator, self.downsamplings, model, self.precision, given=given, forward=self.forward)
        for _ in range(self.settle):
            rollout.step(s, flow)
        rollout.anchor = anchor  # its reference are the frames that are shown
        return rollout

    def render(self, frames: Iterable[ConditionedFrame]) -> Iterator[tuple[ConditionedFrame, Image]]:
        """Every frame with its rendering; several at once where none depends on another (`frames_at_once`).

        What a batch makes of a frame is what `step` makes of it, up to the rounding of sums.
        """
        iterator = iter(frames)
        first = next(iterator, None)
        if first is None:
            return
        # Anchored colours depend on the frames before; back ends have graphs for one frame.
        several = not self.anchor_colours and self.forward is None
        number = frames_at_once(self.generator, first.s.shape[1], first.s.shape[2]) if several else 1
        rollout = Rollout(self.generator, self.downsamplings, precision=self.precision)
        for batch in batched(chain([first], iterator), number):
            if number == 1:
                images = [self.step(frame) for frame in batch]
            else:
                images = rollout.images_at_once([frame.conditioning(self.style) for frame in batch])
            yield from zip(batch, images, strict=True)


def frames_at_once(generator: AnyGenerator, height: int, width: int) -> int:
    """How many frames of a video `generator` makes in one batch: one, unless they are independent of each other.

    Networks that normalise over a batch would make one frame depend on the others. Large frames are made one by one:
    their activations take the memory, and a batch gains nothing.
    """
    if not is_independent(generator.config) or generator.config.norm != "instance":
        return 1
    return max(1, min(_BATCH, _PIXELS // (height * width)))


def cross_fade(old: Image, new: Image, share: float) -> Image:
    """The mean of two pictures, RGB uint8 [H, W, 3], with `share` of the new one, 0 to 1."""
    mixed = old * np.float32(1 - share) + new * np.float32(share)
    return np.rint(mixed).astype(np.uint8)


def prepare_ahead(frames: Iterable[ConditionedFrame], device: torch.device) -> Iterator[ConditionedFrame]:
    """Prepares frames ahead of the network on `device`: in parallel, on a CPU in turns.

    On a CPU a thread beside the network would take a core from one of its threads, and in every layer all others would
    wait for it. So a few frames are conditioned, then as many are rendered.
    """
    return chain.from_iterable(batched(frames, _BATCH)) if device.type == "cpu" else prefetch(frames)


def write_each(
    rendered: Iterator[tuple[ConditionedFrame, Image]],
    write: Callable[[ConditionedFrame, Image], None],
    device: torch.device,
) -> Iterator[ConditionedFrame]:
    """Calls `write` for every frame in order, in a thread; on a CPU while the next are conditioned (`prepare_ahead`).

    Yields:
        The frames that have been written.
    """

    def write_all(batch: list[tuple[ConditionedFrame, Image]]) -> list[ConditionedFrame]:
        for frame, image in batch:
            write(frame, image)
        return [frame for frame, _ in batch]

    size = _BATCH if device.type == "cpu" else 1
    return chain.from_iterable(map_in_threads(write_all, batched(rendered, size), waiting=_BATCH // size))


def warm_up(
    generator: AnyGenerator,
    width: int,
    height: int,
    downsamplings: int = 0,
    precision: Precision = "fp32",
    forward: Callable[..., list[Output]] | None = None,
) -> None:
    """Generates one frame and discards it, so that too little memory is found before anything is written.

    Args:
        forward: runs the generator, as in `Rollout`.

    Raises:
        V2VError: the model does not fit into the device's memory.
    """
    zeros = np.zeros((generator.config.source_channels, height, width), np.float32)
    device = next(generator.parameters()).device
    with fitting("The model", device, "Close other programs that use that memory, or give another --device."):
        rollout = Rollout(generator, downsamplings, precision=precision, forward=forward)
        number = frames_at_once(generator, height, width) if forward is None else 1
        if number == 1:
            rollout.step(zeros)
        else:
            rollout.images_at_once([zeros] * number)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
