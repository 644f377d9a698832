"""A segmenter: the network that labels every frame, trained on the frames that have label maps.

The vid2vid paper segments its street videos with DeepLabV3 (section 4). Loss: cross entropy over the labelled pixels,
by option with weights of the classes and focused on hard pixels (Lin et al. 2017, eq. 5).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import read_info
from v2vkit.checkpoint.train_state import Network, TrainState
from v2vkit.conditions.conditioning import Conditioning
from v2vkit.config import IGNORE
from v2vkit.engine.launcher import launched_processes
from v2vkit.engine.precision import autocast
from v2vkit.errors import V2VError, counted
from v2vkit.models.layout import to_image
from v2vkit.models.segmenter import SegmenterConfig, build_segmenter
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.data.labelled import open_labelled
from v2vkit.training.methods.base import MethodSpec, StepContext
from v2vkit.training.methods.frames import single_frame_schedule
from v2vkit.training.methods.pix2pixhd import SINGLE_FRAMES
from v2vkit.training.parallel import Parallel
from v2vkit.training.resolve_segmenter import class_weights, resolve_segmenter
from v2vkit.training.start import copy_model
from v2vkit.training.terms import LossTerm


@dataclass
class LabelledFrames:
    """Frames x [B, 3, H, W] in [-1, 1] and their label ids [B, H, W], 255 = none; `logits` are there after the step.

    `per_sequence`: how many of the frames are of one sequence.
    """

    x: Tensor
    labels: Tensor
    per_sequence: int = 1
    logits: Tensor | None = None


class SegmenterMethod:
    """One network and one loss.

    Attributes:
        source: of which the first condition is `labels`.
    """

    headline: ClassVar[tuple[str, ...]] = ("cross_entropy",)

    def __init__(self, config: TrainConfig, source: Conditioning, device: torch.device):
        """Freshly initialised, or with the weights that are set; a pure function of the seed."""
        self.config, self.source = config, source
        torch.manual_seed(config.data.seed)
        weights = config.segmenter.network_weights if device.type != "meta" else None
        self.network = build_segmenter(_layers(config, source), weights).to(device)
        weight = class_weights(config, source.num_labels)
        self.weight = None if weight is None or device.type == "meta" else torch.tensor(weight, device=device)

    def networks(self) -> dict[str, Network]:
        return {"segmenter": Network(self.network, "segmenter", prefix="")}

    def losses(self) -> tuple[LossTerm, ...]:
        return _losses(self.config)

    def chunks(self, batch: VideoBatch, *, skip: int = 0) -> Iterator[LabelledFrames]:
        """All frames of a batch at once."""
        x, s = (of[:, skip:].flatten(0, 1) for of in (batch.x, batch.s[:, :, : self.source.num_labels]))
        yield LabelledFrames(x, torch.where(s.amax(1) > 0, s.argmax(1), IGNORE), batch.x.shape[1] - skip)

    def num_frames(self, chunk: LabelledFrames) -> int:
        """Frames of this step over all processes."""
        return chunk.per_sequence * self.config.data.batch_size

    def step(self, chunk: LabelledFrames, at: StepContext) -> dict[str, Tensor]:
        with autocast(self.config.hardware.precision, chunk.x.device):
            chunk.logits = self.network(chunk.x)
        loss = segmentation_loss(
            chunk.logits.float(), chunk.labels, weight=self.weight, focal=self.config.segmenter.focal
        )
        torch.autograd.backward(at.averaged("segmenter", [at.scale(loss)]))
        return {"cross_entropy": loss.detach()}

    def sample(self, chunk: LabelledFrames) -> NDArray[np.uint8]:
        """One column per frame: the frame, its labels, and what the network says."""
        assert chunk.logits is not None, "a step"
        found = chunk.logits.argmax(1)
        columns = [
            np.concatenate([to_image(x), self._picture(labels), self._picture(ids)])
            for x, labels, ids in zip(chunk.x, chunk.labels, found, strict=True)
        ]
        return np.concatenate(columns, 1)

    def _picture(self, ids: Tensor) -> NDArray[np.uint8]:
        channels = np.zeros((self.source.num_channels, *ids.shape), np.float32)
        number = self.source.num_labels
        channels[:number] = ids.cpu().numpy() == np.arange(number)[:, None, None]
        return self.source.preview(channels)


def segmentation_loss(logits: Tensor, labels: Tensor, *, weight: Tensor | None = None, focal: float = 0.0) -> Tensor:
    """Mean over the labelled pixels of (1 - p)^focal (-log p), p the probability of the pixel's class.

    Args:
        logits: [B, K, H, W].
        labels: [B, H, W], 255 = none.
        weight: of the classes [K]; the mean is weighted by it.
        focal: gamma of the focal loss; 0 = cross entropy.

    Returns:
        A number; 0 where no pixel has a label.
    """
    known = labels != IGNORE
    surprise = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none").where(known, 1.0)
    share = known.to(surprise) if weight is None else weight[labels.where(known, 0)] * known
    factor = (1 - torch.exp(-surprise)).clamp(min=1e-6) ** focal if focal else 1.0
    total = share.sum()
    return (factor * share * surprise).sum() / total.where(total > 0, 1.0)


def _layers(config: TrainConfig, source: Conditioning) -> SegmenterConfig:
    network = config.segmenter.network
    assert network != "auto", "filled in by the stage"
    return SegmenterConfig(network=network, num_classes=source.num_labels)


def _losses(config: TrainConfig) -> tuple[LossTerm, ...]:
    of = config.segmenter
    parts = ["-log p of a pixel's class"]
    parts += [f"times (1 - p)^{of.focal:g} (focal loss)"] if of.focal else []
    parts += [f"classes weigh {', '.join(of.class_weight)}, others 1"] if of.class_weight else []
    return (LossTerm("cross_entropy", "cross entropy", "; ".join(parts)),)


def _check(config: TrainConfig) -> None:
    processes = launched_processes()
    if config.segmenter.network.startswith("deeplabv3") and config.data.batch_size < 2 * processes:
        raise V2VError(
            "batch-too-small",
            f"{config.segmenter.network} has batch norms, which need two frames and more in the batch of a process.",
            f"Give --batch-size {4 * processes}, or --network lite0-fpn.",
        )


def _build(config: TrainConfig, source: Conditioning, device: torch.device, parallel: Parallel) -> SegmenterMethod:
    return SegmenterMethod(config, source, device)


def _check_start(config: TrainConfig, source: Conditioning, size: tuple[int, int], folder: Folder) -> None:
    info = read_info(folder)
    if info.network != _layers(config, source):
        raise V2VError(
            "model-mismatch",
            f"{folder.url} holds another network than {config.segmenter.network} for {source.num_labels} classes.",
            "Start from a segmenter with the same --network and classes, or from none.",
        )


def _inherit(state: TrainState, folder: Folder, size: tuple[int, int]) -> list[str]:
    info = copy_model(state, "segmenter", folder)
    return [f"segmenter: {folder.url} after {counted(info.steps, 'step')}"]


SEGMENTER: MethodSpec = MethodSpec(
    name="segmenter",
    losses=_losses,
    unused=(
        *SINGLE_FRAMES,
        *("edges", "preset", "feature_dims", "width", "num_down", "num_blocks", "num_blocks_fine", "num_enhancers"),
        *("upsample", "norm", "picture_skip", "depth_near", "depth_far", "drop_parts", "gan", "perceptual"),
        *("label_jitter", "drop_thin", "drop_classes"),
        *("discriminator_scales", "discriminator_width", "perceptual_weights", "gradient_checkpointing"),
        *("compile", "channels_last"),
    ),
    context=lambda config: 0,
    schedule=single_frame_schedule,
    strides=lambda config: (),
    coarser=lambda config: None,
    check=_check,
    build=_build,
    describe=lambda config, source: {"network": _layers(config, source)},
    check_start=_check_start,
    inherit=_inherit,
    resolve=resolve_segmenter,
    open_reader=open_labelled,
    artifacts=lambda config: {"labels": config.segmenter.train_on or "labels"},
    own=("network", "network_weights", "pretrained", "class_weight", "focal", "held_out", "train_on"),
    tracks=False,
)
