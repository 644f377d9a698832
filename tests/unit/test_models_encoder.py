"""The feature encoder, its average over instances, and the image generator."""

import pytest
import torch
from torch import Tensor

from tests.errors import raises
from v2vkit.config import make_config
from v2vkit.models.blocks import downsample
from v2vkit.models.encoder import EncoderConfig, FeatureEncoder, features_at, instance_average, instance_vectors
from v2vkit.models.image_generator import ImageGenerator, ImageGeneratorConfig


def test_every_instance_has_its_mean_everywhere() -> None:
    features = torch.rand(2, 3, 6, 7)
    instance = torch.randint(0, 4, (2, 1, 6, 7)) * 11_000 - 5
    pooled = instance_average(features, instance)
    for image in range(2):
        for one in instance[image].unique():
            where = instance[image, 0] == one
            mean = features[image][:, where].mean(1)
            torch.testing.assert_close(pooled[image][:, where], mean[:, None].expand(-1, int(where.sum())))


def test_the_same_id_in_two_images_is_two_instances() -> None:
    features = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    instance = torch.full((2, 1, 2, 2), 26_001)
    assert torch.equal(instance_average(features, instance), features)
    vectors, which, index = instance_vectors(features, instance)
    assert vectors.flatten().tolist() == [0, 1]
    assert which.tolist() == [[0, 26_001], [1, 26_001]]
    assert index.tolist() == [0] * 4 + [1] * 4


def test_gradients_spread_over_the_instance() -> None:
    features = torch.rand(1, 1, 2, 4, requires_grad=True)
    instance = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]]).view(1, 1, 2, 4)
    instance_average(features, instance)[0, 0, 0, 0].backward()
    assert features.grad is not None
    assert features.grad[0, 0].tolist() == [[0.25, 0.25, 0, 0], [0.25, 0.25, 0, 0]]


@pytest.mark.parametrize("size", [(48, 64), (33, 50), (8, 8)])
def test_encoder_keeps_any_size_and_range(size: tuple[int, int]) -> None:
    encoder = FeatureEncoder(EncoderConfig(width=4, num_down=3))
    out = instance_average(encoder(torch.rand(1, 3, *size)), torch.ones(1, 1, *size))
    assert out.shape == (1, 3, *size)
    assert float(out.detach().abs().max()) <= 1
    assert len(out.detach().flatten(2)[0].unique(dim=1)[0]) == 1


@pytest.mark.parametrize("num_enhancers", [0, 1, 2])
def test_image_generator_makes_any_size_and_every_layer_learns(num_enhancers: int) -> None:
    torch.manual_seed(0)
    config = ImageGeneratorConfig(in_channels=5, width=4, num_down=2, num_blocks=1, num_enhancers=num_enhancers)
    network = ImageGenerator(config)
    image = network(torch.rand(1, 5, 37, 50))
    assert image.shape == (1, 3, 37, 50)
    assert float(image.detach().abs().max()) <= 1
    image.mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_enhancers_double_the_width_of_the_global_network() -> None:
    network = ImageGenerator(ImageGeneratorConfig(in_channels=5, width=4, num_down=1, num_blocks=1, num_enhancers=2))
    assert network.coarse[0].out_channels == 16
    assert [enhancer.encoder[0].out_channels for enhancer in network.enhancers] == [8, 4]
    with raises("setting-invalid", "512"):
        make_config(ImageGeneratorConfig, {"in_channels": 5, "width": 64, "num_enhancers": 5}, "checkpoint")


@pytest.mark.parametrize(("size", "halved", "downsamplings"), [((33, 40), 0, 1), ((33, 40), 0, 2), ((18, 37), 1, 1)])
def test_features_stand_where_the_pixels_stood_that_they_are_of(
    size: tuple[int, int], halved: int, downsamplings: int
) -> None:
    """An E that says where a pixel of its own lies must say so of regions at the frames' size, without a shift."""
    rows, columns = (torch.arange(side, dtype=torch.float32) for side in size)
    places = torch.stack([rows[:, None].expand(size), columns.expand(size)])
    times = 1 << (halved + downsamplings)

    def encode(x: Tensor) -> Tensor:
        there = [torch.arange(side) * float(times) for side in x.shape[-2:]]
        return torch.stack([there[0][:, None].expand(x.shape[-2:]), there[1].expand(x.shape[-2:])])[None]

    found = features_at(
        encode, downsample(torch.zeros(1, 3, *size), halved), size, downsamplings=downsamplings, halved=halved
    )[0]
    assert found.shape == (2, *size)
    away = found - places
    inside = [side - 1 - (side - 1) % (2 * times) for side in size]  # whole periods, without the last clamped pixels
    assert away[:, : inside[0], : inside[1]].abs().max() <= times / 2
    region = (slice(None), slice(0, inside[0]), slice(0, inside[1]))
    assert away[region].mean().abs() < 1e-6


@pytest.mark.parametrize("downsamplings", [1, 2])
def test_the_regions_of_a_mirrored_frame_have_the_same_features(downsamplings: int) -> None:
    left = torch.rand(1, 3, 9, 8)
    x = torch.cat([left, torch.rand(1, 3, 9, 1), left.flip(-1)], -1)
    regions = torch.tensor([0] * 8 + [1] + [2] * 8).expand(1, 1, 9, 17)
    vectors, _, _ = instance_vectors(features_at(lambda x: x, x, (9, 17), downsamplings=downsamplings), regions)
    torch.testing.assert_close(vectors[0], vectors[2])
