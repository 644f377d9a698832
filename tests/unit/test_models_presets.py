"""The published sizes have the published numbers of parameters (specification 1.2 and 1.3)."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.errors import raises
from v2vkit.models.discriminator import Discriminator
from v2vkit.models.generator import VideoGenerator
from v2vkit.models.presets import generator_config, image_discriminator_config, video_discriminator_config

STREET, FACE, POSE = 36, 15, 6
CARS = (26,)


def _millions(network: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def _generator(preset: Any, channels: int, **changes: Any) -> VideoGenerator:
    with torch.device("meta"):
        return VideoGenerator(generator_config(preset, source_channels=channels, **changes))


def test_the_street_generator_has_exactly_the_published_parameters() -> None:
    assert round(_millions(_generator("paper", STREET, foreground=CARS)) * 1e6) == 411_335_241


@pytest.mark.parametrize(
    ("channels", "changes", "millions"),
    [
        (STREET, {}, 365.4),
        (FACE, {}, 365.0),
        (POSE, {}, 364.8),
        (FACE, {"width": 64}, 91.4),
        (STREET, {"num_down": 2, "foreground": CARS}, 137.8),
    ],
)
def test_other_published_generators(channels: int, changes: dict[str, Any], millions: float) -> None:
    assert _millions(_generator("paper", channels, **changes)) == pytest.approx(millions, abs=0.05)


def test_finer_scales_are_small() -> None:
    scales = _generator("paper", STREET, foreground=CARS, num_scales=3).scales
    assert _millions(scales[0]) == pytest.approx(411.3, abs=0.05)
    assert _millions(scales[1]) == pytest.approx(2.9, abs=0.05)
    assert _millions(scales[2]) == pytest.approx(0.86, abs=0.005)


def test_published_discriminators() -> None:
    with torch.device("meta"):
        of_images = Discriminator(image_discriminator_config("paper", source_channels=STREET))
        of_videos = Discriminator(video_discriminator_config("paper"))
    assert _millions(of_images) == pytest.approx(5.6, abs=0.05)
    assert of_images.config.in_channels == 39
    assert of_videos.config.in_channels == 13


@pytest.mark.parametrize(("preset", "most"), [("tiny", 13), ("small", 65)])
def test_smaller_presets_are_smaller(preset: Any, most: float) -> None:
    assert _millions(_generator(preset, FACE)) < most


@pytest.mark.parametrize("preset", ["tiny", "small", "paper"])
@pytest.mark.parametrize("num_scales", [1, 2, 3])
def test_every_preset_has_every_scale_and_a_foreground(preset: Any, num_scales: int) -> None:
    generator = _generator(preset, 13, num_scales=num_scales, foreground=(8, 9))
    outputs = generator(torch.empty(1, 39, 72, 90, device="meta"), first_frame=True)
    assert [tuple(output.x_fake.shape[-2:]) for output in outputs] == [(18, 23), (36, 45), (72, 90)][-num_scales:]


def test_fields_that_do_not_fit_are_refused() -> None:
    with raises("setting-invalid", "width"):
        generator_config("tiny", source_channels=15, width=6, num_scales=4)
    with raises("setting-invalid", "depth"):
        generator_config("tiny", source_channels=15, depth=3)
