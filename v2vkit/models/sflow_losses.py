"""The losses of the S-Flow GAN paper by their equations. Each returns a scalar without its weight.

x real and x_fake generated frames [B, 3, H, W] in [-1, 1]; lists of maps as in `v2vkit.models.losses`, which has the
adversarial loss of eq. 2 (`bce`; `lsgan` is the alternative).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from v2vkit.models.differentiable_flow import estimate_flow
from v2vkit.models.losses import DiscriminatorOutput, masked_l1

LAMBDA_FEATURES = 10.0
"""lambda_1 of L_CG2real = sum_k L_GAN + lambda_1 sum_k L_FM^k + lambda_2 L_percep + lambda_3 L_DNED (eq. 7).

The paper gives no values; 10 and 10 are those of pix2pixHD."""
LAMBDA_PERCEPTUAL = 10.0
"""lambda_2 of eq. 7."""
LAMBDA_DNED = 1.0
"""lambda_3 of eq. 7. `dned_loss` is a sum over six outputs already."""
PIX2PIX_L1 = 100.0
"""Weight of `pixel_l1` beside `bce` in pix2pix (Isola et al. 2017)."""


def dned_loss(
    logits: Sequence[Tensor], edges: Tensor, *, weights: Sequence[float] | None = None, balanced: bool = False
) -> Tensor:
    """L_DNED = sum_i a_i BCE(sigmoid(d_i), E(x)), i = 0 .. 5 (eq. 4).

    The paper gives no a_i: 1 each, as HED sets its own.

    Args:
        logits: output of `DNED`, each [B, 1, H, W].
        edges: E(x), [B, 1, H, W] of 0 and 1.
        weights: a_i, one for each output.
        balanced: class-balanced per image (Xie and Tu 2015, eq. 2): edge pixels get the share of the others as weight
            and vice versa, so that rare edges count as much as the rest.
    """
    edges = edges.float()
    pixel_weight = None
    if balanced:
        share = edges.mean((1, 2, 3), keepdim=True)
        pixel_weight = edges * (1 - share) + (1 - edges) * share
    terms = [F.binary_cross_entropy_with_logits(each.float(), edges, pixel_weight) for each in logits]
    a = [1.0] * len(terms) if weights is None else weights
    return torch.stack([weight * term for weight, term in zip(a, terms, strict=True)]).sum()


def layer_matching(fake: DiscriminatorOutput, real: DiscriminatorOutput) -> Tensor:
    """sum_k L_FM^k: sum over discriminators k and their hidden layers i of mean |D_k^i(fake) - D_k^i(real)| (eq. 5).

    1 / N_i is the mean over the elements of layer i. For the usual four hidden layers this is num_D times
    `losses.feature_matching`. The real side is detached.
    """
    terms = [
        F.l1_loss(of_fake, of_real.detach())
        for maps_fake, maps_real in zip(fake, real, strict=True)
        for of_fake, of_real in zip(maps_fake[:-1], maps_real[:-1], strict=True)
    ]
    return torch.stack(terms).sum()


def uniform_perceptual(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """L_percep = 1/P sum_i mean |phi_i(x) - phi_i(x_fake)| over P maps of VGG, all with equal weight (eq. 6).

    The paper names neither the VGG nor the layers: here they are the five of `VGGFeatures`. The real side is detached.
    """
    return torch.stack([F.l1_loss(a, b.detach()) for a, b in zip(fake, real, strict=True)]).mean()


def generated_flow_loss(
    x_fake_last: Tensor,
    x_fake: Tensor,
    x_last: Tensor,
    x: Tensor,
    *,
    confidence: Tensor | None = None,
    gradient_checkpointing: bool = False,
) -> Tensor:
    """L_flow = mean |F(x_{t-1}, x_t) - F(x_fake_{t-1}, x_fake_t)| in pixels (eq. 8).

    F is `estimate_flow`, the same for both pairs. The generated frames are independent of each other, and both get
    gradients. Eq. 8 weights all pixels equally.

    Args:
        x_fake_last, x_fake, x_last, x: [B, 3, H, W].
        confidence: [B, 1, H, W] in [0, 1] of the real flow; None for 1 everywhere, as in the paper.
        gradient_checkpointing: as for `estimate_flow`.
    """
    with torch.no_grad():
        flow_real = estimate_flow(x_last, x)
    flow_fake = estimate_flow(x_fake_last, x_fake, gradient_checkpointing=gradient_checkpointing)
    return masked_l1(flow_fake, flow_real, confidence)


def video_objective(flow: Tensor, cg2real: Tensor) -> Tensor:
    """L_videogen = L_flow + L_CG2real, both with weight 1 (eq. 9)."""
    return flow + cg2real
