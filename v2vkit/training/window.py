"""Generates a training window chunk by chunk. A window has L context frames, then the generated ones; B batch."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from v2vkit.models.any_generator import AnyGenerator
from v2vkit.models.covst import with_flow
from v2vkit.models.generator import Output, advance, history_from_images
from v2vkit.training.data.batch import VideoBatch


@dataclass
class WindowState:
    """The state between the chunks of a window; nothing in it carries a gradient.

    Attributes:
        context: number L of real frames at the start of the window.
        history: the generator's past frames per scale; None before the first frame if there are none.
        from_nothing: the window begins without past frames.
        x_fake: finest frames generated so far, each [B, 3, H, W]; number i is frame `context + i` of the window.
    """

    context: int
    history: list[Tensor] | None
    from_nothing: bool
    x_fake: list[Tensor] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The first frame of the window that the generator may use."""
        return self.context if self.from_nothing else 0


@dataclass(frozen=True)
class HistoryNoise:
    """Gaussian noise on the past frames that the generator sees, drawn anew for every frame and scale.

    Attributes:
        sigma: standard deviation, colours in [-1, 1].
        random: the source of its numbers, on the frames' device.
    """

    sigma: float
    random: torch.Generator


def begin_window(sequence: VideoBatch, generator: AnyGenerator, *, from_nothing: bool) -> WindowState:
    """The state before the first generated frame: with the L real frames as history, or without history."""
    config = generator.config
    real = config.history and not from_nothing
    history = history_from_images(sequence.x[:, : config.history], config.num_scales) if real else None
    return WindowState(config.history, history, from_nothing)


def source_stack(
    sequence: VideoBatch, frame: int, history: int, *, first: int, features: dict[int, Tensor] | None = None
) -> Tensor:
    """s_{t-L} … s_t on the channels, each followed by its features where there are any, [B, (L+1) C, H, W].

    Frames before `first` are replaced by `first`.
    """
    times = [max(first, t) for t in range(frame - history, frame + 1)]
    if features is None:
        return torch.cat([sequence.s[:, t] for t in times], 1)
    return torch.cat([part for t in times for part in (sequence.s[:, t], features[t])], 1)


def with_noise(history: list[Tensor], noise: HistoryNoise, *, num_frames: int) -> list[Tensor]:
    """The newest `num_frames` frames of a history [B, 3 L, h, w] per scale with noise; missing ones stay zero."""

    def disturbed(past: Tensor) -> Tensor:
        begin = past.shape[1] - 3 * num_frames
        newest = past[:, begin:]
        drawn = torch.randn(newest.shape, generator=noise.random, device=past.device, dtype=past.dtype)
        return torch.cat([past[:, :begin], newest + noise.sigma * drawn], 1)

    return [disturbed(past) for past in history]


def generate_chunk(
    generator: AnyGenerator,
    sequence: VideoBatch,
    state: WindowState,
    frames: list[int],
    *,
    train_from: int = 0,
    features: dict[int, Tensor] | None = None,
    noise: HistoryNoise | None = None,
) -> list[Output]:
    """Generate `frames` of the window one after another, each frame's history detached (the published default).

    Args:
        train_from: the first spatial scale that gets gradients.
        features: `feature_maps` of every frame whose source map is used; None if the generator takes no features.
        noise: noise on the history as the generator sees it; the state's own history stays without.

    Returns:
        The finest scale's output for each frame, with its graph; `state` is updated.
    """
    outputs = []
    for frame in frames:
        source = source_stack(sequence, frame, state.context, first=state.first, features=features)
        if generator.config.takes_flow:
            source = with_flow(source, sequence.flow[1][:, frame], sequence.confidence[1][:, frame])
        seen = state.history
        if noise is not None and seen is not None:
            seen = with_noise(seen, noise, num_frames=min(state.context, frame - state.first))
        scales = generator(source, seen, first_frame=state.history is None, train_from=train_from)
        state.history = advance(state.history, scales, length=state.context)
        outputs.append(scales[-1])
    state.x_fake += [output.x_fake.detach() for output in outputs]
    return outputs


def chunks(num_frames: int, context: int, size: int) -> Iterator[list[int]]:
    """The generated frames of a window (those after the context) in chunks of at most `size`."""
    for start in range(context, num_frames, size):
        yield list(range(start, min(start + size, num_frames)))
