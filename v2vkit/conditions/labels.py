"""The condition `labels`: a label id for every pixel, and edges between objects."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from v2vkit.arrays import Image
from v2vkit.artifacts.images import decode_gray, encode_png
from v2vkit.classes.remap import final_table
from v2vkit.classes.table import ClassTableSetting
from v2vkit.conditions.augment import Change, warp_id_map
from v2vkit.conditions.base import Bytes, Condition, F, Size, Use
from v2vkit.conditions.given import check_ids
from v2vkit.conditions.label_ids import colorize, keep_labels, label_channels
from v2vkit.conditions.layers import OpenLayer, ids_layer
from v2vkit.conditions.regions import Regions, region_ids
from v2vkit.conditions.settings import AnnotationSettings, Origin
from v2vkit.config import IGNORE
from v2vkit.errors import counted
from v2vkit.estimators.base import Segments
from v2vkit.estimators.registry import gives_instances

TRACKS = "tracks"
"""Kind of the artifact with instance ids that stay the same over a shot."""
SPARSE_LABELS = "sparse-labels"
"""Kind of the artifact with label maps of some of the frames: training data of a segmenter, and of nothing else."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """The label map of a frame.

    Attributes:
        labels: uint8 [H, W], 255 = ignore.
        instances: uint16 [H, W], 0 = none; None = no instance map.
    """

    labels: NDArray[Any]
    instances: NDArray[Any] | None = None

    @property
    def size(self) -> Size:
        return self.labels.shape[1], self.labels.shape[0]

    @property
    def found(self) -> bool:
        return bool((self.labels != IGNORE).any())


class LabelSettings(AnnotationSettings):
    """Settings of `segment` and `ingest`.

    Attributes:
        keep: the labels of the estimator that were kept; empty = all.
        segment: name of the estimator; None = the maps came with the footage.
        instances: folder of the instance maps that came with the footage; None = none.
    """

    keep: tuple[int, ...] = ()
    segment: str | None = None
    instances: str | None = None


class LabelsCondition(Condition[LabelMap]):
    """One channel per label, and one for edges between objects.

    Attributes:
        num_labels: number of labels; ids are below it.
        edges: whether there is a channel of edges.
        classes: names and colours of the labels; None = they are not known.
    """

    artifact: ClassVar[str] = "labels"
    required: ClassVar[tuple[str, ...]] = ("label.png",)
    optional: ClassVar[tuple[str, ...]] = ("inst.png",)
    replaced: ClassVar[Mapping[str, str]] = {"inst.png": TRACKS}
    arrays: ClassVar[str] = "label ids (whole numbers, 255 = none) [H, W]"
    reads: ClassVar[Mapping[Use, tuple[str, ...]]] = dict.fromkeys(
        ("channels", "augment", "regions"), ("label.png", "inst.png")
    )
    layers: ClassVar[Mapping[str, OpenLayer]] = {"label.png": ids_layer, "inst.png": ids_layer}
    task: ClassVar[str | None] = "segment"
    estimator_stage: ClassVar[str | None] = "segment"
    nothing: ClassVar[str] = "nothing recognised"
    Settings: ClassVar[type[AnnotationSettings]] = LabelSettings
    mirrors: ClassVar[bool] = True
    foreground: ClassVar[bool] = True
    from_label_folder: ClassVar[bool] = True
    published: ClassVar[Origin | None] = Origin(stage="ingest")
    published_images: ClassVar[bool] = True

    name: Literal["labels"] = "labels"
    num_labels: int = Field(ge=1, le=255)
    edges: bool = True
    classes: ClassTableSetting | None = None

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Classes that are not known are left out, as they were before there were any."""
        data: dict[str, Any] = handler(self)
        if self.classes is None:
            data.pop("classes", None)
        return data

    def __str__(self) -> str:
        return f"{counted(self.num_labels, 'label')}, {'with' if self.edges else 'no'} edges"

    @classmethod
    def configured(cls, settings: Mapping[str, Any], count_labels: Callable[[], int]) -> Self:
        number, table = settings.get("num_labels"), final_table(settings)
        if number is None:
            number = count_labels() if table is None else table.num_labels
        return cls.model_validate({"num_labels": number, "edges": settings.get("edges", True), "classes": table})

    def same_channels(self, other: Condition[Any]) -> bool:
        """Colours do not matter, names do where both are known."""
        if not isinstance(other, LabelsCondition):
            return False
        names = [None if of.classes is None else of.classes.names for of in (self, other)]
        same_names = None in names or names[0] == names[1]
        return same_names and (self.num_labels, self.edges) == (other.num_labels, other.edges)

    def given(self, value: Any, *, size: Size) -> LabelMap:
        if isinstance(value, np.ndarray):
            value = LabelMap(value)
        if isinstance(value, LabelMap):
            labels, instances = check_ids(value.labels, np.uint8, "A label map", size), value.instances
            if instances is not None:
                instances = check_ids(instances, np.uint16, "An instance map", size)
            value = LabelMap(labels, instances)
        return super().given(value, size=size)

    @property
    def label_count(self) -> int:
        return self.num_labels

    @property
    def num_channels(self) -> int:
        return self.num_labels + int(self.edges)

    def postprocess(
        self, frame_results: Iterable[tuple[F, Segments]], settings: Mapping[str, Any], *, size: Size
    ) -> Iterator[tuple[F, LabelMap]]:
        keep = LabelSettings.model_validate(settings).keep
        for frame, segments in frame_results:
            yield frame, LabelMap(*keep_labels(segments.labels, segments.instances, keep))

    @classmethod
    def encode(cls, annotation: LabelMap, *, estimator: str = "") -> dict[str, bytes]:
        files = {"label.png": encode_png(annotation.labels)}
        if annotation.instances is not None:
            files["inst.png"] = encode_png(annotation.instances)
        return files

    @classmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> LabelMap:
        instances = files.get("inst.png")
        return LabelMap(
            decode_gray(files["label.png"], "a label map"),
            None if instances is None else decode_gray(instances, "an instance map"),
        )

    def channels(self, annotation: LabelMap, image: Image | None = None) -> Bytes:
        return label_channels(annotation.labels, annotation.instances, self.num_labels, edges=self.edges)

    def augment(self, annotation: LabelMap, change: Change) -> LabelMap:
        instances = annotation.instances
        labels = warp_id_map(annotation.labels, change.move)
        moved = None if instances is None else warp_id_map(instances, change.move)
        return LabelMap(labels, moved) if change.noise is None else LabelMap(*change.noise.apply(labels, moved))

    def regions(self, annotation: LabelMap) -> Regions:
        """Instances; where there are none, areas of one label."""
        return region_ids(annotation.labels, annotation.instances)

    def preview(self, channels: NDArray[np.float32]) -> Image:
        hot = channels[: self.num_labels]
        image = colorize(np.where(hot.max(0) > 0, hot.argmax(0), IGNORE).astype(np.uint8), self.classes)
        if self.edges:
            image[channels[-1] > 0] //= 2
        return image

    def uses_instances(self, settings: Mapping[str, Any], *, features: bool) -> bool:
        made = LabelSettings.model_validate(settings)
        there = made.instances is not None or (made.segment is not None and gives_instances(made.segment))
        return there and (self.edges or features)
