"""A tiny workspace and a tiny configuration for the tests of training."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.conditions import made_by, of_domain
from tests.unit.fake_stage import SOURCE, SourceConfig
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, read_manifest
from v2vkit.checkpoint.model_file import ModelInfo, save_model
from v2vkit.checkpoint.train_state import TrainState
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.models.generator import Output
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.extract_flow import STAGE as FLOW
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.sampler import ClipSampler, Window
from v2vkit.training.methods.base import StepContext
from v2vkit.training.methods.frames import Chunk, FrameMethod
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.trainer import Trainer, new_state, take_step
from v2vkit.training.window import WindowState

SMALL = TrainConfig(
    preset="tiny",
    width=8,
    num_down=2,
    num_blocks=2,
    discriminator_width=8,
    epochs=3,
    decay=0.33,
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
    measure=False,
)


def make_workspace(path: Path, *, num_clips: int = 2, clip_frames: int = 12, enlarged: int = 1) -> RunOptions:
    """Frames of noise with labels and flow: 32x24 pixels, or so many times that."""
    options = RunOptions(work=str(path), workers=1)
    run(SOURCE, SourceConfig(num_clips=num_clips, clip_frames=clip_frames, enlarged=enlarged), options)
    run(FLOW, FLOW.config(), options)
    return options


class NotingReader(ClipReader):
    """Notes every file that it reads: artifact, clip, frame and extension."""

    def __init__(self, work: Folder, manifests: dict[str, Manifest]):
        super().__init__(work, manifests)
        self.files: list[tuple[str, str, int, str]] = []

    def read(self, kind: str, clip: str, t: int, extension: str) -> bytes:
        self.files.append((kind, clip, t, extension))
        return super().read(kind, clip, t, extension)


def files_read(dataset: VideoDataset) -> list[tuple[str, str, int, str]]:
    """The files that a dataset of `open_dataset` has read so far, as `NotingReader` notes them."""
    assert isinstance(dataset.reader, NotingReader)
    return dataset.reader.files


def open_dataset(
    work: str, *, strides: tuple[int, ...] = (1, 3), flip: bool = False, downsamplings: int = 0, num_labels: int = 12
) -> VideoDataset:
    folder = Folder(work)
    manifests = {kind: read_manifest(folder / kind) for kind in ("frames", "labels", "flow")}
    reader = NotingReader(folder, {kind: manifest for kind, manifest in manifests.items() if manifest is not None})
    return VideoDataset(
        reader,
        of_domain("street", num_labels),
        strides=strides,
        flip=flip,
        downsample=downsamplings,
    )


def windows_of(dataset: VideoDataset, num_frames: int) -> list[Window]:
    """The windows of a first batch: of two frames of context and so many generated ones."""
    sampler = ClipSampler(dataset.reader.clips, lambda epoch: num_frames, context=2, batch_size=1, seed=0)
    return list(sampler.batches(0)[0].windows)


def model_info(config: TrainConfig, dataset: VideoDataset) -> ModelInfo:
    """The description of a model trained on `make_workspace`."""
    return ModelInfo(
        method=config.method,
        stage=config.checkpoint,
        fingerprint="f",
        **method_spec(config.method).describe(config, dataset.source),
        conditioning=dataset.source,
        origins=made_by("ingest") * len(dataset.source.conditions),
        width=32,
        height=24,
        frames={},
    )


@dataclass(frozen=True)
class Begun:
    """A method with freshly initialised networks, and the state of its training."""

    method: FrameMethod
    state: TrainState


def begin(
    config: TrainConfig, source: Conditioning, device: torch.device | None = None, parallel: Parallel = ALONE
) -> Begun:
    """The method that the settings name, before its first step."""
    device = device or torch.device("cpu")
    method: Any = method_spec(config.method).build(config, source, device, parallel)
    return Begun(method, new_state(config, method, device, parallel))


def train_chunk(
    begun: Begun,
    sequence: VideoBatch,
    window: WindowState,
    frames: list[int],
    *,
    epoch: int = 1000,
    parallel: Parallel = ALONE,
) -> tuple[dict[str, float], list[Output]]:
    """One step on these frames of a window; the losses, and what was generated."""
    chunk = Chunk(sequence, window, frames)
    at = StepContext(epoch, float(epoch), 1000, begun.state.scaler.scale)
    clip = begun.method.config.schedule.gradient_clip
    values = take_step(begun.method, begun.state, chunk, at, gradient_clip=clip, parallel=parallel)
    return values, chunk.outputs


def trainer_of(
    config: TrainConfig,
    dataset: VideoDataset,
    folder: Path,
    *,
    stop_after: Callable[[TrainState], bool] | None = None,
    writer: Any = None,
) -> Trainer:
    """The trainer without the stage around it."""
    spec, place, info = method_spec(config.method), Folder(str(folder)), model_info(config, dataset)
    return Trainer(
        config=config,
        dataset=dataset,
        schedule=spec.schedule(config),
        context=spec.context(config),
        folder=place,
        fingerprint=info.fingerprint,
        save_model=lambda state: save_model(
            place, state.ema, info.model_copy(update={"epochs": state.epoch, "steps": state.steps})
        ),
        device=torch.device("cpu"),
        writer=writer,
        stop_after=stop_after,
    )


def train_into(config: TrainConfig, dataset: VideoDataset, folder: Path, stop_at: int | None = None) -> Begun:
    """Train to the end, or until after so many steps, without the stage around it."""
    begun = begin(config, dataset.source)
    stop = None if stop_at is None else (lambda state: state.steps >= stop_at)
    trainer_of(config, dataset, folder, stop_after=stop).fit(begun.method, begun.state)
    return begun


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Bit-equal."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
