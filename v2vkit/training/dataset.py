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
from v2vkit.errors import V2VError
from v2vkit.maps.clips import ClipReader
from v2vkit.maps.moving import Change, move_flow, move_ids, move_image
from v2vkit.maps.source import DOMAINS, SourceConfig, source_map
from v2vkit.models.blocks import halve

_CACHE_BYTES = 1 << 30

Arrays = dict[str, NDArray[Any]]


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
        source: SourceConfig,
        *,
        strides: tuple[int, ...],
        flip: bool = False,
        halvings: int = 0,
        map_settings: dict[str, Any] | None = None,
        regions: bool = False,
    ):
        self.map_settings = map_settings or {}
        self.reader, self.source, self.strides, self.flip, self.halvings = reader, source, strides, flip, halvings
        self._regions = regions
        self._cache: OrderedDict[tuple[int, ...], Arrays] = OrderedDict()
        self._cached_bytes = 0

    def _cached(self, key: tuple[int, ...], make: Callable[[], Arrays]) -> Arrays:
        """What `make` gives, kept as long as there is room for it."""
        found = self._cache.get(key)
        if found is not None:
            self._cache.move_to_end(key)
            return found
        arrays = make()
        size = sum(array.nbytes for array in arrays.values())
        if size <= _CACHE_BYTES:
            self._cache[key] = arrays
            self._cached_bytes += size
            while self._cached_bytes > _CACHE_BYTES:
                _, dropped = self._cache.popitem(last=False)
                self._cached_bytes -= sum(array.nbytes for array in dropped.values())
        return arrays

    def _frame(self, clip: int, t: int) -> Arrays:
        """A frame, its source map and regions, in compact types."""
        name = self.reader.clips[clip].name
        # s is 0/1 or n/255 in every domain, so bytes hold it exactly.
        s = np.rint(source_map(self.source, self.reader.map_files(self.source, name, t)) * 255).astype(np.uint8)
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
        files = self.reader.map_files(self.source, self.reader.clips[clip].name, t)
        s = DOMAINS[self.source.domain].changed(self.source, files, x, change, self.map_settings)
        changed: Arrays = {"x": x, "s": np.rint(s * 255).astype(np.uint8)}
        if self._regions:
            changed["regions"] = move_ids(arrays["regions"], change.move)
        return changed

    def _one(self, window: Window, i: int, change: Change | None) -> Sequence:
        """Frame i of a window, T = 1."""
        clip, t = window.clip, window.times[i]
        arrays = self._cached((clip, t), lambda: self._frame(clip, t))
        if change is not None:
            arrays = self._changed(arrays, clip, t, change)
        height, width = arrays["x"].shape[:2]
        flow, confidence = {}, {}
        for stride in self.strides:
            w, c = torch.zeros(1, 2, height, width), torch.zeros(1, 1, height, width)
            step = stride * window.step
            # A flow that points before the window has no frame to pair with.
            found = self._cached((clip, t, step), partial(self._flow, clip, t, step)) if i >= stride else {}
            if found:
                vectors, trust = found["flow"], found["confidence"]
                if change is not None:
                    vectors, moved = move_flow(vectors, trust.astype(np.float32), change.move)
                    trust = np.rint(moved).astype(np.uint8)
                w[0] = torch.from_numpy(vectors).permute(2, 0, 1)
                c[0, 0] = torch.from_numpy(trust).float() / 255
            flow[stride], confidence[stride] = w, c
        return Sequence(
            torch.from_numpy(arrays["x"]).permute(2, 0, 1)[None].float() / 127.5 - 1,
            torch.from_numpy(arrays["s"])[None].float() / 255,
            flow,
            confidence,
            torch.from_numpy(arrays["regions"])[None, None] if self._regions else None,
        )

    def load(self, window: Window, *, flip: bool = False, change: Change | None = None) -> Sequence:
        """The tensors of one window, halved as often as set.

        Args:
            flip: mirror it left to right, flow included.
            change: shift, turn and zoom it, leave parts of people out.
        """
        frames = []
        for i, t in enumerate(window.times):
            one = self._one(window, i, None if change is None else change.at(t))
            # Halved one by one: a coarse stage never holds a whole window at the finest size.
            frames.append(halved(mirrored(one) if flip else one, self.halvings))
        return _joined(frames, torch.cat)


def mirrored(sequence: Sequence) -> Sequence:
    """The sequence seen in a mirror: every map flipped left to right, horizontal flow negated."""
    sign = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
    return Sequence(
        sequence.x.flip(-1),
        sequence.s.flip(-1),
        {k: w.flip(-1) * sign for k, w in sequence.flow.items()},
        {k: c.flip(-1) for k, c in sequence.confidence.items()},
        None if sequence.regions is None else sequence.regions.flip(-1),
    )


def halved(sequence: Sequence, times: int) -> Sequence:
    """The sequence at 1 / 2^times of its size, maps as the generator's pyramid makes them, flow in the new pixels.

    Regions stay at their size: ids cannot be mixed.
    """
    for _ in range(times):
        confidence = {k: halve(c) for k, c in sequence.confidence.items()}
        sequence = Sequence(
            halve(sequence.x),
            halve(sequence.s),
            {k: _halved_flow(w, sequence.confidence[k], confidence[k]) for k, w in sequence.flow.items()},
            confidence,
            sequence.regions,
        )
    return sequence


def _halved_flow(flow: Tensor, confidence: Tensor, halved_confidence: Tensor) -> Tensor:
    """The mean of what is trusted, as far as anything is: wild vectors must not spoil the good ones beside them."""
    trusted = halve(flow * confidence) / halved_confidence.clamp(min=1e-6)
    return torch.where(halved_confidence > 1e-6, trusted, halve(flow)) / 2


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
