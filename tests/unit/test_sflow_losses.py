"""The losses of the S-Flow GAN paper against numbers worked out by hand, and what they teach."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from v2vkit.models.sflow_losses import dned_loss, generated_flow_loss, uniform_perceptual


def _edges() -> Tensor:
    """A quarter of the pixels are edges."""
    edges = torch.zeros(1, 1, 4, 8)
    edges[..., :2] = 1
    return edges


def test_dned_loss_is_the_sum_of_cross_entropies() -> None:
    logits = [torch.zeros(1, 1, 4, 8)] * 5 + [torch.full((1, 1, 4, 8), 100.0)]
    log2 = math.log(2)
    assert float(dned_loss(logits, _edges())) == pytest.approx(5 * log2 + 75)


def test_the_balanced_loss_gives_rare_edges_the_weight_of_all_the_rest() -> None:
    logit = torch.zeros(1, 1, 4, 8, requires_grad=True)
    dned_loss([logit], _edges(), balanced=True).backward()
    assert logit.grad is not None
    on_edges, elsewhere = logit.grad[_edges() == 1].sum(), logit.grad[_edges() == 0].sum()
    assert float(on_edges) == pytest.approx(-float(elsewhere))
    assert float(on_edges) < 0  # more of an edge there


def test_balancing_is_done_image_by_image() -> None:
    edges = torch.cat([_edges(), torch.zeros(1, 1, 4, 8)])
    logits = [torch.ones(2, 1, 4, 8)]
    both = dned_loss(logits, edges, balanced=True)
    assert float(both) == pytest.approx(0.5 * float(dned_loss([logits[0][:1]], _edges(), balanced=True)))


def test_perceptual_maps_count_alike() -> None:
    fake = [torch.full((1, 2, 4, 4), 1.0), torch.full((1, 9, 2, 2), 3.0)]
    assert float(uniform_perceptual(fake, [torch.zeros_like(each) for each in fake])) == pytest.approx(2)


def test_the_real_side_learns_nothing() -> None:
    fake, real = torch.ones(1, 2, 4, 4, requires_grad=True), torch.zeros(1, 2, 4, 4, requires_grad=True)
    uniform_perceptual([fake], [real]).backward()
    assert fake.grad is not None
    assert real.grad is None


def _waves(seed: int, width: int = 64) -> Tensor:
    noise = torch.randn(1, 3, 18, width // 3 + 2, generator=torch.Generator().manual_seed(seed))
    return torch.tanh(F.interpolate(noise, (48, width), mode="bicubic", align_corners=True))


def test_the_flow_loss_compares_motion_not_looks() -> None:
    """Eq. 8 of other content with the same motion is small, and about the motion where the generated frames stand."""
    real, other = _waves(0, 68), _waves(1, 68)
    x_last, x = real[..., :-4], real[..., 4:]
    same = generated_flow_loss(other[..., :-4], other[..., 4:], x_last, x)
    still = generated_flow_loss(other[..., 4:], other[..., 4:], x_last, x)
    assert float(same) < 0.5
    assert float(still) == pytest.approx(2, abs=0.4)  # the mean of |4| along x and |0| along y
    assert float(generated_flow_loss(x_last, x, x_last, x)) == 0


def test_both_generated_frames_learn_to_move_like_the_real_ones() -> None:
    x_last, x = _waves(0, 68)[..., :-4], _waves(0, 68)[..., 4:]
    x_fake_last, x_fake = (_waves(1).clone().requires_grad_() for _ in range(2))
    optimiser = torch.optim.Adam([x_fake_last, x_fake], 0.02)
    values = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = generated_flow_loss(x_fake_last, x_fake, x_last, x)
        loss.backward()
        assert x_fake_last.grad is not None
        assert x_fake.grad is not None
        assert min(float(each.grad.abs().max()) for each in (x_fake_last, x_fake) if each.grad is not None) > 0
        optimiser.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.8 * values[0]
