"""Which sequences the batches of an epoch are made of.

Everything here is a pure function of (seed, epoch), so a resumed run draws what the stopped one would have drawn,
whatever the number of processes and loader workers.
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
    """What one batch is made of: windows of one length.

    Attributes:
        epoch: in which it is trained on.
        windows: one per sequence.
        numbers: of the sequences, in the order in which the epoch drew them; `sequence_rng` draws by it.
        from_nothing: its sequences begin without real frames (dropped history).
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
    """What is drawn for one sequence: first whether its history is dropped (if any is), then its augmentation."""
    return np.random.default_rng([seed, epoch, number, 1])


@dataclass(frozen=True)
class ClipSampler:
    """Draws the sequences of an epoch and makes batches of sequences that are alike.

    A sequence is a window of context + generated frames that never crosses a clip's end. Its clip is drawn in
    proportion to the clip's length, its start uniformly; a clip that is shorter than the window is used whole. An epoch
    generates about as many frames as the clips have.

    The sequences of a batch have one length and agree on whether history is dropped: they are sorted by both, so that a
    short clip shortens only batches of short clips. The last sequences of an epoch that do not fill a batch change
    sides, at random in such a way that the share of dropped history stays what is set.

    Attributes:
        clips: all clips; those with no frame beyond the context are never drawn.
        frames_at: epoch -> generated frames per sequence.
        context: real frames before them (L).
        batch_size: sequences per batch.
        seed: of everything that is drawn.
        max_stride: frames of a window lie 1 to this many frames apart, as far as its clip reaches.
        drop_history: share of the sequences that begin from nothing; None = videos do not begin so.
    """

    clips: tuple[ClipInfo, ...]
    frames_at: Callable[[int], int]
    context: int
    batch_size: int
    seed: int
    max_stride: int = 1
    drop_history: float | None = None

    def batches(self, epoch: int) -> tuple[BatchPlan, ...]:
        """The batches of one epoch (counted from 0); the same for every call."""
        rng = np.random.default_rng([self.seed, epoch])
        windows = self._windows(rng, self.frames_at(epoch))
        dropped = self._dropped(rng, epoch, len(windows))
        order = list(range(len(windows)))
        if self.batch_size > 1:  # alone, sequences stay in the order of drawing
            order.sort(key=lambda number: (dropped[number], windows[number].num_frames))
        groups = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        if self.batch_size > 1:  # or every epoch would go from short to long sequences
            groups = [groups[i] for i in rng.permutation(len(groups))]
        return tuple(self._batch(rng, epoch, windows, dropped, group) for group in groups)

    def remaining(self, num_epochs: int, *, epoch: int, batch: int) -> Iterator[BatchPlan]:
        """The batches of all epochs up to `num_epochs`, from number `batch` of `epoch` on."""
        for number in range(epoch, num_epochs):
            yield from self.batches(number)[batch if number == epoch else 0 :]

    def num_generated(self, batch: BatchPlan) -> int:
        """Frames that a batch generates, over all its sequences."""
        return (batch.num_frames - self.context) * len(batch.windows)

    def _windows(self, rng: np.random.Generator, num_frames: int) -> list[Window]:
        """The sequences of an epoch, as many as fill its batches."""
        usable = [(number, clip.num_frames) for number, clip in enumerate(self.clips) if clip.num_frames > self.context]
        # Summed once: `rng.choice` with these weights would add them all up again for every window.
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
        """Which sequences begin from nothing: a multiple of the batch size, on average the share that is set."""
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
