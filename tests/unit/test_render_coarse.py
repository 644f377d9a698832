"""Models of a coarse scale: what they are given is halved for them, also the frames that begin a video."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.rendering import save_untrained
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import load_model
from v2vkit.inference.rollout import Rollout
from v2vkit.models.blocks import downsample
from v2vkit.models.generator import VideoGenerator, history_from_images
from v2vkit.models.image_generator import FrameGenerator, ImageGeneratorConfig
from v2vkit.models.layout import from_images

SOURCES = np.random.default_rng(0).random((3, 13, 48, 64), dtype=np.float32)


@pytest.fixture
def generator(tmp_path: Path) -> VideoGenerator:
    """A model that sees everything halved once."""
    save_untrained(tmp_path, "street", downsamplings=1)
    found, info = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))
    assert isinstance(found, VideoGenerator)
    assert info.downsamplings == 1
    return found


def _third(generator: VideoGenerator, opening: torch.Tensor) -> torch.Tensor:
    """The third frame, made from halved maps and the halved first two, [2, 3, H, W]."""
    sources = downsample(torch.from_numpy(SOURCES), 1).flatten(0, 1)[None]
    with torch.inference_mode():
        return generator(sources, history_from_images(downsample(opening, 1)[None], 1))[-1].x_fake


def test_given_frames_are_halved(generator: VideoGenerator) -> None:
    given = np.random.default_rng(1).integers(0, 256, (2, 48, 64, 3)).astype(np.uint8)
    rollout = Rollout(generator, 1, given=list(given))
    made = [rollout.step(s).x_fake for s in SOURCES]
    real = from_images(given)
    for t in range(2):
        assert torch.equal(made[t], downsample(real[t : t + 1], 1))
    torch.testing.assert_close(made[2], _third(generator, real))


def test_frames_of_an_image_model_are_made_at_full_size_and_halved(generator: VideoGenerator) -> None:
    torch.manual_seed(1)
    first_frame_model = FrameGenerator(ImageGeneratorConfig(in_channels=13, width=8, num_down=2, num_blocks=1)).eval()
    rollout = Rollout(generator, 1, first_frame_model)
    made = [rollout.step(s).x_fake for s in SOURCES]
    with torch.inference_mode():
        opening = torch.cat([first_frame_model(torch.from_numpy(s)[None])[-1].x_fake for s in SOURCES[:2]])
    for t in range(2):
        assert torch.equal(made[t], downsample(opening[t : t + 1], 1))
    torch.testing.assert_close(made[2], _third(generator, opening))
