"""A tiny workspace and a tiny configuration for the tests of training."""

from pathlib import Path

import torch

from tests.conditions import made_by, of_domain
from tests.unit.fake_stage import SOURCE, SourceConfig
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.clips import ClipReader
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.extract_flow import STAGE as FLOW
from v2vkit.training.build import build_encoder_config, build_generator_config, build_trainer
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.sampler import ClipSampler, Window
from v2vkit.training.loop import train
from v2vkit.training.trainer import Trainer

SMALL = TrainConfig(
    preset="tiny",
    width=8,
    num_down=2,
    num_blocks=2,
    discriminator_width=8,
    epochs=2,
    decay_epochs=1,
    first_frames=3,
    double_every=1,
    max_frames=8,
    chunk=2,
    domain="street",
    num_labels=12,
    foreground=(1, 2),
    drop_history=0.5,
    lambda_l1=1.0,
    device="cpu",
    precision="fp32",
    threads=1,
    sample_every=0,
    tensorboard=False,
)


def make_workspace(path: Path, *, num_clips: int = 2, clip_frames: int = 12, enlarged: int = 1) -> RunOptions:
    """Frames of noise with labels and flow: 32x24 pixels, or so many times that."""
    options = RunOptions(work=str(path), workers=1)
    run(SOURCE, SourceConfig(num_clips=num_clips, clip_frames=clip_frames, enlarged=enlarged), options)
    run(FLOW, FLOW.config(), options)
    return options


def open_dataset(
    work: str, *, strides: tuple[int, ...] = (1, 3), flip: bool = False, halvings: int = 0
) -> VideoDataset:
    folder = Folder(work)
    manifests = {kind: read_manifest(folder / kind) for kind in ("frames", "labels", "flow")}
    reader = ClipReader(folder, {kind: manifest for kind, manifest in manifests.items() if manifest is not None})
    return VideoDataset(
        reader,
        of_domain("street"),
        strides=strides,
        flip=flip,
        downsample=halvings,
    )


def windows_of(dataset: VideoDataset, num_frames: int) -> list[Window]:
    """The windows of a first batch: of two frames of context and so many generated ones."""
    sampler = ClipSampler(dataset.reader.clips, lambda epoch: num_frames, context=2, batch_size=1, seed=0)
    return list(sampler.batches(0)[0].windows)


def model_info(config: TrainConfig, dataset: VideoDataset) -> ModelInfo:
    """The description of a model trained on `make_workspace`."""
    return ModelInfo(
        stage=config.checkpoint,
        fingerprint="f",
        generator=build_generator_config(config, dataset.source),
        encoder=build_encoder_config(config),
        conditioning=dataset.source,
        origins=made_by("ingest"),
        width=32,
        height=24,
        first_frame=config.first_frame,
        frames={},
    )


def train_into(config: TrainConfig, dataset: VideoDataset, folder: Path, stop_at: int | None = None) -> Trainer:
    """Train to the end, or until after so many steps, without the stage around it."""
    trainer = build_trainer(config, dataset.source, torch.device("cpu"))
    stop = None if stop_at is None else (lambda now: now.steps >= stop_at)
    info = model_info(config, dataset)
    train(config, trainer, dataset, Folder(str(folder)), info, device=torch.device("cpu"), stop_after=stop)
    return trainer


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit-equal."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
