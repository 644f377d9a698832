"""The training losses as pure functions. Each returns a scalar without its weight.

x real and x_fake generated frames [B, 3, H, W] in [-1, 1], w flow [B, 2, H, W] in pixels (backward, on the grid of the
newer frame), c confidence [B, 1, H, W] in [0, 1] of the reference flow, m mask [B, 1, H, W] with 1 = hallucinate; VGG
features (phi) and discriminator outputs are lists of maps [B, C, h, w]. "Published" means the published code as
described in the specification (1.9).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from v2vkit.models.warp import warp

DiscriminatorOutput = list[list[Tensor]]
"""Output of a discriminator: per scale the hidden maps and, last, the scores."""


def lsgan(output: DiscriminatorOutput, *, real: bool) -> Tensor:
    """sum_scales mean (D(x) - t)^2, t = 1 for real and 0 for fake (LSGAN, Mao et al. 2017; summed as published)."""
    target = 1.0 if real else 0.0
    return torch.stack([(maps[-1] - target).square().mean() for maps in output]).sum()


def hinge_discriminator(output: DiscriminatorOutput, *, real: bool) -> Tensor:
    """sum_scales mean max(0, 1 - D(x)) for real, max(0, 1 + D(x)) for fake (Lim and Ye 2017)."""
    sign = -1.0 if real else 1.0
    return torch.stack([F.relu(1 + sign * maps[-1]).mean() for maps in output]).sum()


def hinge_generator(output: DiscriminatorOutput) -> Tensor:
    """-sum_scales mean D(x_fake) (Lim and Ye 2017)."""
    return -torch.stack([maps[-1].mean() for maps in output]).sum()


def bce(output: DiscriminatorOutput, *, real: bool) -> Tensor:
    """sum_scales mean BCE(sigmoid(D(x)), t), t = 1 for real and 0 for fake: the log form of a GAN (S-Flow GAN, eq. 2).

    D's scores are logits. The generator minimises `bce(fake, real=True)`, the non-saturating form (Goodfellow et al.
    2014, section 3); the paper does not state which.
    """
    scores = [maps[-1].float() for maps in output]
    target = 1.0 if real else 0.0
    return torch.stack([F.binary_cross_entropy_with_logits(s, torch.full_like(s, target)) for s in scores]).sum()


def feature_matching(fake: DiscriminatorOutput, real: DiscriminatorOutput) -> Tensor:
    """sum_{i,j} 4 / (n_hidden num_D) mean |D_ij(fake) - D_ij(real)| over the hidden maps j of each scale i.

    The real side is detached, so only the generator gets gradients. Source: pix2pixHD, eq. 4; factors as published.
    """
    terms = [
        F.l1_loss(of_fake, of_real.detach()) * (4.0 / (len(maps_fake) - 1) / len(fake))
        for maps_fake, maps_real in zip(fake, real, strict=True)
        for of_fake, of_real in zip(maps_fake[:-1], maps_real[:-1], strict=True)
    ]
    return torch.stack(terms).sum()


def masked_l1(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """mean |weight (a - b)| over all elements, not divided by the weighted area, as published.

    Args:
        a: [B, C, H, W].
        b: [B, C, H, W].
        weight: [B, 1, H, W] in [0, 1], or None for 1 everywhere.
    """
    return F.l1_loss(a, b) if weight is None else (weight * (a - b)).abs().mean()


def flow_loss(flow: Tensor, flow_real: Tensor, confidence: Tensor | None = None) -> Tensor:
    """mean |c (w - w_real)|: the first term of L_W (vid2vid paper, eq. 8)."""
    return masked_l1(flow, flow_real, confidence)


def warp_loss(flow: Tensor, x_last: Tensor, x: Tensor, confidence: Tensor | None = None) -> Tensor:
    """mean |c (w(x_{t-1}) - x_t)|, real frames under the predicted flow: second term of L_W (vid2vid paper, eq. 8)."""
    return masked_l1(warp(x_last, flow), x, confidence)


def generated_warp_loss(
    x_fake: Tensor, x_fake_last: Tensor, flow_real: Tensor, confidence: Tensor | None = None
) -> Tensor:
    """mean |c (x_fake_t - w_real(x_fake_{t-1}))|, the older frame detached (published; not in the paper)."""
    return masked_l1(x_fake, warp(x_fake_last.detach(), flow_real), confidence)


def mask_loss(mask: Tensor, confidence: Tensor | None = None) -> Tensor:
    """mean |c m|: encourages warping where the reference flow is reliable (published; not in the paper)."""
    return masked_l1(mask, torch.zeros_like(mask), confidence)


def pixel_l1(x_fake: Tensor, x: Tensor) -> Tensor:
    """mean |x_fake - x|: reduces flicker of small networks after short training; not in the paper."""
    return F.l1_loss(x_fake, x)


def perceptual(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """sum_i w_i mean |phi_i(x_fake) - phi_i(x)| over five VGG-19 maps, w = 1/32, 1/16, 1/8, 1/4, 1 (pix2pixHD).

    Args:
        fake: output of `VGGFeatures` for the generated image.
        real: the same for the real image (detached here).
    """
    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
    terms = [weight * F.l1_loss(a, b.detach()) for weight, a, b in zip(weights, fake, real, strict=True)]
    return torch.stack(terms).sum()


def relative_perceptual(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Mean over maps of mean |phi_i(x_fake) - phi_i(x)| / mean |phi_i(x)|: networks whose maps differ in scale.

    Args:
        fake: maps of the generated image.
        real: maps of the real image (detached here).
    """
    terms = [
        F.l1_loss(a, b.detach()) / b.detach().abs().mean().clamp_min(1e-6) for a, b in zip(fake, real, strict=True)
    ]
    return torch.stack(terms).mean()


def gram(features: Tensor) -> Tensor:
    """G_ij = 1 / (C H W) sum_p F_i(p) F_j(p): [B, C, H, W] -> [B, C, C] (Johnson et al. 2016)."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def style(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """sum_i mean |G(phi_i(x_fake)) - G(phi_i(x))|: compares texture, not positions (Johnson et al. 2016)."""
    return torch.stack([F.l1_loss(gram(a), gram(b).detach()) for a, b in zip(fake, real, strict=True)]).sum()
