"""Feature channels of a chunk's source maps. B batch, N frames, H x W the size on disk."""

from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from v2vkit.models.blocks import downsample
from v2vkit.models.encoder import FeatureEncoder, features_at, instance_average
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.window import WindowState


def feature_maps(
    encoder: FeatureEncoder,
    sequence: VideoBatch,
    state: WindowState,
    frames: list[int],
    *,
    finer_scales: int = 0,
    downsamplings: int = 0,
    recompute: bool = False,
    train_from: int = 0,
) -> dict[int, Tensor]:
    """E's output for every frame whose source map the chunk uses, averaged over the frame's regions.

    As in rendering, the averages are spread over the regions at the size on disk and downsampled with the source maps.
    They carry gradients into E, except while the coarser scales are fixed: then their input has to stay fixed too.

    Args:
        frames: numbers of the chunk's frames in the window.
        finer_scales: number of the generator's scales above the coarsest; E sees frames at the coarsest size.
        downsamplings: downsamplings by two of the frames in `sequence`.
        recompute: recompute E's activations in the backward pass instead of storing them.
        train_from: the first spatial scale that trains.

    Returns:
        Frame number in the window -> [B, d, h, w] at the size of the frames in `sequence`.
    """
    assert sequence.regions is not None, "features need regions"
    times = range(max(state.first, frames[0] - state.context), frames[-1] + 1)
    window = slice(times.start, times.stop)
    x, regions = sequence.x[:, window].flatten(0, 1), sequence.regions[:, window].flatten(0, 1)  # [B N, ...]
    with torch.set_grad_enabled(torch.is_grad_enabled() and train_from == 0):
        again = recompute and torch.is_grad_enabled()
        encode = partial(checkpoint, encoder, use_reentrant=False) if again else encoder
        height, width = regions.shape[-2:]
        seen = features_at(encode, x, (height, width), downsamplings=finer_scales, halved=downsamplings)
        maps = downsample(instance_average(seen, regions), downsamplings)
    return dict(zip(times, maps.unflatten(0, (-1, len(times))).unbind(1), strict=True))
