"""Training sequences: windows of consecutive frames of one clip, joined from several artifacts.

Which window step n of epoch e uses is a pure function of (seed, e, n), so a resumed run draws what the killed one would
have drawn, whatever the number of loader processes.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.artifacts.shard import sample_key
from v2vkit.conditions.augment import Change, move_flow, move_ids, move_image
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.errors import V2VError
from v2vkit.models.blocks import halve

_CACHE_BYTES = 1 << 30

Arrays = dict[str, NDArray[Any]]
Kept = dict[str, Any]  # arrays, or tensors by the same names


@dataclass(frozen=True)
class Window:
    """`num_frames` frames of `clip` from `start`, `step` frames apart."""

    clip: int
    start: int
    num_frames: int
    step: int = 1

    @property
    def times(self) -> range:
        """The numbers of its frames in the clip."""
        return range(self.start, self.start + self.num_frames * self.step, self.step)


@dataclass(frozen=True)
class Sequence:
    """One training sequence [T, ...], after `stack` a batch [B, T, ...]; T frames, the first L of which are context.

    Attributes:
        x: real frames [T, 3, H, W] in [-1, 1].
        s: source maps [T, C, H, W] in [0, 1].
        flow: stride k -> backward flow [T, 2, H, W] in pixels; frame i points into frame i - k. Zero where absent.
        confidence: stride k -> [T, 1, H, W] in [0, 1]; zero where the flow is absent.
        regions: ids of the regions that features are averaged over, int32 [T, 1, H, W] at the size on disk, however
            often the rest is halved; None = there are no features.
    """

    x: Tensor
    s: Tensor
    flow: dict[int, Tensor]
    confidence: dict[int, Tensor]
    regions: Tensor | None = None


class SequenceDataset:
    """Windows of frames, maps and flow as tensors; decoded frames are kept in memory up to a limit."""

    def __init__(
        self,
        reader: ClipReader,
        source: Conditioning,
        *,
        strides: tuple[int, ...],
        flip: bool = False,
        halvings: int = 0,
        regions: bool = False,
    ):
        self.reader, self.source, self.strides, self.flip, self.halvings = reader, source, strides, flip, halvings
        self._regions = regions
        self._cache: OrderedDict[tuple[int, ...], Kept] = OrderedDict()
        self._cached_bytes = 0

    def _cached(self, key: tuple[int, ...], make: Callable[[], Kept]) -> Kept:
        """What `make` gives, kept as long as there is room for it."""
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        kept = make()
        size = sum(array.nbytes for array in kept.values())
        if size <= _CACHE_BYTES:
            self._cache[key] = kept
            self._cached_bytes += size
            while self._cached_bytes > _CACHE_BYTES:
                _, dropped = self._cache.popitem(last=False)
                self._cached_bytes -= sum(array.nbytes for array in dropped.values())
        return kept

    def _seen(
        self,
        key: tuple[int, int, int],
        read: Callable[[], Arrays],
        changed: Callable[[Arrays], Arrays] | None,
        finished: Callable[[Arrays, bool, int], Kept],
        flip: bool,
    ) -> Kept:
        """The tensors that `finished` makes of what `read` gives for (clip, frame, step of the flow, or 0)."""
        if changed is None and self.halvings:
            # What is left is kept, of each side of the mirror: halving is the longest part of the work.
            return self._cached((*key, int(flip)), lambda: finished(read(), flip, self.halvings))
        arrays = self._cached(key, read)
        return finished(arrays if changed is None else changed(arrays), flip, self.halvings)

    def _frame(self, clip: int, t: int) -> Arrays:
        """A frame, its source map and regions, in compact types."""
        name = self.reader.clips[clip].name
        s = self.reader.channels(self.source, name, t)
        arrays: Arrays = {"x": self.reader.frame(name, t), "s": s}
        if arrays["x"].shape[:2] != s.shape[1:]:
            raise V2VError(
                f"Frame {sample_key(name, t)} is {arrays['x'].shape[1]}x{arrays['x'].shape[0]}, but its source map is "
                f"{s.shape[2]}x{s.shape[1]}.",
                "Make the maps again from these frames.",
            )
        if self._regions:
            arrays["regions"] = self.reader.regions(self.source, name, t)
        return arrays

    def _flow(self, clip: int, t: int, stride: int) -> Arrays:
        """Flow and confidence (as bytes) of a frame; empty where there are none."""
        pair = self.reader.flow(self.reader.clips[clip].name, t, stride)
        if pair is None:
            return {}
        return {"flow": pair[0].astype(np.float32), "confidence": np.rint(pair[1] * 255).astype(np.uint8)}

    def _changed(self, arrays: Arrays, clip: int, t: int, change: Change) -> Arrays:
        """What `_frame` gave of a changed frame, made anew each time."""
        x = move_image(arrays["x"], change.move)
        annotations = self.reader.annotations(self.source, self.reader.clips[clip].name, t, "augment")
        s = self.source.channels(self.source.augment(annotations, change), x)
        changed: Arrays = {"x": x, "s": s}
        if self._regions:
            changed["regions"] = move_ids(arrays["regions"], change.move)
        return changed

    def _one(self, window: Window, i: int, flip: bool, change: Change | None) -> Sequence:
        """Frame i of a window, T = 1."""
        clip, t = window.clip, window.times[i]
        changed = None if change is None else partial(self._changed, clip=clip, t=t, change=change)
        frame = self._seen((clip, t, 0), partial(self._frame, clip, t), changed, _finished_frame, flip)
        none = torch.zeros(1, 3, *frame["x"].shape[-2:])
        flow, confidence = {}, {}
        moved = None if change is None else partial(_moved_flow, change=change)
        for k in self.strides:
            key = (clip, t, k * window.step)
            # A flow that points before the window has no frame to pair with.
            found = self._seen(key, partial(self._flow, *key), moved, _finished_flow, flip) if i >= k else {}
            flow[k], confidence[k] = found.get("flow", none[:, :2]), found.get("confidence", none[:, 2:])
        return Sequence(frame["x"], frame["s"], flow, confidence, frame.get("regions"))

    def load(self, window: Window, *, flip: bool = False, change: Change | None = None) -> Sequence:
        """The tensors of one window, halved as often as set.

        Args:
            flip: mirror it left to right, flow included.
            change: shift, turn and zoom it, leave parts of people out.
        """
        # Halved one by one: a coarse stage never holds a whole window at the finest size.
        changes = [None if change is None else change.at(t) for t in window.times]
        return _joined([self._one(window, i, flip, change) for i, change in enumerate(changes)], torch.cat)


def _finished_frame(arrays: Arrays, flip: bool, halvings: int) -> Kept:
    """What is read of a frame as tensors of a `Sequence`, T = 1."""
    x = torch.from_numpy(arrays["x"]).permute(2, 0, 1)[None].float() / 127.5 - 1
    s = torch.from_numpy(arrays["s"])[None].float() / 255
    regions = torch.from_numpy(arrays["regions"])[None, None] if "regions" in arrays else None
    one = Sequence(x, s, {}, {}, regions)
    one = halved(mirrored(one) if flip else one, halvings)
    return {name: of for name, of in (("x", one.x), ("s", one.s), ("regions", one.regions)) if of is not None}


def _finished_flow(arrays: Arrays, flip: bool, halvings: int) -> Kept:
    """The same of its flow and confidence, where there are any."""
    if not arrays:
        return {}
    w = torch.from_numpy(arrays["flow"]).permute(2, 0, 1)[None].contiguous()
    c = torch.from_numpy(arrays["confidence"])[None, None].float() / 255
    w, c = _halved_flow(_mirrored_flow(w), c.flip(-1), halvings) if flip else _halved_flow(w, c, halvings)
    return {"flow": w, "confidence": c}


def _moved_flow(arrays: Arrays, change: Change) -> Arrays:
    """What is read of the flow between two frames that are both changed."""
    if not arrays:
        return {}
    vectors, moved = move_flow(arrays["flow"], arrays["confidence"].astype(np.float32), change.move)
    return {"flow": vectors, "confidence": np.rint(moved).astype(np.uint8)}


def mirrored(sequence: Sequence) -> Sequence:
    """The sequence seen in a mirror: every map flipped left to right, horizontal flow negated."""
    return Sequence(
        sequence.x.flip(-1),
        sequence.s.flip(-1),
        {k: _mirrored_flow(w) for k, w in sequence.flow.items()},
        {k: c.flip(-1) for k, c in sequence.confidence.items()},
        None if sequence.regions is None else sequence.regions.flip(-1),
    )


def _mirrored_flow(flow: Tensor) -> Tensor:
    return flow.flip(-1) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)


def halved(sequence: Sequence, times: int) -> Sequence:
    """The sequence at 1 / 2^times of its size, maps as the generator's pyramid makes them, flow in the new pixels.

    Regions stay at their size: ids cannot be mixed.
    """
    pairs = {k: _halved_flow(w, sequence.confidence[k], times) for k, w in sequence.flow.items()}
    return Sequence(
        halve(sequence.x, times),
        halve(sequence.s, times),
        {k: w for k, (w, _) in pairs.items()},
        {k: c for k, (_, c) in pairs.items()},
        sequence.regions,
    )


def _halved_flow(flow: Tensor, confidence: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """The mean of what is trusted, as far as anything is: wild vectors must not spoil the good ones beside them."""
    for _ in range(times):
        share = halve(confidence)
        trusted = halve(flow * confidence) / share.clamp(min=1e-6)
        flow, confidence = torch.where(share > 1e-6, trusted, halve(flow)) / 2, share
    return flow, confidence


def stack(sequences: list[Sequence]) -> Sequence:
    """Sequences of one length as a batch: [B, T, ...]."""
    return _joined(sequences, torch.stack)


def _joined(sequences: list[Sequence], join: Callable[[list[Tensor]], Tensor]) -> Sequence:
    regions = [q.regions for q in sequences if q.regions is not None]
    return Sequence(
        join([q.x for q in sequences]),
        join([q.s for q in sequences]),
        {k: join([q.flow[k] for q in sequences]) for k in sequences[0].flow},
        {k: join([q.confidence[k] for q in sequences]) for k in sequences[0].confidence},
        join(regions) if regions else None,
    )


def draw_windows(
    clips: tuple[ClipInfo, ...],
    *,
    num_frames: int,
    context: int,
    batch: int,
    seed: int,
    epoch: int,
    max_step: int = 1,
) -> list[list[Window]]:
    """The batches of one epoch: windows of context + num_frames frames that never cross a clip's end.

    A clip is drawn in proportion to its length, the start uniformly; clips shorter than the window are used whole, by
    all windows of a batch at that length. An epoch generates about as many frames as there are.

    Args:
        num_frames: generated frames per window.
        context: real frames before them (L).
        max_step: frames of a window lie 1 to this many frames apart, as far as its clip reaches.
    """
    usable = [(index, clip.num_frames) for index, clip in enumerate(clips) if clip.num_frames > context]
    total = sum(frames for _, frames in usable)
    rng = np.random.default_rng([seed, epoch])
    # Summed once: `rng.choice` with these weights draws the same, and adds them all up again for every batch.
    up_to = np.cumsum(np.array([frames for _, frames in usable], np.float64) / total)
    up_to /= up_to[-1]
    batches: list[list[Window]] = []
    left = total
    while not batches or left > num_frames * batch / 2:
        chosen = [usable[i] for i in np.searchsorted(up_to, rng.random(batch), side="right")]
        length = min(context + num_frames, *(frames for _, frames in chosen))
        batches.append([_draw_window(rng, index, frames, length, max_step) for index, frames in chosen])
        left -= (length - context) * batch
    return batches


def _draw_window(rng: np.random.Generator, clip: int, frames: int, length: int, max_step: int) -> Window:
    """One window of `length` frames from a clip of `frames`."""
    most = min(max_step, (frames - 1) // max(1, length - 1))
    step = int(rng.integers(1, most + 1)) if most > 1 else 1
    return Window(clip, int(rng.integers(frames - (length - 1) * step)), length, step)
