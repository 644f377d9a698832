"""The feature encoder of the paper's multimodal synthesis: one small vector per object instance."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from v2vkit.config import StageConfig, setting
from v2vkit.models.blocks import (
    Norm,
    ReflectConv,
    downs,
    downsample,
    init_weights,
    pad_to_multiple,
    stem,
    ups,
    upsample_nearest,
)


class EncoderConfig(StageConfig):
    """Everything that decides the feature encoder's layers; stored in checkpoints."""

    out_channels: int = setting(3, "dimensions d of a feature vector", ge=1, le=64)
    width: int = setting(16, "channels after the first convolution", ge=1, le=256)
    num_down: int = setting(4, "stride-2 convolutions", ge=1, le=6)
    norm: Norm = setting("instance", "normalisation: instance, batch or running")


class FeatureEncoder(nn.Module):
    """E: image -> feature map, which is then averaged over each instance (vid2vid paper, multimodal synthesis)."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        norm, width = config.norm, config.width
        self.layers = nn.Sequential(
            *stem(3, width, norm),
            *downs(width, config.num_down, norm),
            *ups(width, config.num_down, norm),
            ReflectConv(width, config.out_channels, 7),
            nn.Tanh(),
        )
        init_weights(self)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> [B, d, H, W] in [-1, 1]; any size, padded inside."""
        height, width = image.shape[-2:]
        return self.layers(pad_to_multiple(image, 1 << self.config.num_down))[..., :height, :width]


def features_at(
    encode: Callable[[Tensor], Tensor], x: Tensor, size: tuple[int, int], *, downsamplings: int, halved: int = 0
) -> Tensor:
    """E's feature map of frames downsampled by 2^downsamplings, upsampled to `size`, ready to be averaged over regions.

    In every spatial stage E sees frames of the coarsest stage's size, so that its vectors mean the same in all stages.

    Args:
        encode: E.
        x: frames [B, 3, h, w] in [-1, 1].
        size: height and width of the regions.
        downsamplings: how often E's input is downsampled by 2 from `x`.
        halved: how often `x` was downsampled by 2 from `size`.

    Returns:
        float32 [B, d, H, W], upsampled by `upsample_nearest`.
    """
    return upsample_nearest(encode(downsample(x, downsamplings)).float(), size, halved + downsamplings)


def instance_average(features: Tensor, instance: Tensor) -> Tensor:
    """Replace each pixel by the mean of its instance: [B, C, H, W], integer ids [B, 1, H, W] -> [B, C, H, W].

    The same id in two images means two instances. Source: pix2pixHD, section 3.4.
    """
    vectors, _, index = instance_vectors(features, instance)
    # Not vectors[index]: its gradient has no fixed order of sums on a CPU, and takes twice the time.
    pixels = vectors.index_select(0, index)
    return pixels.unflatten(0, instance.shape[:1] + instance.shape[2:]).permute(0, 3, 1, 2)


def instance_vectors(features: Tensor, instance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The mean feature vector of every instance.

    Args:
        features: [B, C, H, W].
        instance: [B, 1, H, W] ids, integers of any dtype.

    Returns:
        vectors [N, C]; which [N, 2]: the (image, id) of each vector, sorted; index [B * H * W]: the row of each pixel.
    """
    ids = instance.flatten().long()
    images = torch.arange(instance.shape[0], device=ids.device).repeat_interleave(ids.numel() // instance.shape[0])
    lowest, span = ids.min(), ids.max() - ids.min() + 1
    keys, index, counts = torch.unique(images * span + (ids - lowest), return_inverse=True, return_counts=True)
    which = torch.stack([keys // span, keys % span + lowest], 1)
    pixels = features.permute(0, 2, 3, 1).flatten(0, 2)
    sums = pixels.new_zeros(which.shape[0], pixels.shape[1]).index_add(0, index, pixels)
    return sums / counts[:, None], which, index
