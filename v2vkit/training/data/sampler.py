"""Draws the sequences of every batch of an epoch.

Everything is a pure function of (seed, epoch), so a resumed run draws the same sequences as an uninterrupted one, with
any number of processes and loader workers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from v2vkit.artifacts.manifest import ClipInfo


@dataclass(frozen=True)
class Window:
    """`num_frames` frames of clip number `clip` from `start`, `stride` frames apart."""

    clip: int
    start: int
    num_frames: int
    stride: int = 1

    @property
    def times(self) -> range:
        """The numbers of its frames in the clip."""
        return range(self.start, self.start + self.num_frames * self.stride, self.stride)


@dataclass(frozen=True)
class BatchPlan:
    """The sequences of one batch: windows of equal length.

    Attributes:
        epoch: the epoch that it belongs to.
        windows: one per sequence.
        numbers: number of each sequence in the epoch's order of drawing, for `sequence_rng`.
        from_nothing: its sequences begin without past frames (dropped history).
    """

    epoch: int
    windows: tuple[Window, ...]
    numbers: tuple[int, ...]
    from_nothing: bool = False

    @property
    def num_frames(self) -> int:
        """Frames of every window, context included."""
        return self.windows[0].num_frames


def sequence_rng(seed: int, epoch: int, number: int) -> np.random.Generator:
    """Random generator of one sequence: first for dropped history (if enabled), then for augmentation."""
    return np.random.default_rng([seed, epoch, number, 1])


@dataclass(frozen=True)
class ClipSampler:
    """Draws the sequences of an epoch and groups them into batches.

    A sequence is a window of context and generated frames within a clip. The clip is drawn with a probability
    proportional to its length, the start uniformly; a clip shorter than the window is used whole. An epoch generates
    about as many frames as the clips have.

    All sequences of a batch have the same length, and all or none have dropped history: they are sorted by both, so
    that a short clip shortens only batches of short clips. Where the sequences with dropped history do not fill a
    batch, some are switched at random, which keeps the share of dropped history on average.

    Attributes:
        clips: all clips; those with no frame beyond the context are never drawn.
        frames_at: epoch -> generated frames per sequence.
        context: number L of real frames before them.
        batch_size: sequences per batch.
        seed: seed of all draws.
        max_stride: frames of a window lie 1 to this many frames apart, as far as the clip is long enough.
        drop_history: share of the sequences that begin without past frames; None = not enabled.
    """

    clips: tuple[ClipInfo, ...]
    frames_at: Callable[[int], int]
    context: int
    batch_size: int
    seed: int
    max_stride: int = 1
    drop_history: float | None = None

    def batches(self, epoch: int) -> tuple[BatchPlan, ...]:
        """The batches of one epoch (counted from 0); every call gives the same."""
        rng = np.random.default_rng([self.seed, epoch])
        windows = self._windows(rng, self.frames_at(epoch))
        dropped = self._dropped(rng, epoch, len(windows))
        order = list(range(len(windows)))
        if self.batch_size > 1:  # batches of one keep the order of drawing
            order.sort(key=lambda number: (dropped[number], windows[number].num_frames))
        groups = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        if self.batch_size > 1:  # else every epoch would begin with short and end with long sequences
            groups = [groups[i] for i in rng.permutation(len(groups))]
        return tuple(self._batch(rng, epoch, windows, dropped, group) for group in groups)

    def remaining(self, num_epochs: int, *, epoch: int, batch: int) -> Iterator[BatchPlan]:
        """The batches from number `batch` of `epoch` to the end of `num_epochs` epochs."""
        for number in range(epoch, num_epochs):
            yield from self.batches(number)[batch if number == epoch else 0 :]

    def num_generated(self, batch: BatchPlan) -> int:
        """Number of frames generated for a batch, over all its sequences."""
        return (batch.num_frames - self.context) * len(batch.windows)

    def _windows(self, rng: np.random.Generator, num_frames: int) -> list[Window]:
        """The windows of an epoch; their number is a multiple of the batch size."""
        usable = [(number, clip.num_frames) for number, clip in enumerate(self.clips) if clip.num_frames > self.context]
        # Cumulative sum once; `rng.choice` with weights would compute it for every window.
        up_to = np.cumsum(np.array([frames for _, frames in usable], np.float64) / sum(f for _, f in usable))
        up_to /= up_to[-1]
        windows: list[Window] = []
        left = sum(frames for _, frames in usable)

        def draw() -> Window:
            clip, frames = usable[int(np.searchsorted(up_to, rng.random(), side="right"))]
            return _draw_window(rng, clip, frames, min(self.context + num_frames, frames), self.max_stride)

        while not windows or left > num_frames / 2:
            windows.append(draw())
            left -= windows[-1].num_frames - self.context
        wanted = self.batch_size * max(1, round(len(windows) / self.batch_size))
        while len(windows) < wanted:
            windows.append(draw())
        return windows[:wanted]

    def _dropped(self, rng: np.random.Generator, epoch: int, number: int) -> list[bool]:
        """Which sequences have dropped history: a multiple of the batch size, on average the share that is set."""
        share = self.drop_history
        if share is None:
            return [False] * number
        dropped = [bool(sequence_rng(self.seed, epoch, n).random() < share) for n in range(number)]
        rest = sum(dropped) % self.batch_size
        if rest:
            fill = rng.random() < rest / self.batch_size
            changing = [n for n in range(number) if dropped[n] != fill][-(self.batch_size - rest if fill else rest) :]
            for n in changing:
                dropped[n] = fill
        return dropped

    def _batch(
        self, rng: np.random.Generator, epoch: int, windows: list[Window], dropped: list[bool], numbers: list[int]
    ) -> BatchPlan:
        length = min(windows[n].num_frames for n in numbers)
        return BatchPlan(
            epoch, tuple(_shorten(rng, windows[n], length) for n in numbers), tuple(numbers), dropped[numbers[0]]
        )


def _draw_window(rng: np.random.Generator, clip: int, frames: int, length: int, max_stride: int) -> Window:
    """One window of `length` frames from a clip of `frames`."""
    most = min(max_stride, (frames - 1) // max(1, length - 1))
    stride = int(rng.integers(1, most + 1)) if most > 1 else 1
    return Window(clip, int(rng.integers(frames - (length - 1) * stride)), length, stride)


def _shorten(rng: np.random.Generator, window: Window, length: int) -> Window:
    """`length` frames from anywhere in the window."""
    spare = window.num_frames - length
    if not spare:
        return window
    return Window(window.clip, window.start + int(rng.integers(spare + 1)) * window.stride, length, window.stride)
