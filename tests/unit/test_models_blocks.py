"""Layers at their limits: tiny maps, statistics, pyramids, initial weights."""

from typing import get_args

import pytest
import torch
from torch import nn

from v2vkit.config import Upsample
from v2vkit.models.blocks import (
    BatchNorm,
    InstanceNorm,
    Norm,
    ReflectConv,
    ResBlock,
    downs,
    init_weights,
    make_norm,
    pad_to_multiple,
    pyramid,
    stem,
    ups,
)


@pytest.mark.parametrize("norm", ["instance", "batch", "running"])
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 2)])
def test_residual_blocks_survive_tiny_bottlenecks(norm: Norm, size: tuple[int, int]) -> None:
    x = torch.randn(1, 4, *size, requires_grad=True)
    ResBlock(4, norm).train()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_norms_normalise_over_what_their_name_says() -> None:
    x = torch.stack([torch.randn(2, 8, 8), torch.randn(2, 8, 8) * 5 + 3])
    instance = make_norm("instance", 2)(x)
    torch.testing.assert_close(instance.mean((2, 3)), torch.zeros(2, 2), atol=1e-5, rtol=0)
    batch = make_norm("batch", 2)
    torch.testing.assert_close(batch(x).mean((0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    assert torch.equal(batch.train()(x), batch.eval()(x))
    running = make_norm("running", 2).eval()
    torch.testing.assert_close(running(x), x / (1 + 1e-5) ** 0.5)


def test_batch_and_instance_agree_on_one_image() -> None:
    x = torch.randn(1, 3, 6, 7)
    torch.testing.assert_close(make_norm("batch", 3)(x), make_norm("instance", 3)(x), atol=1e-6, rtol=0)


def test_channels_last_loses_no_digits_in_bfloat16() -> None:
    """Where a layer's output is far from zero mean; torch's batch norm in bfloat16 is ten times as far off."""
    x = (torch.rand(1, 16, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 + 3).bfloat16()
    norm = InstanceNorm(16)
    with torch.no_grad():
        exact = norm(x.double().float())
        found = norm(x.to(memory_format=torch.channels_last))
    assert float((found.float() - exact).abs().mean()) < 0.002


def test_reflected_borders() -> None:
    conv = ReflectConv(1, 1, 3)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    with torch.no_grad():
        conv.weight[0, 0, 1, 0] = 1  # picks the left neighbour
    row = torch.tensor([10.0, 20.0, 30.0]).expand(1, 1, 3, 3)
    assert conv(row)[0, 0, 1].tolist() == [20, 10, 20]  # 20 mirrored about the first pixel


def test_resizing_treats_every_pixel_of_a_constant_map_alike() -> None:
    """No checkerboard: away from the border a constant stays constant, which transposed convolutions do not give."""
    for upsample, constant in (("resize", True), ("transposed", False)):
        torch.manual_seed(0)
        layers = ups(4, 2, "instance", upsample)
        kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Upsample)
        upsample_to = nn.Sequential(*[layer for layer in layers if isinstance(layer, kinds)])
        with torch.no_grad():
            inside = upsample_to(torch.ones(1, 16, 8, 8))[..., 8:-8, 8:-8]
        assert (inside.std((-1, -2)).max().item() < 1e-5) == constant


def test_down_and_up_are_inverse_in_shape() -> None:
    x = torch.randn(1, 3, 16, 24)
    deep = nn.Sequential(*stem(3, 4, "instance"), *downs(4, 3, "instance"))(x)
    assert deep.shape == (1, 32, 2, 3)
    for upsample in get_args(Upsample):
        assert nn.Sequential(*ups(4, 3, "instance", upsample))(deep).shape == (1, 4, 16, 24)


def test_pyramids_keep_constants_to_the_border() -> None:
    levels = pyramid(torch.full((1, 2, 21, 13), 3.0), 3)
    assert [tuple(level.shape[-2:]) for level in levels] == [(6, 4), (11, 7), (21, 13)]
    for level in levels:
        torch.testing.assert_close(level, torch.full_like(level, 3.0))


def test_padding_continues_the_border_to_the_right_and_below() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert torch.equal(padded[..., :2, :3], x)
    assert padded[0, 0, 3].tolist() == [3, 4, 5, 5]
    assert pad_to_multiple(x[..., :2], 2).shape == (1, 1, 2, 2)


def test_initial_weights_follow_the_specification() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(64, 64, 7), InstanceNorm(512), BatchNorm(512), nn.ConvTranspose2d(64, 64, 3))
    nn.init.ones_(network[1].bias)
    init_weights(network)
    for conv in (network[0], network[3]):
        assert float(conv.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        assert abs(float(conv.weight.detach().mean())) < 1e-3
    for norm in (network[1], network[2]):
        assert float(norm.weight.detach().mean()) == pytest.approx(1, abs=0.005)
        assert float(norm.weight.detach().std()) == pytest.approx(0.02, rel=0.2)
        assert torch.equal(norm.bias, torch.zeros(512))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [1, 2])
def test_instance_norm_has_the_gradients_of_its_definition(layout: torch.memory_format, batch: int) -> None:
    torch.manual_seed(0)
    norm = InstanceNorm(5)
    init_weights(norm)
    x, gradient = (torch.randn(batch, 5, 6, 7).to(memory_format=layout) for _ in range(2))
    found = torch.autograd.grad(norm(x.requires_grad_()), [x, norm.weight, norm.bias], gradient)
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    y = (x - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
    expected = torch.autograd.grad(y, [x, norm.weight, norm.bias], gradient)
    torch.testing.assert_close(norm(x), y)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
