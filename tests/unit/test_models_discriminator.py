"""The multi-scale PatchGAN and what it is given to judge."""

import pytest
import torch

from v2vkit.models.discriminator import (
    Discriminator,
    DiscriminatorConfig,
    image_input,
    scale_widths,
    video_channels,
    video_input,
)


def test_feature_maps_of_every_layer_and_scale() -> None:
    network = Discriminator(DiscriminatorConfig(in_channels=7, width=8, num_scales=3))
    scales = network(torch.rand(2, 7, 64, 96))
    assert len(scales) == 3
    assert [tuple(m.shape) for m in scales[-1]] == [
        (2, 8, 33, 49),
        (2, 16, 17, 25),
        (2, 32, 9, 13),
        (2, 64, 10, 14),
        (2, 1, 11, 15),
    ]
    assert scales[0][0].shape == (2, 32, 9, 13)  # the coarsest first, and wider


@pytest.mark.parametrize(
    ("width", "num_scales", "wanted"), [(64, 3, [64, 64, 64]), (16, 4, [64, 64, 32, 16]), (96, 2, [96, 96])]
)
def test_widths_grow_towards_the_coarse_scales(width: int, num_scales: int, wanted: list[int]) -> None:
    assert scale_widths(DiscriminatorConfig(in_channels=3, width=width, num_scales=num_scales)) == wanted


def test_finer_stages_leave_narrow_scales_as_wide_as_they_were() -> None:
    def widths(num_scales: int, finer_scales: int) -> list[int]:
        return scale_widths(
            DiscriminatorConfig(in_channels=3, width=32, num_scales=num_scales, finer_scales=finer_scales)
        )

    assert widths(2, 0) == [64, 32]
    assert widths(3, 1) == [64, 32, 32]
    assert widths(4, 2) == [64, 32, 32, 32]
    with pytest.raises(ValueError, match="2 of 2 scales cannot have been added"):
        DiscriminatorConfig(in_channels=3, num_scales=2, finer_scales=2)


def test_a_new_scale_keeps_the_old_ones_in_place() -> None:
    small = Discriminator(DiscriminatorConfig(in_channels=4, width=64, num_scales=1))
    large = Discriminator(DiscriminatorConfig(in_channels=4, width=64, num_scales=2))
    result = large.load_state_dict(small.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert all(key.startswith("scales.1.") for key in result.missing_keys)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16), (31, 47)])
def test_any_image_size(size: tuple[int, int], norm: str) -> None:
    network = Discriminator(DiscriminatorConfig(in_channels=3, width=4, num_scales=3, norm=norm))
    x = torch.rand(1, 3, *size, requires_grad=True)
    sum(maps[-1].mean() for maps in network(x)).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_judging_side_by_side_equals_judging_one_by_one() -> None:
    """What lets one pass judge real and generated frames together: instance statistics."""
    network = Discriminator(DiscriminatorConfig(in_channels=3, width=8))
    a, b = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    for together, alone in zip(network(torch.cat([a, b])), network(b), strict=True):
        for left, right in zip(together, alone, strict=True):
            torch.testing.assert_close(left[1:], right, atol=1e-5, rtol=1e-4)


def test_inputs_are_laid_out_as_stated() -> None:
    source, image = torch.zeros(1, 5, 4, 4), torch.ones(1, 3, 4, 4)
    assert torch.equal(image_input(source, image)[:, 5:], image)
    frames = torch.arange(3.0).view(1, 3, 1, 1, 1).expand(1, 3, 3, 4, 4)
    flows = torch.full((1, 2, 2, 4, 4), 40.0)
    x = video_input(frames, flows)
    assert x.shape[1] == video_channels(3) == 13
    assert x[0, :, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]  # 40 pixels of flow are 2
    assert float(x[:, 9:].mean()) == 2.0


def test_scores_are_float32_under_autocast() -> None:
    """bfloat16 has 8 bits: near a score of 1 its steps are 0.008 wide."""
    torch.manual_seed(0)
    network = Discriminator(DiscriminatorConfig(in_channels=7, width=8, num_scales=2))
    x = torch.rand(2, 7, 64, 96)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        *hidden, scores = network(x)[-1]
    assert {maps.dtype for maps in hidden[1:]} == {torch.bfloat16}
    assert scores.dtype == torch.float32
    assert len(scores.unique()) > 0.9 * scores.numel()
    assert not torch.equal(scores, scores.bfloat16().float())
