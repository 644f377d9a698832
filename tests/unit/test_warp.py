"""The warp operator: its direction, its borders, its gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from v2vkit.models.warp import flow_levels, warp


def _image(height: int = 9, width: int = 13) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _flow(x: float, y: float, like: Tensor) -> Tensor:
    return torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).expand(like.shape[0], 2, *like.shape[2:])


def test_zero_flow_is_the_identity_bit_for_bit() -> None:
    image = _image(37, 101)
    assert torch.equal(warp(image, _flow(0, 0, image)), image)


def test_integer_flow_shifts_content_against_its_direction() -> None:
    image = _image()
    right = warp(image, _flow(1, 0, image))
    assert torch.equal(right[..., :-1], image[..., 1:])
    down = warp(image, _flow(0, 2, image))
    assert torch.equal(down[..., :-2, :], image[..., 2:, :])
    back = warp(image, _flow(-3, -1, image))
    assert torch.equal(back[..., 1:, 3:], image[..., :-1, :-3])


def test_the_border_is_replicated() -> None:
    image = _image()
    out = warp(image, _flow(4, 0, image))
    assert torch.equal(out[..., -4:], image[..., -1:].expand(-1, -1, -1, 4))
    far = warp(image, _flow(-1e6, float("inf"), image))
    assert torch.equal(far, image[..., -1:, :1].expand_as(image))


def test_an_object_that_moved_right_has_negative_x_flow() -> None:
    before, after = torch.zeros(1, 1, 8, 16), torch.zeros(1, 1, 8, 16)
    before[..., 2:5, 3:6] = 1
    after[..., 2:5, 7:10] = 1
    assert torch.equal(warp(before, after * torch.tensor([-4.0, 0.0]).view(1, 2, 1, 1))[after > 0], after[after > 0])


def test_equals_grid_sample_with_aligned_corners() -> None:
    image = _image(24, 31)
    flow = torch.randn(2, 2, 24, 31, generator=torch.Generator().manual_seed(1)) * 6
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(31.0), indexing="ij")
    grid = torch.stack([(x + flow[:, 0]) / 15 - 1, (y + flow[:, 1]) / 11.5 - 1], -1)
    wanted = F.grid_sample(image, grid, padding_mode="border", align_corners=True)
    torch.testing.assert_close(warp(image, flow), wanted, atol=2e-5, rtol=0)


def test_gradients_reach_image_and_flow() -> None:
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 2, 4, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    # away from whole pixels, where a bilinear sample has no derivative, and partly outside
    flow = (
        torch.randint(-3, 4, (1, 2, 4, 5), generator=generator)
        + 0.2
        + 0.6 * torch.rand(1, 2, 4, 5, generator=generator)
    )
    assert torch.autograd.gradcheck(warp, (image, flow.double().requires_grad_()))


def test_no_gradient_where_the_flow_points_outside() -> None:
    image = _image(4, 5)
    flow = _flow(50.0, 0.0, image).clone().requires_grad_()
    warp(image, flow).sum().backward()
    assert flow.grad is not None
    assert torch.equal(flow.grad[:, 0], torch.zeros_like(flow.grad[:, 0]))


def test_a_flow_that_is_not_a_number_is_shown_not_read_outside() -> None:
    image = _image()
    flow = _flow(0, 0, image).clone()
    flow[0, 0, 3, 3] = float("nan")
    out = warp(image, flow)
    assert out[0, :, 3, 3].isnan().all()
    assert int(out.isnan().sum()) == 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_flow_addresses_exact_pixels(dtype: torch.dtype) -> None:
    image = torch.arange(600.0).view(1, 1, 1, 600)  # more columns than either format counts exactly
    out = warp(image, torch.ones(1, 2, 1, 600, dtype=dtype))
    assert torch.equal(out[..., :-1], image[..., 1:])
    assert warp(image.to(dtype), torch.zeros(1, 2, 1, 600, dtype=dtype)).dtype is dtype


def test_flow_of_a_generators_scales_is_halved_and_leaves_untrusted_pixels_out() -> None:
    flow, confidence = torch.full((1, 2, 32, 16), 8.0), torch.ones(1, 1, 32, 16)
    flow[..., 5, 5], confidence[..., 5, 5] = 1e4, 0
    coarse, fine = flow_levels(flow, confidence, downsamplings=1, num_scales=2)
    assert (coarse.shape, fine.shape) == ((1, 2, 8, 4), (1, 2, 16, 8))
    torch.testing.assert_close(fine, torch.full_like(fine, 4.0))
    torch.testing.assert_close(coarse, torch.full_like(coarse, 2.0))
