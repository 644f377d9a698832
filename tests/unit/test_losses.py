"""Each loss against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from v2vkit.models import losses


def _judged(*scores: float, hidden: float = 0.0) -> list[list[Tensor]]:
    """One entry per scale: four hidden maps of `hidden` and a score map."""
    return [[torch.full((1, 2, 3, 3), hidden) for _ in range(4)] + [torch.full((1, 1, 2, 2), s)] for s in scores]


def test_lsgan_is_summed_over_scales() -> None:
    judged = _judged(0.5, -1.0, 3.0)
    assert float(losses.lsgan(judged, real=True)) == pytest.approx(0.25 + 4 + 4)
    assert float(losses.lsgan(judged, real=False)) == pytest.approx(0.25 + 1 + 9)


def test_bce_is_the_cross_entropy_of_logits_summed_over_scales() -> None:
    judged = _judged(0.0, 2.0)
    log2, far = math.log(2), math.log(1 + math.exp(-2))
    assert float(losses.bce(judged, real=True)) == pytest.approx(log2 + far)
    assert float(losses.bce(judged, real=False)) == pytest.approx(log2 + 2 + far)


def test_bce_stays_finite_and_teaches_where_the_discriminator_is_sure() -> None:
    scores = torch.full((1, 1, 2, 2), -200.0, requires_grad=True)
    loss = losses.bce([[torch.zeros(1), scores]], real=True)  # a fake that D has found out
    loss.backward()
    assert float(loss.detach()) == pytest.approx(200)
    assert scores.grad is not None
    assert torch.allclose(scores.grad, torch.full_like(scores, -0.25))


def test_hinge() -> None:
    judged = _judged(0.5, -2.0)
    assert float(losses.hinge_discriminator(judged, real=True)) == pytest.approx(0.5 + 3)
    assert float(losses.hinge_discriminator(judged, real=False)) == pytest.approx(1.5 + 0)
    assert float(losses.hinge_generator(judged)) == pytest.approx(1.5)


def test_feature_matching_leaves_out_the_scores_and_divides_by_the_scales() -> None:
    fake, real = _judged(9.0, 9.0, hidden=0.5), _judged(-9.0, -9.0)
    assert float(losses.feature_matching(fake, real)) == pytest.approx(4 * 0.5)
    deep = [[torch.ones(1)] * 8 + [torch.ones(1)]]
    assert float(losses.feature_matching(deep, [[torch.zeros(1)] * 9])) == pytest.approx(8 * 4 / 8)


def test_feature_matching_teaches_only_the_fake_side() -> None:
    fake, real = _judged(0.0, hidden=1.0), _judged(0.0)
    for maps in (fake[0], real[0]):
        maps[0].requires_grad_()
    losses.feature_matching(fake, real).backward()
    assert fake[0][0].grad is not None
    assert real[0][0].grad is None


def test_masked_l1_is_not_divided_by_the_area() -> None:
    a, b = torch.full((1, 3, 2, 4), 2.0), torch.zeros(1, 3, 2, 4)
    mask = torch.zeros(1, 1, 2, 4)
    mask[..., :1] = 1  # a quarter
    assert float(losses.masked_l1(a, b)) == pytest.approx(2)
    assert float(losses.masked_l1(a, b, mask)) == pytest.approx(0.5)


def test_flow_losses_of_a_known_motion() -> None:
    last = torch.arange(6.0).expand(1, 3, 4, 6)
    now = last.roll(1, -1)  # everything moved one pixel to the right
    true = torch.zeros(1, 2, 4, 6)
    true[:, 0] = -1
    confidence = torch.ones(1, 1, 4, 6)
    confidence[..., 0] = 0  # what came in from outside
    assert float(losses.warp_loss(true, last, now, confidence)) == 0
    assert float(losses.generated_warp_loss(now, last, true, confidence)) == 0
    assert float(losses.warp_loss(true, last, now)) > 0
    still = torch.zeros_like(true)
    assert float(losses.warp_loss(still, last, now, confidence)) == pytest.approx(5 / 6)
    assert float(losses.flow_loss(still, true, confidence)) == pytest.approx(5 / 6 / 2)


def test_the_generated_warp_loss_does_not_reach_the_older_frame() -> None:
    now, last = torch.rand(1, 3, 4, 4, requires_grad=True), torch.rand(1, 3, 4, 4, requires_grad=True)
    losses.generated_warp_loss(now, last, torch.zeros(1, 2, 4, 4)).backward()
    assert now.grad is not None
    assert last.grad is None


def test_mask_loss_and_pixel_loss() -> None:
    mask = torch.full((1, 1, 2, 2), 0.5)
    confidence = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    assert float(losses.mask_loss(mask, confidence)) == pytest.approx(0.25)
    assert float(losses.pixel_l1(torch.ones(1, 3, 2, 2), -torch.ones(1, 3, 2, 2))) == pytest.approx(2)


def test_perceptual_weights() -> None:
    real = [torch.zeros(1, 1, 2, 2) for _ in range(5)]
    for layer, weight in enumerate((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)):
        fake = [torch.full((1, 1, 2, 2), 3.0 if i == layer else 0.0) for i in range(5)]
        assert float(losses.perceptual(fake, real)) == pytest.approx(3 * weight)


def test_style_ignores_where_and_sees_what() -> None:
    features = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    moved = features.roll(2, -1)
    assert float(losses.style([moved], [features])) == pytest.approx(0, abs=1e-7)
    assert float(losses.style([features * 2], [features])) > 0.01
    torch.testing.assert_close(losses.gram(torch.ones(1, 2, 3, 3)), torch.full((1, 2, 2), 0.5))
