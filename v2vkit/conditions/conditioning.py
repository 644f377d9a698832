"""Conditioning of a model: an ordered list of conditions whose channels are concatenated.

Shapes: channels uint8 [C, H, W] (255 = 1) or float32 in [0, 1]; annotations are one per condition, in their order. A
street's channels at 2048x1024 are 75 MB as bytes and 300 MB as floats, so the conversion (`to_unit`) comes last.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import tee
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, RootModel, ValidationError

from v2vkit.arrays import Image
from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.augment import Change
from v2vkit.conditions.base import Annotation, Bytes, Condition, Fact
from v2vkit.conditions.domains import find_domain
from v2vkit.conditions.regions import Regions
from v2vkit.conditions.registry import CONDITIONS, condition_class
from v2vkit.conditions.settings import Origin
from v2vkit.errors import V2VError

Annotations = Sequence[Any]
Annotate = Callable[[Iterable[Image]], Iterator[tuple[Image, Any]]]
"""Frames of one shot -> each with its annotation of one condition (`Condition.annotate` with its estimator)."""


class NewerConditionError(ValueError):
    """An unknown condition, or an unknown field of one: perhaps stored by a newer version."""


def to_unit(channels: Bytes) -> NDArray[np.float32]:
    """Channels uint8 as the float32 in [0, 1] that networks take."""
    return channels / np.float32(255)


def _parse(value: Any) -> Condition[Any]:
    if isinstance(value, Condition):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError(f"{value!r} is not a condition with a name")
    name = value["name"]
    if name not in CONDITIONS:
        raise NewerConditionError(f"{name!r} is not a condition")
    try:
        return condition_class(name).model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        text = ": ".join([*(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise (NewerConditionError if first["type"] == "extra_forbidden" else ValueError)(text) from None


AnyCondition = Annotated[Any, BeforeValidator(_parse), PlainSerializer(lambda condition: condition.model_dump())]


class Conditioning(RootModel[Annotated[tuple[AnyCondition, ...], Field(min_length=1)]]):
    """An ordered list of conditions; parsed from JSON and dumped to it as a list of objects."""

    model_config = ConfigDict(frozen=True)

    @classmethod
    def of(cls, *conditions: Condition[Any]) -> Self:
        return cls(conditions)

    @property
    def conditions(self) -> tuple[Condition[Any], ...]:
        return self.root

    def __str__(self) -> str:
        """A description for messages."""
        return " + ".join(map(str, self.conditions))

    @property
    def names(self) -> str:
        """Such as `labels+depth`."""
        return "+".join(condition.name for condition in self.conditions)

    @property
    def artifacts(self) -> tuple[str, ...]:
        """Kinds of the artifacts that hold the annotations, in the order of the conditions."""
        return tuple(condition.artifact for condition in self.conditions)

    @property
    def nothing(self) -> str:
        """Name under which frames are counted in which nothing was found."""
        estimated = [condition.nothing for condition in self.conditions if condition.task is not None]
        return " or ".join(estimated) or self.conditions[0].nothing

    @property
    def num_channels(self) -> int:
        """Channels of one frame."""
        return sum(condition.num_channels for condition in self.conditions)

    @property
    def num_labels(self) -> int:
        """Labels of the first condition that can have a foreground branch; 0 = there is none."""
        return next((of.label_count for of in self.conditions if of.foreground), 0)

    def has(self, fact: Fact) -> bool:
        """Whether any condition has this attribute of `Condition` true."""
        return any(getattr(condition, fact) for condition in self.conditions)

    @property
    def mirrors(self) -> bool:
        """Whether all conditions may be flipped left to right."""
        return all(condition.mirrors for condition in self.conditions)

    @property
    def with_regions(self) -> Condition[Any] | None:
        """The condition whose regions are used: the first that has regions."""
        return next((condition for condition in self.conditions if condition.has_regions), None)

    @property
    def with_subject(self) -> Condition[Any] | None:
        """The condition whose subject is aligned: the first that has one."""
        return next((condition for condition in self.conditions if condition.has_subject), None)

    @property
    def label_folder(self) -> Condition[Any] | None:
        """The condition that reads a folder of label maps, if maps or frames beside them give all other conditions."""
        found = next((of for of in self.conditions if of.from_label_folder), None)
        others = (of for of in self.conditions if of is not found)
        return found if all(of.beside is not None or of.from_frame for of in others) else None

    def of_task(self, task: str) -> int | None:
        """Position of the condition whose estimator has this task; None = there is none."""
        return next((i for i, condition in enumerate(self.conditions) if condition.task == task), None)

    def slice_of(self, fact: Fact) -> slice:
        """Channels of the first condition that has this attribute of `Condition` true."""
        start = 0
        for condition in self.conditions:
            if getattr(condition, fact):
                return slice(start, start + condition.num_channels)
            start += condition.num_channels
        raise ValueError(f"no condition of {self.names} has {fact}")

    def same_channels(self, other: "Conditioning") -> bool:
        """Whether the channels mean the same, in the same order."""
        if len(self.conditions) != len(other.conditions):
            return False
        return all(mine.same_channels(of) for mine, of in zip(self.conditions, other.conditions, strict=True))

    def channels(self, annotations: Annotations, image: Image | None = None) -> Bytes:
        """uint8 [C, H, W], 255 = 1: the channels of all conditions in their order.

        Args:
            annotations: one per condition.
            image: the frame, RGB uint8 [H, W, 3], if there is one.

        Raises:
            V2VError: annotations of different sizes, or as `Condition.channels`.
        """
        drawn = [of.channels(annotation, image) for of, annotation in zip(self.conditions, annotations, strict=True)]
        if len(drawn) == 1:
            return drawn[0]
        if len({channels.shape[1:] for channels in drawn}) > 1:
            sizes = ", ".join(
                f"{of.artifact} {channels.shape[2]}x{channels.shape[1]}"
                for of, channels in zip(self.conditions, drawn, strict=True)
            )
            raise V2VError(
                "size-mismatch", f"The annotations of a frame have different sizes: {sizes}.", "Make them again."
            )
        return np.concatenate(drawn)

    def prepare(self, batch: Sequence[Annotations]) -> list[tuple[Any, ...]]:
        """The annotations of several frames after `Condition.prepare` of each condition."""
        if not batch:
            return []
        columns = [of.prepare(column) for of, column in zip(self.conditions, zip(*batch, strict=True), strict=True)]
        return list(zip(*columns, strict=True))

    def draw(self, annotations: Annotations, image: Image | None = None) -> tuple[Any, ...]:
        """The annotations after `Condition.draw` of each condition."""
        return tuple(of.draw(annotation, image) for of, annotation in zip(self.conditions, annotations, strict=True))

    def augment(self, annotations: Annotations, change: Change) -> tuple[Any, ...]:
        """The annotations of the augmented frame."""
        return tuple(
            of.augment(annotation, change) for of, annotation in zip(self.conditions, annotations, strict=True)
        )

    def regions(self, annotations: Annotations) -> Regions | None:
        """Regions int32 [H, W] of the first condition that has some; None = there is none."""
        found = self.with_regions
        return None if found is None else found.regions(annotations[self.conditions.index(found)])

    def align(self, annotations: Annotations) -> Placement | None:
        """The placement of the subject by the first condition that has one."""
        found = self.with_subject
        return None if found is None else found.align(annotations[self.conditions.index(found)])

    def preview(self, channels: NDArray[np.float32]) -> Image:
        """Channels [C, H, W] in [0, 1] as a picture for people, of the first condition: RGB [H, W, 3]."""
        first = self.conditions[0]
        return first.preview(channels[: first.num_channels])


def annotate(annotators: Sequence[Annotate], frames: Iterable[Image]) -> Iterator[tuple[Image, tuple[Any, ...]]]:
    """Frames of one shot, each with one annotation per condition.

    No frame is read twice; as many are kept as the condition with the longest look-ahead needs.
    """
    streams = tee(frames, len(annotators)) if len(annotators) > 1 else (frames,)
    annotated = [of(stream) for of, stream in zip(annotators, streams, strict=True)]
    for items in zip(*annotated, strict=True):
        yield items[0][0], tuple(annotation for _, annotation in items)


def was_found(annotations: Iterable[Annotation]) -> bool:
    """Whether every annotation of a frame was found in this very frame."""
    return all(annotation.found for annotation in annotations)


def conditioning_of(domain: str, **fields: Any) -> Conditioning:
    """The conditions of a domain.

    Args:
        domain: a name in `v2vkit.conditions.domains`.
        fields: fields of the conditions that differ from their defaults; each condition takes those that it has.
    """
    found = find_domain(domain).classes
    unknown = set(fields) - {name for of in found for name in of.model_fields}
    assert not unknown, f"no condition of {domain} has {unknown}"
    return Conditioning(
        tuple(of(**{name: value for name, value in fields.items() if name in of.model_fields}) for of in found)
    )


def configure(
    names: Iterable[str], settings: Mapping[str, Mapping[str, Any]], *, count_labels: Callable[[str], int]
) -> Conditioning:
    """The conditions that fit the artifacts of a workspace.

    Args:
        names: of the conditions, in their order.
        settings: artifact -> settings of the stage that made it, and the settings of training that conditions take.
        count_labels: artifact -> the number of labels in it.

    Raises:
        V2VError: a stored value is not valid for that stage.
    """
    made = []
    for found in map(condition_class, names):
        stored = settings.get(found.artifact, {})
        try:
            found.Settings.model_validate(stored)
            made.append(found.configured(stored, lambda artifact=found.artifact: count_labels(artifact)))  # type: ignore[misc]
        except ValidationError as error:
            key = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise V2VError(
                "manifest-damaged",
                f"The settings of the artifact {found.artifact} are damaged: {key} is {stored.get(key)!r}.",
                f"Make it again: {found.making()}, with its settings and --overwrite.",
            ) from None
    return Conditioning(tuple(made))


def settings_problem(conditioning: Conditioning, origins: Sequence[Origin]) -> str | None:
    """What is wrong with how annotations were made; None = nothing."""
    if len(origins) != len(conditioning.conditions):
        return f"{len(conditioning.conditions)} conditions, but {len(origins)} origins"
    for condition, origin in zip(conditioning.conditions, origins, strict=True):
        try:
            condition.Settings.model_validate(origin.settings)
        except ValidationError as error:
            first = error.errors()[0]
            return ": ".join([*(str(part) for part in first["loc"]), first["msg"]])
    return None
