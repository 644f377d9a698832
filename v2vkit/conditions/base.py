"""The contract of a condition: one kind of annotation, and how it conditions a network.

A condition is a frozen, JSON-serialisable value: its fields decide its channels. Everything that the toolkit does with
an annotation is a method here, and stages, training, rendering, `show`, `check` and `import-checkpoint` all call it. A
new condition is one file with a subclass of `Condition` and a row in `v2vkit.conditions.registry`.

Steps of an annotation: `annotate` or `decode`; edits (functions annotation -> annotation); `augment` (training);
`channels`.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from v2vkit.arrays import Image
from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.augment import Change
from v2vkit.conditions.given import check_annotation
from v2vkit.conditions.layers import OpenLayer
from v2vkit.conditions.regions import Regions
from v2vkit.conditions.settings import AnnotationSettings, Origin
from v2vkit.engine.threads import batched
from v2vkit.errors import V2VError
from v2vkit.estimators.base import estimate_all
from v2vkit.pipeline.commands import commands_text
from v2vkit.video.label_files import MapKind

Bytes = NDArray[np.uint8]
Size = tuple[int, int]
F = TypeVar("F")

Use = Literal["channels", "augment", "regions", "align"]
"""What an annotation is read for; `augment` = channels after `augment`, which redraws everything."""


Fact = Literal[
    "foreground",
    "has_bodies",
    "has_parts",
    "has_regions",
    "has_subject",
    "mirrors",
    "published_images",
    "shows_edges",
    "shows_frame",
    "shows_parts",
    "signed",
]
"""A class attribute of `Condition` that is true or false, where code asks by name which conditions have it."""


class Annotation(Protocol):
    """What is known about one frame. Every annotation is a frozen value with these two attributes."""

    @property
    def size(self) -> Size:
        """Width and height of the frame in pixels."""
        ...

    @property
    def found(self) -> bool:
        """Whether something was found in this very frame; if not, it is empty or interpolated from frames around it."""
        ...


A = TypeVar("A", bound=Annotation)


class Condition(BaseModel, Generic[A]):
    """One kind of annotation and how it conditions a network; A is the annotation's type.

    Shapes: frames are RGB uint8 [H, W, 3]; channels uint8 [C, H, W], 255 = 1; sizes are (width, height).

    Attributes:
        name: its name in the registry.
        artifact: kind of the artifact that holds the annotations.
        required, optional: extensions of a frame's files in it.
        replaced: extension -> kind of another artifact that holds a better file, which is read where it exists.
        arrays: description of the arrays that `given` takes instead of an annotation; empty = none.
        reads: use -> the files that `decode` needs for it; uses that are not listed are not supported.
        layers: extension -> how `show` draws the file, the best first.
        task: the task of its estimator; None = it comes with the footage.
        estimator_stage: the stage that runs the estimator; its setting named like the task chooses which.
        nothing: name under which frames are counted in which nothing was found.
        depicts: what it shows, for messages that list several conditions.
        Settings: the settings of its stage that `postprocess` reads.
        appearance: fields that change how channels look, but not what each of them means.
        together: number of frames per batch in a stream; memory grows with it.
        mirrors: whether its maps may be flipped left to right in training.
        foreground: whether its labels, of which there are `label_count`, can have a foreground branch (eq. 9).
        has_parts: whether parts of it can be left out in training (`Change.drop`).
        has_bodies: whether a discriminator can find faces of people in its channels.
        shows_parts: whether its third channel is DensePose's part index, over 24.
        from_label_folder: whether a folder of label maps gives its annotations.
        beside: kind of the maps (and name of the flag) that come with frames and give its annotations (`of_map`).
        from_frame: whether its annotations are made from the frame alone, without an estimator (`of_frame`).
        crop: `ingest --crop` as published models with square frames had it.
        shows_frame: whether its channels are a picture of the frame: red, green, blue.
        shows_edges: whether its channel is an edge map of the frame.
        signed: whether published generators saw its channels in [-1, 1].
        published: how the annotations of published models were made.
        published_images: whether there is a published image generator for it.
        has_regions, has_subject: whether `reads` lists regions and alignment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact: ClassVar[str]
    required: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    replaced: ClassVar[Mapping[str, str]] = {}
    arrays: ClassVar[str] = ""
    reads: ClassVar[Mapping[Use, tuple[str, ...]]]
    layers: ClassVar[Mapping[str, OpenLayer]] = {}
    task: ClassVar[str | None] = None
    estimator_stage: ClassVar[str | None] = None
    nothing: ClassVar[str] = "nothing found"
    depicts: ClassVar[str] = ""
    Settings: ClassVar[type[AnnotationSettings]] = AnnotationSettings
    appearance: ClassVar[frozenset[str]] = frozenset()
    together: ClassVar[int] = 1
    mirrors: ClassVar[bool] = False
    foreground: ClassVar[bool] = False
    has_parts: ClassVar[bool] = False
    has_bodies: ClassVar[bool] = False
    shows_parts: ClassVar[bool] = False
    from_label_folder: ClassVar[bool] = False
    beside: ClassVar[MapKind | None] = None
    from_frame: ClassVar[bool] = False
    crop: ClassVar[str] = "none"
    shows_frame: ClassVar[bool] = False
    shows_edges: ClassVar[bool] = False
    signed: ClassVar[bool] = False
    published: ClassVar[Origin | None] = None
    published_images: ClassVar[bool] = False

    has_regions: ClassVar[bool]
    has_subject: ClassVar[bool]

    name: str

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Derive `has_regions` and `has_subject` from `reads`."""
        reads = getattr(cls, "reads", {})
        cls.has_regions, cls.has_subject = "regions" in reads, "align" in reads

    def __str__(self) -> str:
        """A description for messages."""
        return self.name

    @classmethod
    def making(cls) -> str:
        """The commands that make the artifact, for messages."""
        return commands_text(cls.artifact) + (f" ({cls.depicts})" if cls.depicts else "")

    @classmethod
    def configured(cls, settings: Mapping[str, Any], count_labels: Callable[[], int]) -> Self:
        """The condition that fits annotations made by a stage with these settings.

        Args:
            settings: of the stage; those with the name of a field become that field.
            count_labels: counts the labels in the artifact; called only if the number is needed.

        Raises:
            ValidationError: a value is not valid for its field.
        """
        taken = {name: settings[name] for name in cls.model_fields if name != "name" and name in settings}
        return cls.model_validate(taken)

    def given(self, value: Any, *, size: Size) -> A:
        """The annotation of a frame of this size from an annotation, or an array (`arrays`), given by a library user.

        None = nothing was found (face and pose).

        Raises:
            V2VError: another type or size, or values that no annotation has.
        """
        found: A = check_annotation(value, self, size)
        return found

    @property
    @abstractmethod
    def num_channels(self) -> int:
        """Channels of one frame."""

    @property
    def label_count(self) -> int:
        """Labels that its annotations may have; 0 = they have no labels."""
        return 0

    def postprocess(
        self, frame_results: Iterable[tuple[F, Any]], settings: Mapping[str, Any], *, size: Size
    ) -> Iterator[tuple[F, A]]:
        """Annotations of consecutive frames of one shot from an estimator's results: gaps filled, smoothed in time.

        Stages and streams both call this, so both give the same numbers. It yields in order, with a bounded
        look-ahead. By default the results are the annotations, which came with the frames, or with `from_frame` the
        frames to make them from.

        Args:
            frame_results: (frame, the estimator's result for it); frames may be of any type and are passed through.
            settings: of the stage; see `Settings`.
            size: (width, height) of the frames.
        """
        if self.from_frame:
            return ((frame, self.of_frame(image)) for frame, image in frame_results)
        return iter(frame_results)

    def annotate(
        self,
        frames: Iterable[Image],
        estimator: Callable[[Image], Any],
        settings: Mapping[str, Any],
        *,
        size: Size,
        together: int | None = None,
    ) -> Iterator[tuple[Image, A]]:
        """Frames of one shot with their annotations, in order: the estimator runs on small batches, then `postprocess`.

        Args:
            frames: consecutive frames, RGB uint8 [H, W, 3]; read only as far ahead as needed.
            estimator: of the condition's `task`.
            settings, size: as in `postprocess`.
            together: frames per batch of the estimator; None = as the class says.
        """

        def frame_results() -> Iterator[tuple[Image, Any]]:
            for images in batched(frames, together or self.together):
                yield from zip(images, estimate_all(estimator, images), strict=True)

        return self.postprocess(frame_results(), settings, size=size)

    def prepare(self, annotations: Sequence[A]) -> list[A]:
        """The same annotations with whatever `draw` needs computed for all of them at once, where that is faster."""
        return list(annotations)

    def draw(self, annotation: A, image: Image | None = None) -> A:
        """The same annotation with the drawings that files, channels and regions share.

        Args:
            image: the frame, RGB uint8 [H, W, 3]; needed if the drawing shows parts of it.
        """
        return annotation

    @classmethod
    def of_map(cls, numbers: NDArray[Any], *, near_far: tuple[float, float] | None) -> A:
        """The annotation from a map that came with the frames; only if `beside` names a kind.

        Args:
            numbers: the map as `v2vkit.video.label_files.read_map` gives it, cropped and resized like the frame.
            near_far: range of the shot's depth if its unit is not known.
        """
        raise NotImplementedError(f"{cls.artifact} come with no maps")

    def of_frame(self, image: Image) -> A:
        """The annotation of a frame, RGB uint8 [H, W, 3]; only with `from_frame`."""
        raise NotImplementedError(f"{self.artifact} need more than the frame")

    @classmethod
    @abstractmethod
    def encode(cls, annotation: A, *, estimator: str) -> dict[str, bytes]:
        """The files of a frame, extension -> bytes, from an annotation that `draw` returned.

        Args:
            estimator: its name and version, for files that record it.
        """

    @classmethod
    @abstractmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> A:
        """The annotation in a frame's files.

        Args:
            files: extension -> bytes, the files that `reads` names for the intended uses.
            size: (width, height) of the frame.

        Raises:
            V2VError: a file is damaged.
        """

    @abstractmethod
    def channels(self, annotation: A, image: Image | None = None) -> Bytes:
        """What the network sees of a frame: uint8 [C, H, W], 255 = 1.

        Args:
            image: the frame, RGB uint8 [H, W, 3]; needed if channels are drawn from it (see `draw`).

        Raises:
            V2VError: the annotation does not fit the condition, or the frame is needed and not given.
        """

    @abstractmethod
    def augment(self, annotation: A, change: Change) -> A:
        """The annotation of the augmented frame: coordinates are transformed and everything is redrawn from them."""

    def regions(self, annotation: A) -> Regions:
        """Regions for features and styles (`v2vkit.conditions.regions`), int32 [H, W]; only where `has_regions`."""
        raise NotImplementedError(f"{self.name} has no regions")

    def align(self, annotation: A) -> Placement | None:
        """Where the subject is in the frame; None = there is none. Only where `has_subject`."""
        raise NotImplementedError(f"{self.name} has no subject")

    def measure(self, annotations: Iterable[A]) -> Any:
        """The proportions of the subject over several frames, for `retarget`; None = no subject. With `has_subject`."""
        raise NotImplementedError(f"{self.name} has no subject")

    def retarget(self, annotation: A, driver: Any, target: Any, *, keep_place: bool = False) -> A:
        """The annotation with the proportions and place of another subject; only where `has_subject`.

        Args:
            driver, target: proportions of its own subject and of the other, from `measure`.
            keep_place: change the proportions only (faces).
        """
        raise NotImplementedError(f"{self.name} has no subject")

    def retarget_frame(self, image: Image, driver: Any, target: Any) -> Image:
        """The frame moved and scaled as the subject is by `retarget`, where drawings show parts of it."""
        return image

    @abstractmethod
    def preview(self, channels: NDArray[np.float32]) -> Image:
        """Channels [C, H, W] in [0, 1], of any size, as a picture for people: RGB uint8 [H, W, 3].

        Made from channels and not from annotations, to show what the network sees: augmented and downsampled.
        """

    def same_channels(self, other: "Condition[Any]") -> bool:
        """Whether the channels mean the same; they may look different (`appearance`)."""
        hidden = set(self.appearance)
        return type(self) is type(other) and self.model_dump(exclude=hidden) == other.model_dump(exclude=hidden)

    def uses_instances(self, settings: Mapping[str, Any], *, features: bool) -> bool:
        """Whether a model learned from instances, and not from labels alone.

        Args:
            settings: of the stage that made its annotations.
            features: whether the model takes features of regions.
        """
        return False

    def refuse_other_footage(self, origin: Origin, source: str) -> None:
        """Refuse a video whose annotations cannot be made in the way of the training annotations.

        Args:
            origin: how the training annotations were made.
            source: the video, for messages.

        Raises:
            V2VError: the training annotations came with the footage.
        """
        if self.task is None or origin.stage != self.estimator_stage:
            raise V2VError(
                "maps-required",
                f"This model is conditioned on {self.artifact} that came with their frames, which cannot be made from "
                f"{source}.",
                "Give a folder of label maps instead of a video, or a workspace with --maps."
                if self.from_label_folder
                else f"Make a workspace of {source} that has them ({self.making()}), and render with --maps.",
            )
