"""Reads training sequences from the artifacts as tensors: cached, augmented, mirrored and downsampled."""

from collections import OrderedDict
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from v2vkit.artifacts.shard import sample_key
from v2vkit.conditions.augment import Change, warp_flow, warp_id_map, warp_image
from v2vkit.conditions.base import Use
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.errors import V2VError
from v2vkit.models.layout import to_signed
from v2vkit.models.warp import downsampled_flow
from v2vkit.training.data.batch import (
    VideoBatch,
    downsampled,
    joined,
    maps_to_float,
    mirrored,
    mirrored_flow,
)
from v2vkit.training.data.conditioning import augmented_map, condition_files, frame_map, frame_regions
from v2vkit.training.data.sampler import Window

CACHE_BYTES = 1 << 30

Arrays = dict[str, NDArray[Any]]
Cached = dict[Any, Any]  # arrays, tensors or the bytes of files (`Files`), by name


class VideoDataset:
    """Windows of frames, maps and flow as tensors, with a cache in memory.

    The cache holds the last step before anything random: with augmentation, the frame and its annotation files;
    without, the frame and its source map; if frames are downsampled, the finished tensors, because downsampling takes
    longest.

    Args:
        reader: reads frames, the conditions' artifacts and flow.
        source: the conditions.
        strides: strides K^s of the flow, in frames of a sequence.
        flip: whether sequences may be mirrored.
        downsample: downsamplings by two of frames, maps and flow.
        regions: also load the regions that features are averaged over.
        compact: give frames and source maps as uint8, a quarter of the bytes to copy to a GPU; `to_device` converts
            them. Downsampled frames are floats anyway.
        cache_bytes: size limit of the cache.
    """

    def __init__(
        self,
        reader: ClipReader,
        source: Conditioning,
        *,
        strides: tuple[int, ...],
        flip: bool = False,
        downsample: int = 0,
        regions: bool = False,
        compact: bool = False,
        cache_bytes: int = CACHE_BYTES,
    ):
        self.reader, self.source, self.strides, self.flip, self.downsample = reader, source, strides, flip, downsample
        self.compact, self.cache_bytes = compact, cache_bytes
        self.cached_bytes = 0
        self._regions = regions
        self._cache: OrderedDict[tuple[Any, ...], Cached] = OrderedDict()

    def empty(self, cache_bytes: int) -> "VideoDataset":
        """A copy with an empty cache and another limit, for another process."""
        other = copy(self)
        other.cache_bytes, other.cached_bytes, other._cache = cache_bytes, 0, OrderedDict()
        return other

    def load(self, window: Window, *, flip: bool = False, change: Change | None = None) -> VideoBatch:
        """The tensors of one window [T, ...].

        Args:
            flip: mirror it left to right, flow included.
            change: augmentation: shift, rotation and zoom, left-out parts of people.

        Raises:
            V2VError: a shard is missing or damaged, or a file cannot be decoded; the message names it.
        """
        # Frame by frame, so that a coarse stage never holds a whole window at full size.
        changes = [None if change is None else change.at(t) for t in window.times]
        return joined([self._frame(window, i, flip, change) for i, change in enumerate(changes)], torch.cat)

    def _frame(self, window: Window, i: int, flip: bool, change: Change | None) -> VideoBatch:
        """Frame i of a window as a batch with T = 1."""
        clip, t = window.clip, window.times[i]
        if change is not None:
            cached = self._cached((clip, t, "files"), partial(self._read_files, clip, t, "augment"))
            arrays = self._augmented(cached, clip, change)
            self._refuse_other_size(clip, t, arrays)
            frame = self._frame_tensors(arrays, flip, self.downsample)
        else:
            frame = self._prepared((clip, t), partial(self._read_maps, clip, t), self._frame_tensors, flip)
        none = torch.zeros(1, 3, *frame["x"].shape[-2:])
        flow, confidence = {}, {}
        for k in self.strides:
            found: Cached = {}
            if i >= k:  # flow into a frame before the window is not needed
                key = (clip, t, k * window.stride)
                if change is not None:
                    moved = _augmented_flow(self._cached(key, partial(self._read_flow, *key)), change)
                    found = _flow_tensors(moved, flip, self.downsample)
                else:
                    found = self._prepared(key, partial(self._read_flow, *key), _flow_tensors, flip)
            flow[k], confidence[k] = found.get("flow", none[:, :2]), found.get("confidence", none[:, 2:])
        return VideoBatch(frame["x"], frame["s"], flow, confidence, frame.get("regions"))

    def _prepared(
        self,
        key: tuple[Any, ...],
        read: Callable[[], Arrays],
        tensors: Callable[[Arrays, bool, int], Cached],
        flip: bool,
    ) -> Cached:
        """The tensors of the arrays that `read` gives, without augmentation."""
        if self.downsample:
            return self._cached(
                (*key, "mirrored" if flip else "finished"), lambda: tensors(read(), flip, self.downsample)
            )
        return tensors(self._cached(key, read), flip, 0)

    def _cached(self, key: tuple[Any, ...], make: Callable[[], Cached]) -> Cached:
        """The result of `make`, cached while there is room (least recently used goes first)."""
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        made = make()
        size = _num_bytes(made)
        if size <= self.cache_bytes:
            self._cache[key] = made
            self.cached_bytes += size
            while self.cached_bytes > self.cache_bytes:
                _, dropped = self._cache.popitem(last=False)
                self.cached_bytes -= _num_bytes(dropped)
        return made

    def _size(self, clip: int) -> tuple[int, int]:
        """Width and height of a clip's frames."""
        return self.reader.clips[clip].width, self.reader.clips[clip].height

    def _read_files(self, clip: int, t: int, use: Use) -> Cached:
        """A frame and its undecoded annotation files."""
        name = self.reader.clips[clip].name
        x = self.reader.frame(name, t)
        return {"x": x, **condition_files(self.reader, self.source, name, t, use, regions=self._regions)}

    def _read_maps(self, clip: int, t: int) -> Arrays:
        """A frame, its source map and regions, in compact types."""
        files = self._read_files(clip, t, "channels")
        arrays: Arrays = {"x": files.pop("x"), "s": frame_map(self.source, files, self._size(clip))}
        self._refuse_other_size(clip, t, arrays)
        if self._regions:
            arrays["regions"] = frame_regions(self.source, files, self._size(clip))
        return arrays

    def _read_flow(self, clip: int, t: int, stride: int) -> Arrays:
        """Flow and confidence (as uint8) of a frame; empty if there is none."""
        pair = self.reader.flow(self.reader.clips[clip].name, t, stride)
        if pair is None:
            return {}
        return {"flow": pair[0].astype(np.float32), "confidence": np.rint(pair[1] * 255).astype(np.uint8)}

    def _augmented(self, cached: Cached, clip: int, change: Change) -> Arrays:
        """A frame, its source map and regions after augmentation."""
        files, size = {name: data for name, data in cached.items() if name != "x"}, self._size(clip)
        x = warp_image(cached["x"], change.move)
        arrays: Arrays = {"x": x, "s": augmented_map(self.source, files, x, change, size)}
        if self._regions:
            arrays["regions"] = warp_id_map(frame_regions(self.source, files, size), change.move)
        return arrays

    def _refuse_other_size(self, clip: int, t: int, arrays: Arrays) -> None:
        x, s = arrays["x"], arrays["s"]
        if x.shape[:2] != s.shape[1:]:
            raise V2VError(
                "size-mismatch",
                f"Frame {sample_key(self.reader.clips[clip].name, t)} is {x.shape[1]}x{x.shape[0]}, but its source map "
                f"is {s.shape[2]}x{s.shape[1]}.",
                "Make the maps again from these frames.",
            )

    def _frame_tensors(self, arrays: Arrays, flip: bool, downsample: int) -> Cached:
        """The tensors of a frame, T = 1."""
        x = torch.from_numpy(arrays["x"]).permute(2, 0, 1)[None]
        s = torch.from_numpy(arrays["s"])[None]
        if downsample or not self.compact:
            x, s = to_signed(x), maps_to_float(s)
        regions = torch.from_numpy(arrays["regions"])[None, None] if "regions" in arrays else None
        one = VideoBatch(x, s, {}, {}, regions)
        one = downsampled(mirrored(one) if flip else one, downsample)
        return {name: of for name, of in (("x", one.x), ("s", one.s), ("regions", one.regions)) if of is not None}


def _num_bytes(cached: Cached) -> int:
    return sum(len(value) if isinstance(value, bytes) else int(value.nbytes) for value in cached.values())


def _flow_tensors(arrays: Arrays, flip: bool, downsample: int) -> Cached:
    """The tensors of a frame's flow and confidence; empty if there is none."""
    if not arrays:
        return {}
    w = torch.from_numpy(arrays["flow"]).permute(2, 0, 1)[None].contiguous()
    c = torch.from_numpy(arrays["confidence"])[None, None].float() / 255
    w, c = downsampled_flow(*((mirrored_flow(w), c.flip(-1)) if flip else (w, c)), downsample)
    return {"flow": w, "confidence": c}


def _augmented_flow(arrays: Arrays, change: Change) -> Arrays:
    """The flow between two frames after augmentation of both."""
    if not arrays:
        return {}
    vectors, moved = warp_flow(arrays["flow"], arrays["confidence"].astype(np.float32), change.move)
    return {"flow": vectors, "confidence": np.rint(moved).astype(np.uint8)}
