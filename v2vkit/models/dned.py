"""DNED, the edge network of the S-Flow GAN paper (section 3.2): a modified HED (Xie and Tu 2015).

Five stages of VGG-16 give one edge map each, and a sixth map fuses them: d_0 .. d_5. The generator sees their
superposition with weights a_i; other weights give another variant of the same scene.

Choices where the paper is not explicit. Input: edge maps in section 2.2.2 and at test time (2.1), the image in eq. 4;
the default is the edge map, since a simulator's image looks unlike the photographs of the training.
The six maps are HED's five side outputs and its fused map. The superposition is the mean of their sigmoids, weighted by
a_i.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from v2vkit.config import StageConfig, setting
from v2vkit.errors import V2VError
from v2vkit.models.blocks import Head, pad_to_multiple

NUM_OUTPUTS = 6
"""N of eq. 4."""
VGG16_STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""Per stage: channels as a multiple of the width (64 in VGG-16), and number of convolutions."""
MULTIPLE = 16
"""Sides are padded to a multiple of this, because of four poolings."""

Preprocessing = Literal["unit", "imagenet", "caffe"]
"""Input range of the trunk. `unit`: RGB in [-1, 1]. `imagenet`: RGB in [0, 1], standardised (torchvision).
`caffe`: BGR in 0 to 255 minus the mean (the published HED)."""
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (104.00698793, 116.66876762, 122.67891434)


class DNEDConfig(StageConfig):
    """Everything that decides the layers of the edge network; stored in checkpoints."""

    source: Literal["edges", "image"] = setting("edges", "input: the Laplacian edge map, or the image")
    width: int = setting(64, "channels of the first stage; VGG-16 and HED have 64", ge=1, le=512)
    preprocessing: Preprocessing = setting("unit", "input range: unit, imagenet or caffe")


class DNED(nn.Module):
    """Image or edge map -> six edge maps as logits."""

    def __init__(self, config: DNEDConfig):
        super().__init__()
        self.config = config
        self.stages = nn.ModuleList()
        self.sides = nn.ModuleList()
        channels = 3
        for factor, count in VGG16_STAGES:
            layers: list[nn.Module] = []
            for _ in range(count):
                layers += [nn.Conv2d(channels, config.width * factor, 3, padding=1), nn.ReLU(inplace=True)]
                channels = config.width * factor
            self.stages.append(nn.Sequential(*layers))
            self.sides.append(Head(channels, 1, 1))
        self.fuse = Head(len(self.sides), 1, 1)
        _init(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """d_0 .. d_5 before the sigmoid, the finest side output first and the fused map last.

        Args:
            x: [B, 1, H, W] edge map in [0, 1] for the source `edges`, [B, 3, H, W] RGB in [-1, 1] for `image`.

        Returns:
            Six of [B, 1, H, W], in the precision of the weights.
        """
        height, width = x.shape[2:]
        maps = self.features(x)
        size = (maps[0].shape[2], maps[0].shape[3])
        sides = [
            F.interpolate(side(features), size, mode="bilinear", align_corners=False)
            for side, features in zip(self.sides, maps, strict=True)
        ]
        return [logits[..., :height, :width] for logits in (*sides, self.fuse(torch.cat(sides, 1)))]

    def features(self, x: Tensor) -> list[Tensor]:
        """The last map of each of the five stages, of an input as `forward` takes it, padded to multiples of 16."""
        if self.config.source == "edges":
            x = (2 * x - 1).repeat(1, 3, 1, 1)  # three channels, so that weights for images fit
        x = pad_to_multiple(_preprocess(x, self.config.preprocessing), MULTIPLE)
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(F.max_pool2d(x, 2) if index else x)
            maps.append(x)
        return maps


def superpose(logits: Sequence[Tensor], weights: Sequence[float] | Tensor | None = None) -> Tensor:
    """Weighted mean of the edge maps: sum_i a_i sigmoid(d_i) / sum_i a_i.

    Args:
        logits: what `DNED` returns, each [B, 1, H, W].
        weights: a_i as in `check_weights`; None = equal weights. A tensor is [N], or [B, N] with weights per image.

    Returns:
        [B, 1, H, W] in [0, 1].
    """
    maps = torch.stack([each[:, 0] for each in logits], 1).sigmoid()
    if weights is None:
        return maps.mean(1, keepdim=True)
    a = torch.as_tensor(weights, dtype=maps.dtype, device=maps.device)
    share = (a / a.sum(-1, keepdim=True)).expand(maps.shape[0], -1)
    return (share[:, :, None, None] * maps).sum(1, keepdim=True)


def check_weights(weights: Sequence[float]) -> tuple[float, ...]:
    """Check six ensemble weights a_i given by a user, finest side output first, fused map last.

    Raises:
        V2VError: not six finite numbers of 0 or more, of which one is above 0.
    """
    hint = f"Give {NUM_OUTPUTS} numbers of 0 or more, such as 1,1,1,1,1,1; only their proportions count."
    if len(weights) != NUM_OUTPUTS:
        raise V2VError("setting-invalid", f"There are {len(weights)} edge weights, not {NUM_OUTPUTS}.", hint)
    if not all(0 <= weight < float("inf") for weight in weights) or not 0 < sum(weights) < float("inf"):
        raise V2VError(
            "setting-invalid",
            f"The edge weights {', '.join(f'{weight:g}' for weight in weights)} are negative, infinite or all 0.",
            hint,
        )
    return tuple(float(weight) for weight in weights)


def draw_weights(seed: int) -> tuple[float, ...]:
    """Random a_i that sum to 1, uniform on the simplex (the paper does not state their distribution).

    Args:
        seed: the same seed gives the same weights.
    """
    exponential = torch.empty(NUM_OUTPUTS, dtype=torch.float64).exponential_(
        generator=torch.Generator().manual_seed(seed)
    )
    return tuple((exponential / exponential.sum()).tolist())


def _preprocess(x: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Images [B, 3, H, W] in [-1, 1] converted to the input range of the trunk."""
    if preprocessing == "unit":
        return x
    if preprocessing == "imagenet":
        mean, std = (x.new_tensor(values)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_STD))
        return ((x + 1) / 2 - mean) / std
    return (x.flip(1) + 1) * 127.5 - x.new_tensor(_CAFFE_MEAN)[:, None, None]


def _init(network: DNED) -> None:
    """He initialisation of the trunk (it has no norms), side outputs of unit variance, their mean as the fused map.

    HED starts its side outputs near 0. That suits a trained trunk (`dned_from_vgg`); from scratch it is slower: 1.85
    against 1.46 of `dned_loss` after 200 steps on CamVid at width 12.
    """
    if any(parameter.is_meta for parameter in network.parameters()):
        return  # see `init_weights`
    for module in network.stages.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            _zero_bias(module)
    for side in network.sides:
        assert isinstance(side, nn.Conv2d)
        nn.init.normal_(side.weight, 0.0, side.in_channels**-0.5)
        _zero_bias(side)
    nn.init.constant_(network.fuse.weight, 1 / len(network.sides))
    _zero_bias(network.fuse)


def _zero_bias(layer: nn.Conv2d) -> None:
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
