"""The features of the frames that a chunk's source maps are taken from. B batch, N frames, H x W the size on disk."""

from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from v2vkit.models.blocks import halve
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
    halvings: int = 0,
    recompute: bool = False,
    train_from: int = 0,
) -> dict[int, Tensor]:
    """E of every frame that a source map of the chunk is taken from, averaged over its regions.

    The averages are spread over the regions at the size on disk and halved with the source maps, as rendering does it.
    They carry gradients into E, but not where the coarser scales stay as they are: their input must not change either.

    Args:
        frames: numbers of the chunk's frames in the window.
        finer_scales: of the generator, above the coarsest one, at whose size E sees frames.
        halvings: how often the frames in `sequence` were halved.
        recompute: E's activations are computed again for the gradients instead of being kept.
        train_from: the first spatial scale that trains.

    Returns:
        number in the window -> [B, d, h, w] at the size of the frames in `sequence`.
    """
    assert sequence.regions is not None, "features need regions"
    times = range(max(state.first, frames[0] - state.context), frames[-1] + 1)
    window = slice(times.start, times.stop)
    x, regions = sequence.x[:, window].flatten(0, 1), sequence.regions[:, window].flatten(0, 1)  # [B N, ...]
    with torch.set_grad_enabled(torch.is_grad_enabled() and train_from == 0):
        again = recompute and torch.is_grad_enabled()
        encode = partial(checkpoint, encoder, use_reentrant=False) if again else encoder
        height, width = regions.shape[-2:]
        seen = features_at(encode, x, (height, width), halvings=finer_scales, halved=halvings)
        maps = halve(instance_average(seen, regions), halvings)
    return dict(zip(times, maps.unflatten(0, (-1, len(times))).unbind(1), strict=True))
