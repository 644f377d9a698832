"""Label maps as tensors: regions, one-hot channels with edges, and warping of ids.

A region id is label * 65536 + instance, as in `v2vkit.conditions.regions`; label 255 = ignore. Shapes: B batch, K
labels, C = K + 1 with the channel of edges, else K.
"""

import torch
from torch import Tensor

from v2vkit.config import IGNORE

_LABEL = 1 << 16


def labels_of(regions: Tensor) -> Tensor:
    """The labels of regions: integers of any shape."""
    return regions // _LABEL


def instances_of(regions: Tensor) -> Tensor:
    """The instances of regions, 0 = none: integers of any shape."""
    return regions % _LABEL


def regions_of(labels: Tensor, instances: Tensor | None = None) -> Tensor:
    """Regions, int64, from labels and optional instances of the same shape."""
    ids = labels.long() * _LABEL
    return ids if instances is None else ids + instances.long()


def edges_of(regions: Tensor) -> Tensor:
    """Pixels whose region differs from one of their four neighbours: [B, 1, H, W] -> float32 [B, 1, H, W].

    The same pixels as the edges of `v2vkit.conditions.label_ids.label_channels`.
    """
    edges = torch.zeros(regions.shape, dtype=torch.bool, device=regions.device)
    below, right = regions[:, :, 1:] != regions[:, :, :-1], regions[..., 1:] != regions[..., :-1]
    edges[:, :, 1:] |= below
    edges[:, :, :-1] |= below
    edges[..., 1:] |= right
    edges[..., :-1] |= right
    return edges.float()


def labels_from_channels(channels: Tensor, num_labels: int) -> Tensor:
    """Labels of one-hot channels [B, C, H, W] -> int64 [B, 1, H, W]; pixels that are in no channel are ignored."""
    hot = channels[:, :num_labels]
    return torch.where(hot.amax(1, keepdim=True) > 0, hot.argmax(1, keepdim=True), IGNORE)


def warp_ids(ids: Tensor, flow: Tensor) -> Tensor:
    """`warp` by nearest neighbour, for ids: `warp_ids(prev, flow)(p) = prev(round(p + flow(p)))`, border replicated.

    Args:
        ids: [B, 1, H, W] integers.
        flow: [B, 2, H, W] pixels, channel 0 = x, 1 = y.
    """
    batch, _, height, width = ids.shape
    x = torch.arange(width, device=flow.device) + flow[:, 0].float()
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1].float()
    column = x.nan_to_num(0.0).clamp(0, width - 1).round().long()
    row = y.nan_to_num(0.0).clamp(0, height - 1).round().long()
    return ids.reshape(batch, -1).gather(1, (row * width + column).reshape(batch, -1)).reshape(ids.shape)


def next_regions(regions: Tensor, labels: Tensor, flow: Tensor | None) -> Tensor:
    """Regions of a predicted label map: instances move with the flow where the label stays the same.

    Args:
        regions: of the last map, [B, 1, H, W].
        labels: of the predicted map, [B, 1, H, W].
        flow: backward flow into the last map [B, 2, H, W]; None = no motion.
    """
    moved = regions if flow is None else warp_ids(regions, flow)
    return torch.where(labels_of(moved) == labels, moved, regions_of(labels))


def cross_entropy(probabilities: Tensor, channels: Tensor) -> Tensor:
    """-mean log p(real label) over labelled pixels.

    Args:
        probabilities: [B, K, H, W].
        channels: one-hot real labels [B, C, H, W]; pixels in no channel do not count.
    """
    hot = channels[:, : probabilities.shape[1]]
    log = (probabilities * hot).sum(1).clamp(min=1e-5).log()
    known = hot.sum(1)
    return -(log * known).sum() / known.sum().clamp(min=1)
