"""`v2v segment`: label maps (and instances) of every frame, by a segmentation network with the user's weights."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError, ValidationInfo, field_validator

from v2vkit.artifacts.folder import Folder
from v2vkit.classes.table import ClassName, ClassTable, ClassTableSetting, LabelClass
from v2vkit.config import StageConfig, as_absolute, setting
from v2vkit.engine.devices import DEVICES
from v2vkit.errors import V2VError
from v2vkit.estimators.registry import chosen, estimators_of, open_estimator, with_stored_weights
from v2vkit.pipeline.stage import Opened, PerClip, Stage
from v2vkit.stages.run_estimator import annotate_clip
from v2vkit.weights import file_digest

if TYPE_CHECKING:
    from v2vkit.estimators.base import SegmentEstimator

MODEL_NAME = "model.safetensors"
"""Name of the model file in a checkpoint (`v2vkit.checkpoint.model_file.MODEL`, which loads torch)."""


class SegmentConfig(StageConfig):
    """Make label maps of the frames with a segmentation network.

    For every frame: label.png (a label id per pixel, 255 = ignore) and, from maskrcnn and yolo, inst.png (a number per
    object, 0 = none), in the format of `v2v ingest --labels`. torchvision labels every pixel (DeepLabV3,
    LR-ASPP), as does `trained`, a checkpoint of `v2v train --method segmenter`; maskrcnn (torchvision's) and yolo label
    objects, and pixels between them are 255. Frames in which everything is 255 are counted as "nothing recognised".
    Weights are yours, or those of `v2v weights`.
    """

    weights: str | None = setting(
        None,
        "Weights: for torchvision a state dict of DeepLabV3 or LR-ASPP, for maskrcnn one of Mask R-CNN, for yolo a .pt "
        "file for the task segment; or the folder of a segmenter's checkpoint (work/checkpoints/segmenter). Default: "
        "deeplabv3 or lraspp, or maskrcnn, of `v2v weights`.",
        metavar="FILE|FOLDER",
        affects_output=False,
    )
    segment: str = setting(
        "torchvision",
        "Segmentation network; a checkpoint's folder is always `trained`; yolo needs the extra of that name, which is "
        "under the AGPL.",
        choices=estimators_of("segment"),
    )
    classes: ClassTableSetting | None = setting(
        None,
        "Names and colours of the classes of the weights, where they bring none: a built-in table or a TOML file.",
        metavar="TABLE",
        since="0.1",
    )
    keep: tuple[ClassName, ...] = setting(
        (),
        "Keep only this class of the weights, by id or name; kept classes become labels 0, 1, ... in the order given, "
        "pixels of other classes are 255.",
        metavar="ID|NAME",
    )
    num_labels: int | None = setting(
        None, "Number of labels; default: the number of (kept) classes of the weights.", ge=1, le=255
    )
    input_side: int | None = setting(
        None,
        "Side in pixels to which frames are resized for the network: the shorter one for torchvision (default: 520), "
        "maskrcnn (800) and trained (as in its training), the longer one for yolo (as in its training).",
        ge=32,
        le=4096,
    )
    min_score: float | None = setting(
        None,
        "Objects (default: 0.25 for yolo, 0.5 for maskrcnn) or pixels (torchvision and trained; default: 0) with a "
        "lower score are 255.",
        ge=0,
        le=1,
    )
    device: str = setting("cpu", f"Device of the network: {DEVICES}.", affects_output=False)

    @field_validator("weights")
    @classmethod
    def _model_file(cls, weights: str | None) -> str | None:
        """The absolute path; of a checkpoint's folder, that of the model in it."""
        path = as_absolute(weights)
        return str(Path(path) / MODEL_NAME) if path is not None and Path(path).is_dir() else path

    @field_validator("segment")
    @classmethod
    def _of_checkpoint(cls, segment: str, info: ValidationInfo) -> str:
        path = info.data.get("weights")
        return "trained" if path is not None and Path(path).name == MODEL_NAME else segment

    @field_validator("keep")
    @classmethod
    def _ids(cls, keep: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if len(set(keep)) != len(keep) or not all(0 <= label < 255 for label in keep if isinstance(label, int)):
            raise ValueError("kept classes are different ids from 0 to 254")
        return keep


def _open(config: SegmentConfig) -> "SegmentEstimator":
    """The network.

    Raises:
        V2VError: its package or weights are missing or wrong, or --keep names a class that it lacks.
    """
    name, settings = chosen("segment", dict(config))
    estimator: SegmentEstimator = open_estimator("segment", name, **settings)
    unknown = [label for label in _kept(config, estimator) if label >= estimator.num_labels]
    if unknown:
        raise V2VError(
            "label-id-out-of-range",
            f"--keep {unknown[0]} is out of range: classes of {config.weights} are 0 to {estimator.num_labels - 1}.",
            "Give ids of its classes.",
        )
    return estimator


def _kept(config: SegmentConfig, estimator: "SegmentEstimator") -> tuple[int, ...]:
    """The ids of the classes that are kept; names are those of the weights.

    Raises:
        V2VError: the weights have no class of that name.
    """
    found = []
    for wanted in config.keep:
        if isinstance(wanted, str) and wanted not in estimator.classes:
            raise V2VError(
                "class-unknown",
                f"--keep {wanted} is no class of {config.weights}.",
                f"Its classes: {', '.join(estimator.classes) or 'not known by name; give ids'}.",
            )
        found.append(estimator.classes.index(wanted) if isinstance(wanted, str) else wanted)
    return tuple(found)


def _table(config: SegmentConfig, estimator: "SegmentEstimator") -> ClassTable | None:
    """The classes of the labels that are written; None = they are not known by name."""
    table = config.classes or getattr(estimator, "table", None)
    names: tuple[str, ...] = estimator.classes
    if table is None and (not names or len(set(names)) < len(names)):
        return None
    kept = _kept(config, estimator) or tuple(range(estimator.num_labels))
    if table is None:
        try:
            classes = [LabelClass(id=i, name=names[label]) for i, label in enumerate(kept)]
        except ValidationError:  # names that flags cannot take
            return None
        return ClassTable(name=estimator.name, classes=tuple(classes))
    number = {label: i for i, label in enumerate(kept)}
    classes = [of.model_copy(update={"id": number[of.id]}) for of in table.classes if of.id in number and not of.ignore]
    return table.model_copy(update={"classes": tuple(classes)}) if config.keep and classes else table


def open_segments(config: SegmentConfig) -> Opened:
    """Open the network; raises V2VError as `_open` does."""
    from v2vkit.conditions.labels import LabelsCondition

    estimator = _open(config)
    about = {"name": estimator.name, "version": estimator.version, **weights_checksum(config)}
    if estimator.classes:
        kept = _kept(config, estimator) or range(estimator.num_labels)
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
    config = with_stored_weights("segment", config)
    estimator = _open(config)
    number = len(config.keep) or estimator.num_labels
    if config.num_labels is not None and config.num_labels < number:
        raise V2VError(
            "label-count-mismatch",
            f"The weights {config.weights} give {number} labels, more than --num-labels {config.num_labels}.",
            f"Give --num-labels {number} or leave it out, or choose classes with --keep.",
        )
    return config.model_copy(
        update={
            "num_labels": config.num_labels or number,
            "keep": _kept(config, estimator),
            "classes": _table(config, estimator),
        }
    )


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
