"""Training learns: a tiny run beats the first frame repeated and an untrained network.

With the sign of the losses turned it does not: a test that only sees weights change would pass then too.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.fake_stage import SOURCE, SourceConfig
from tests.unit.training_data import begin, open_dataset, trainer_of
from v2vkit.artifacts.images import encode_png
from v2vkit.inference.rollout import Rollout
from v2vkit.models.generator import VideoGenerator
from v2vkit.pipeline.mapping import Clip, Opened, Sample
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import PerClip, RunOptions
from v2vkit.stages.extract_flow import STAGE as FLOW
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.sampler import Window

CONFIG = TrainConfig(
    preset="tiny",
    width=8,
    num_down=1,
    num_blocks=1,
    upsample="resize",
    discriminator_width=8,
    discriminator_scales=1,
    temporal_scales=1,
    domain="street",
    num_labels=3,
    epochs=8,
    decay=0.5,
    first_frames=4,
    double_every=0,
    learning_rate=4e-3,
    drop_history=0.7,
    lambda_l1=30.0,
    lambda_mask=0.0,
    ema=0.9,
    device="cpu",
    precision="fp32",
    save_every=1000.0,
    sample_every=0,
    tensorboard=False,
)
"""An epoch over two clips of 10 frames has 5 sequences of 4 frames, each of two steps: 80 steps."""


def draw(clip: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """RGB and labels: a striped square crosses a shaded wall, in every second clip lower and the other way."""
    y, x = np.mgrid[:24, :32]
    image = np.stack([40 + 3 * y, 60 + 4 * y, 200 - 2 * y], -1)
    labels = np.full((24, 32), 2, np.uint8)
    left, top = (2 + 2 * t, 4) if clip % 2 == 0 else (20 - 2 * t, 9)
    inside = (x >= left) & (x < left + 10) & (y >= top) & (y < top + 10)
    image[inside] = np.where((x[inside, None] - left) % 4 < 2, (230, 60, 30), (160, 160, 40))
    labels[inside] = 1
    return image.astype(np.uint8), labels


def open_scene(config: SourceConfig) -> Opened:
    def function(clip: Clip) -> Iterator[Sample]:
        for t in range(clip.info.num_frames):
            image, labels = draw(int(clip.info.name[-1]), t)
            yield Sample(t, {"png": encode_png(image), "label.png": encode_png(labels)})

    return Opened(function)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> VideoDataset:
    """Two clips."""
    assert isinstance(SOURCE.make, PerClip)
    options = RunOptions(work=str(tmp_path_factory.mktemp("learns") / "work"), workers=1)
    run(replace(SOURCE, make=replace(SOURCE.make, open=open_scene)), SourceConfig(num_clips=2, clip_frames=10), options)
    run(FLOW, FLOW.config(), options)
    return open_dataset(options.work, strides=(1,), num_labels=3)


class Ascending(torch.amp.GradScaler):
    """Turns the sign of every loss."""

    def scale(self, outputs: Tensor) -> Tensor:
        return -outputs


def trained(dataset: VideoDataset, folder: Path, *, ascending: bool = False) -> VideoGenerator:
    begun = begin(CONFIG, dataset.source)
    if ascending:
        begun.state.scaler = Ascending("cpu", enabled=False)
    trainer_of(CONFIG, dataset, folder).fit(begun.method, begun.state)
    return begun.method.generator.eval()


def error(generator: VideoGenerator, dataset: VideoDataset) -> float:
    """Mean |x_fake - x| of both clips, each made of nothing but its maps."""
    found = []
    for clip in range(2):
        real = dataset.load(Window(clip, 0, 10))
        rollout = Rollout(generator)
        found += [
            float((rollout.step(s.numpy()).x_fake[0] - x).abs().mean()) for s, x in zip(real.s, real.x, strict=True)
        ]
    return float(np.mean(found))


@pytest.fixture(scope="module")
def baselines(dataset: VideoDataset) -> tuple[float, float]:
    """The error of the first frame repeated, and that of an untrained network."""
    clips = [dataset.load(Window(clip, 0, 10)).x for clip in range(2)]
    repeated = float(torch.stack([(x[0] - x).abs().mean() for x in clips]).mean())
    return repeated, error(begin(CONFIG, dataset.source).method.generator.eval(), dataset)


def test_a_tiny_run_beats_the_first_frame_repeated_and_an_untrained_network(
    dataset: VideoDataset, tmp_path: Path, baselines: tuple[float, float]
) -> None:
    repeated, untrained = baselines
    found = error(trained(dataset, tmp_path), dataset)
    assert found < 0.75 * repeated
    assert found < 0.4 * untrained


def test_with_the_sign_of_the_losses_turned_it_does_not(
    dataset: VideoDataset, tmp_path: Path, baselines: tuple[float, float]
) -> None:
    found = error(trained(dataset, tmp_path, ascending=True), dataset)
    assert found > max(baselines)
