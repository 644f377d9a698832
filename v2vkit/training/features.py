"""The features of the frames that a chunk's source maps are taken from. B batch, N frames, H x W the size on disk."""

from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from v2vkit.models.blocks import halve
from v2vkit.models.encoder import features_at, instance_average
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.trainer import Networks
from v2vkit.training.window import WindowState


def feature_maps(
    config: TrainConfig,
    networks: Networks,
    sequence: VideoBatch,
    state: WindowState,
    frames: list[int],
    *,
    train_from: int = 0,
) -> dict[int, Tensor] | None:
    """E of every frame that a source map of the chunk is taken from, averaged over its regions.

    The averages are spread over the regions at the size on disk and halved with the source maps, as rendering does it.
    They carry gradients into E, but not where the coarser scales stay as they are: their input must not change either.

    Args:
        frames: numbers of the chunk's frames in the window.
        train_from: the first spatial scale that trains.

    Returns:
        number in the window -> [B, d, h, w] at the size of the frames in `sequence`; None without E.
    """
    encoder = networks.encoder
    if encoder is None:
        return None
    assert sequence.regions is not None, "features need regions"
    times = range(max(state.first, frames[0] - state.context), frames[-1] + 1)
    window = slice(times.start, times.stop)
    x, regions = sequence.x[:, window].flatten(0, 1), sequence.regions[:, window].flatten(0, 1)  # [B N, ...]
    with torch.set_grad_enabled(torch.is_grad_enabled() and train_from == 0):
        forget = config.checkpointing and torch.is_grad_enabled()
        encode = partial(checkpoint, encoder, use_reentrant=False) if forget else encoder
        height, width = regions.shape[-2:]
        halvings = networks.generator.config.num_scales - 1
        seen = features_at(encode, x, (height, width), halvings=halvings, halved=config.halvings)
        maps = halve(instance_average(seen, regions), config.halvings)
    return dict(zip(times, maps.unflatten(0, (-1, len(times))).unbind(1), strict=True))
