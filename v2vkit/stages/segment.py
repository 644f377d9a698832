"""`v2v segment`: label maps (and instances) of every frame, by a segmentation network with the user's weights."""

from functools import partial
from typing import TYPE_CHECKING

from pydantic import field_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.config import StageConfig, as_absolute, setting
from v2vkit.engine.devices import DEVICES
from v2vkit.errors import V2VError
from v2vkit.estimators.registry import chosen, estimators_of, open_estimator
from v2vkit.pipeline.stage import Opened, PerClip, Stage
from v2vkit.stages.run_estimator import annotate_clip
from v2vkit.weights import file_digest

if TYPE_CHECKING:
    from v2vkit.estimators.base import SegmentEstimator


class SegmentConfig(StageConfig):
    """Make label maps of the frames with a segmentation network.

    For every frame: label.png (a label id per pixel, 255 = ignore) and, from yolo, inst.png (an instance id per object,
    0 = none), in the format of `v2v ingest --labels`. torchvision labels every pixel (DeepLabV3, LR-ASPP); yolo labels
    objects, and pixels between them are 255. Frames in which everything is 255 are counted as "nothing recognised". You
    provide the weights; they are never downloaded.
    """

    segment: str = setting(
        "torchvision",
        "Segmentation network; yolo needs the extra yolo (licence: AGPL).",
        choices=estimators_of("segment"),
    )
    weights: str | None = setting(
        None,
        "Weights: for torchvision a state dict of DeepLabV3 or LR-ASPP, for yolo a .pt file for the task segment.",
        metavar="FILE",
        affects_output=False,
    )
    keep: tuple[int, ...] = setting(
        (),
        "Keep only this class of the weights; kept classes become labels 0, 1, ... in the order given, pixels of other "
        "classes are 255.",
        metavar="ID",
    )
    num_labels: int | None = setting(
        None, "Number of labels; default: the number of (kept) classes of the weights.", ge=1, le=255
    )
    input_side: int | None = setting(
        None,
        "Side in pixels to which frames are resized for the network: the shorter one for torchvision (default: 520), "
        "the longer one for yolo (default: as in its training).",
        ge=32,
        le=4096,
    )
    min_score: float | None = setting(
        None,
        "Objects (yolo; default: 0.25) or pixels (torchvision; default: 0) with a lower score are 255.",
        ge=0,
        le=1,
    )
    device: str = setting("cpu", f"Device of the network: {DEVICES}.", affects_output=False)

    _found_anywhere = field_validator("weights")(as_absolute)

    @field_validator("keep")
    @classmethod
    def _ids(cls, keep: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(keep)) != len(keep) or not all(0 <= label < 255 for label in keep):
            raise ValueError("kept classes are different ids from 0 to 254")
        return keep


def _open(config: SegmentConfig) -> "SegmentEstimator":
    """The network.

    Raises:
        V2VError: its package or weights are missing or wrong, or --keep names a class that it lacks.
    """
    name, settings = chosen("segment", dict(config))
    estimator: SegmentEstimator = open_estimator("segment", name, **settings)
    unknown = [label for label in config.keep if label >= estimator.num_labels]
    if unknown:
        raise V2VError(
            "label-id-out-of-range",
            f"--keep {unknown[0]} is out of range: classes of {config.weights} are 0 to {estimator.num_labels - 1}.",
            "Give ids of its classes.",
        )
    return estimator


def open_segments(config: SegmentConfig) -> Opened:
    """Open the network; raises V2VError as `_open` does."""
    from v2vkit.conditions.labels import LabelsCondition

    estimator = _open(config)
    about = {"name": estimator.name, "version": estimator.version, **weights_checksum(config)}
    if estimator.classes:
        kept = config.keep or range(estimator.num_labels)
        about["classes"] = ", ".join(estimator.classes[label] for label in kept)
    function = partial(
        annotate_clip,
        condition=LabelsCondition(num_labels=config.num_labels or estimator.num_labels),
        estimators=[estimator],
        settings=dict(config),
        estimator=f"{estimator.name} {estimator.version}",
    )
    return Opened(function, about)


def weights_checksum(config: SegmentConfig) -> dict[str, str]:
    """The checksum of the weights file, so that other weights under the same name make the artifact stale."""
    return {} if config.weights is None else {"weights": file_digest(config.weights)}


def _resolve(config: SegmentConfig, work: Folder) -> SegmentConfig:
    """Fill in the number of labels from the weights; training reads it from the manifest."""
    estimator = _open(config)
    number = len(config.keep) or estimator.num_labels
    if config.num_labels is not None and config.num_labels < number:
        raise V2VError(
            "label-count-mismatch",
            f"The weights {config.weights} give {number} labels, more than --num-labels {config.num_labels}.",
            f"Give --num-labels {number} or leave it out, or choose classes with --keep.",
        )
    return config.model_copy(update={"num_labels": config.num_labels or number})


STAGE = Stage(
    name="segment",
    config=SegmentConfig,
    version=1,
    output=lambda config: "labels",
    make=PerClip(open_segments),
    inputs=lambda config: ("frames",),
    sources=weights_checksum,
    resolve=_resolve,
)
