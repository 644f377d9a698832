"""The losses of the S-Flow GAN paper by their equations. Each returns a scalar without its weight.

x real and x_fake generated frames [B, 3, H, W] in [-1, 1]; lists of maps as in `v2vkit.models.losses`, which has the
adversarial loss of eq. 2 (`bce`; `lsgan` is the alternative) and that of eq. 5, which for the usual four hidden layers
is num_D times `feature_matching`. The paper gives no values of the weights of eq. 7.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from v2vkit.models.differentiable_flow import estimate_flow


def dned_loss(logits: Sequence[Tensor], edges: Tensor, *, balanced: bool = False) -> Tensor:
    """L_DNED = sum_i a_i BCE(sigmoid(d_i), E(x)), i = 0 .. 5 (eq. 4).

    The paper gives no a_i: 1 each, as HED sets its own.

    Args:
        logits: output of `DNED`, each [B, 1, H, W].
        edges: E(x), [B, 1, H, W] of 0 and 1.
        balanced: class-balanced per image (Xie and Tu 2015, eq. 2): edge pixels get the share of the others as weight
            and vice versa, so that rare edges count as much as the rest.
    """
    edges = edges.float()
    pixel_weight = None
    if balanced:
        share = edges.mean((1, 2, 3), keepdim=True)
        pixel_weight = edges * (1 - share) + (1 - edges) * share
    terms = [F.binary_cross_entropy_with_logits(each.float(), edges, pixel_weight) for each in logits]
    return torch.stack(terms).sum()


def uniform_perceptual(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """L_percep = 1/P sum_i mean |phi_i(x) - phi_i(x_fake)| over P maps of VGG, all with equal weight (eq. 6).

    The paper names neither the VGG nor the layers: here they are the five of `VGGFeatures`. The real side is detached.
    """
    return torch.stack([F.l1_loss(a, b.detach()) for a, b in zip(fake, real, strict=True)]).mean()


def generated_flow_loss(
    x_fake_last: Tensor, x_fake: Tensor, x_last: Tensor, x: Tensor, *, gradient_checkpointing: bool = False
) -> Tensor:
    """L_flow = mean |F(x_{t-1}, x_t) - F(x_fake_{t-1}, x_fake_t)| in pixels (eq. 8).

    F is `estimate_flow`, the same for both pairs. The generated frames are independent of each other, and both get
    gradients. Eq. 8 weights all pixels equally.

    Args:
        x_fake_last, x_fake, x_last, x: [B, 3, H, W].
        gradient_checkpointing: as for `estimate_flow`.
    """
    with torch.no_grad():
        flow_real = estimate_flow(x_last, x)
    flow_fake = estimate_flow(x_fake_last, x_fake, gradient_checkpointing=gradient_checkpointing)
    return F.l1_loss(flow_fake, flow_real)
