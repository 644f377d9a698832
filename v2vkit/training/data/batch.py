"""A batch of training sequences as tensors, and operations on it: mirror, downsample, move to a device.

B sequences, T frames, C channels of the source map, H x W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from v2vkit.models.blocks import downsample
from v2vkit.models.layout import to_signed
from v2vkit.models.warp import downsampled_flow


@dataclass(frozen=True)
class VideoBatch:
    """Training sequences [B, T, ...]; a single one, before `stack`, is [T, ...]. The first L frames are context.

    Attributes:
        x: real frames [B, T, 3, H, W] in [-1, 1].
        s: source maps [B, T, C, H, W] in [0, 1].
        flow: stride k -> backward flow [B, T, 2, H, W] in pixels; frame i points into frame i - k. Zero if
            there is none.
        confidence: stride k -> [B, T, 1, H, W] in [0, 1]; zero where there is no flow.
        regions: ids of the regions that features are averaged over, int32 [B, T, 1, H, W], never downsampled; None =
            there are no features.
        from_nothing: the sequences begin without past frames (dropped history).

    Before `to_device`, `x` and `s` may be uint8 in [0, 255].
    """

    x: Tensor
    s: Tensor
    flow: dict[int, Tensor]
    confidence: dict[int, Tensor]
    regions: Tensor | None = None
    from_nothing: bool = False

    def pin_memory(self) -> "VideoBatch":
        """The batch in page-locked memory, which a GPU copies asynchronously (called by torch's loader)."""
        return map_tensors(self, Tensor.pin_memory)


def map_tensors(batch: VideoBatch, function: Callable[[Tensor], Tensor]) -> VideoBatch:
    """The batch with `function` applied to every tensor."""
    return replace(
        batch,
        x=function(batch.x),
        s=function(batch.s),
        flow={k: function(w) for k, w in batch.flow.items()},
        confidence={k: function(c) for k, c in batch.confidence.items()},
        regions=None if batch.regions is None else function(batch.regions),
    )


def to_device(batch: VideoBatch, device: torch.device) -> VideoBatch:
    """The batch as floats on a device; from page-locked memory it is copied asynchronously."""
    moved = map_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))
    if moved.x.dtype == torch.uint8:
        moved = replace(moved, x=to_signed(moved.x), s=maps_to_float(moved.s))
    return moved


def maps_to_float(s: Tensor) -> Tensor:
    """uint8 source maps -> float32 in [0, 1]."""
    return s.float() / 255


def mirrored(batch: VideoBatch) -> VideoBatch:
    """The batch mirrored left to right: every map flipped, horizontal flow negated."""
    flipped = map_tensors(batch, lambda tensor: tensor.flip(-1))
    return replace(flipped, flow={k: mirrored_flow(w) for k, w in batch.flow.items()})


def mirrored_flow(flow: Tensor) -> Tensor:
    """Flow [..., 2, H, W] of mirrored frames."""
    return flow.flip(-1) * torch.tensor([-1.0, 1.0]).view(2, 1, 1)


def downsampled(batch: VideoBatch, times: int) -> VideoBatch:
    """The batch at 1 / 2^times of its size, downsampled as in the generator's pyramid, with flow in the new pixels.

    Regions keep their size, because ids cannot be averaged.
    """
    pairs = {k: downsampled_flow(w, batch.confidence[k], times) for k, w in batch.flow.items()}
    return replace(
        batch,
        x=downsample(batch.x, times),
        s=downsample(batch.s, times),
        flow={k: w for k, (w, _) in pairs.items()},
        confidence={k: c for k, (_, c) in pairs.items()},
    )


def stack(sequences: list[VideoBatch]) -> VideoBatch:
    """Sequences of one length as a batch: [B, T, ...]; a single one is not copied."""
    return joined(sequences, lambda tensors: torch.stack(tensors) if tensors[1:] else tensors[0][None])


def joined(parts: list[VideoBatch], join: Callable[[list[Tensor]], Tensor]) -> VideoBatch:
    """The batch of which each tensor is `join` of the parts' tensors."""
    regions = [part.regions for part in parts if part.regions is not None]
    return VideoBatch(
        join([part.x for part in parts]),
        join([part.s for part in parts]),
        {k: join([part.flow[k] for part in parts]) for k in parts[0].flow},
        {k: join([part.confidence[k] for part in parts]) for k in parts[0].confidence},
        join(regions) if regions else None,
        parts[0].from_nothing,
    )
