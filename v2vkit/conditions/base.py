"""The contract of a condition: one kind of annotation, and how it conditions a network.

A condition is a frozen, JSON-serialisable value: its fields decide its channels. Everything that the toolkit does with
an annotation is a method here: the stage that makes it, training that augments it, rendering that makes it on the fly,
`show`, `check` and `import-checkpoint` call the same object. A new condition is one file with a subclass of `Condition`
and a row in `v2vkit.conditions.registry`.

The way of an annotation: `annotate` (or `decode`) -> edits, which are functions annotation -> annotation -> `augment`
(training) -> `channels`.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.augment import Change
from v2vkit.conditions.given import check_annotation
from v2vkit.conditions.layers import OpenLayer
from v2vkit.conditions.regions import Regions
from v2vkit.conditions.settings import AnnotationSettings, Origin
from v2vkit.engine.threads import batched
from v2vkit.errors import V2VError
from v2vkit.estimators.base import look_at
from v2vkit.video.label_files import MapKind

Bytes = NDArray[np.uint8]
Image = NDArray[np.uint8]
Size = tuple[int, int]
F = TypeVar("F")

Use = Literal["channels", "augment", "regions", "align"]
"""What an annotation is read for: `augment` = channels after `augment`, which draws everything anew."""


class Annotation(Protocol):
    """What is known about one frame. Every annotation is a frozen value with these two attributes."""

    @property
    def size(self) -> Size:
        """Width and height of the frame in pixels."""
        ...

    @property
    def found(self) -> bool:
        """Whether something was found in this very frame (else it is empty, or comes from the frames around it)."""
        ...


A = TypeVar("A", bound=Annotation)


class Condition(BaseModel, Generic[A]):
    """One kind of annotation and how it conditions a network; A is the annotation's type.

    Shapes: frames are RGB uint8 [H, W, 3]; channels uint8 [C, H, W], 255 = 1; sizes are (width, height).

    Attributes:
        name: in the registry.
        artifact: kind of the artifact that holds the annotations.
        required, optional: extensions of a frame's files in it.
        arrays: the arrays that `given` takes instead of an annotation, in words; empty = none.
        reads: the files that `decode` needs for each use; what a use does not name, it cannot be used for.
        layers: how `show` draws the files, by extension, the best first.
        stages: the stages that make the artifact.
        task: the task of the estimator behind it; None = it comes with the footage.
        estimator_stage: the one of `stages` that runs the estimator, whose setting of the task's name chooses it.
        nothing: what a frame is counted under in which nothing was found.
        making: the commands that make the artifact, for messages.
        Settings: those of its stage that `follow` heeds.
        appearance: fields that change how channels look, but not what each of them is.
        together: frames that are drawn at once in a stream (memory!).
        mirrors: whether its maps may be mirrored left to right.
        foreground: whether its labels, of which there are `num_labels`, can have a foreground branch (eq. 9).
        has_parts: whether parts of it can be left out in training (`Change.drop`).
        has_bodies: whether a discriminator can find faces of people in its channels.
        from_label_folder: whether a folder of label maps gives its annotations.
        beside: kind of the maps (and name of the flag) that come with frames and give its annotations (`of_map`).
        from_frame: whether its annotations are made of the frame alone, without an estimator (`of_frame`).
        crop: how published models had its footage cut where frames are square, as `ingest --crop` has it.
        shows_frame: whether its channels are a picture of the frame: red, green, blue.
        shows_edges: whether its channel is an edge map of the frame.
        signed: whether published generators saw its channels in [-1, 1].
        published: how published models had it made.
        published_images: whether there is a published image generator for it.
        has_regions, has_subject: whether it is read for regions and for alignment; follows from `reads`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact: ClassVar[str]
    required: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    arrays: ClassVar[str] = ""
    reads: ClassVar[Mapping[Use, tuple[str, ...]]]
    layers: ClassVar[Mapping[str, OpenLayer]] = {}
    stages: ClassVar[tuple[str, ...]] = ("ingest",)
    task: ClassVar[str | None] = None
    estimator_stage: ClassVar[str | None] = None
    nothing: ClassVar[str] = "nothing found"
    making: ClassVar[str] = "`v2v ingest`"
    Settings: ClassVar[type[AnnotationSettings]] = AnnotationSettings
    appearance: ClassVar[frozenset[str]] = frozenset()
    together: ClassVar[int] = 1
    mirrors: ClassVar[bool] = False
    foreground: ClassVar[bool] = False
    has_parts: ClassVar[bool] = False
    has_bodies: ClassVar[bool] = False
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
        """What follows from `reads`, as facts of the class."""
        reads = getattr(cls, "reads", {})
        cls.has_regions, cls.has_subject = "regions" in reads, "align" in reads

    def __str__(self) -> str:
        """In words, for messages."""
        return self.name

    @classmethod
    def configured(cls, settings: Mapping[str, Any], count_labels: Callable[[], int]) -> Self:
        """The condition as annotations that a stage made with these settings need it.

        Args:
            settings: of the stage; those that are fields here are taken.
            count_labels: the number of labels in the artifact, for those that need to know it.

        Raises:
            ValidationError: a value is none that a field takes.
        """
        taken = {name: settings[name] for name in cls.model_fields if name != "name" and name in settings}
        return cls.model_validate(taken)

    def given(self, value: Any, *, size: Size) -> A:
        """The annotation that a user of the library gives for a frame of this size; an array (`arrays`) becomes one.

        None = nothing was found, where there is such a thing. V2VError where it is none, or of another size or type.
        """
        found: A = check_annotation(value, self, size)
        return found

    @property
    @abstractmethod
    def num_channels(self) -> int:
        """Channels of one frame."""

    @abstractmethod
    def follow(
        self, looked_at: Iterable[tuple[F, Any]], settings: Mapping[str, Any], *, size: Size
    ) -> Iterator[tuple[F, A]]:
        """Annotations of consecutive frames of one shot from what an estimator gives, followed through time.

        Stages and streams alike call this, so that both give the same numbers. It yields in order, with a bounded
        look-ahead.

        Args:
            looked_at: (frame, what the estimator gives for it); frames may be anything, they are handed on.
            settings: of the stage; see `Settings`.
            size: (width, height) of the frames.
        """

    def annotate(
        self, frames: Iterable[Image], estimator: Callable[[Image], Any], settings: Mapping[str, Any], *, size: Size
    ) -> Iterator[tuple[Image, A]]:
        """Frames of one shot with their annotations, in order: estimated a few at a time, then `follow`.

        Args:
            frames: consecutive frames, RGB uint8 [H, W, 3], as far as they are needed.
            estimator: of the condition's `task`.
            settings, size: as in `follow`.
        """

        def looked_at() -> Iterator[tuple[Image, Any]]:
            for images in batched(frames, self.together):
                yield from zip(images, look_at(estimator, images), strict=True)

        return self.follow(looked_at(), settings, size=size)

    def prepare(self, annotations: Sequence[A]) -> list[A]:
        """The same annotations; here a condition does once, for several frames, what `draw` would do for each."""
        return list(annotations)

    def draw(self, annotation: A, image: Image | None = None) -> A:
        """The same annotation with what files, channels and regions share drawn already.

        Args:
            image: the frame, RGB uint8 [H, W, 3], for drawings that show something of it.
        """
        return annotation

    @classmethod
    def of_map(cls, numbers: NDArray[Any], *, near_far: tuple[float, float] | None) -> A:
        """The annotation in the numbers of a map that came with the frames; only where `beside` names a kind.

        Args:
            numbers: as of `v2vkit.video.label_files.read_map`, cropped and resized as the frame.
            near_far: range of the shot's depth, where its unit is not known.
        """
        raise NotImplementedError(f"{cls.artifact} come with no maps")

    def of_frame(self, image: Image) -> A:
        """The annotation of a frame, RGB uint8 [H, W, 3]; only where it is made `from_frame`."""
        raise NotImplementedError(f"{self.artifact} need more than the frame")

    @classmethod
    @abstractmethod
    def encode(cls, annotation: A, *, estimator: str) -> dict[str, bytes]:
        """The files of a frame, extension -> bytes, from an annotation that `draw` gave.

        Args:
            estimator: its name and version, for those files that tell.
        """

    @classmethod
    @abstractmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> A:
        """The annotation in a frame's files.

        Args:
            files: extension -> bytes: those that `reads` names for the uses that follow.
            size: (width, height) of the frame.

        Raises:
            V2VError: a file is damaged.
        """

    @abstractmethod
    def channels(self, annotation: A, image: Image | None = None) -> Bytes:
        """What the network sees of a frame: uint8 [C, H, W], 255 = 1.

        Args:
            image: the frame, RGB uint8 [H, W, 3]; needed where channels are drawn from it (see `draw`).

        Raises:
            V2VError: the annotation does not fit the condition, or the frame is needed and not given.
        """

    @abstractmethod
    def augment(self, annotation: A, change: Change) -> A:
        """The annotation of the changed frame: geometry moves what is known, and it is drawn anew from there."""

    def regions(self, annotation: A) -> Regions:
        """Regions for features and styles (`v2vkit.conditions.regions`), int32 [H, W]; only where `has_regions`."""
        raise NotImplementedError(f"{self.name} has no regions")

    def align(self, annotation: A) -> Placement | None:
        """Where the subject is in the frame; None = there is none. Only where `has_subject`."""
        raise NotImplementedError(f"{self.name} has no subject")

    @abstractmethod
    def preview(self, channels: NDArray[np.float32]) -> Image:
        """Channels [C, H, W] in [0, 1], of any size, as people look at them: RGB uint8 [H, W, 3].

        From channels, and not from annotations, because it shows what the network sees: augmented and downsampled.
        """

    def same_channels(self, other: "Condition[Any]") -> bool:
        """Whether the channels mean the same; they may look different (`appearance`)."""
        hidden = set(self.appearance)
        return type(self) is type(other) and self.model_dump(exclude=hidden) == other.model_dump(exclude=hidden)

    def uses_instances(self, settings: Mapping[str, Any], *, features: bool) -> bool:
        """Whether a model learned more from instances than labels tell.

        Args:
            settings: of the stage that made its annotations.
            features: whether the model takes features of regions.
        """
        return False

    def refuse_other_footage(self, origin: Origin, source: str) -> None:
        """Whether annotations of a video can be made as those of the training were.

        Args:
            origin: how those were made.
            source: the video, for messages.

        Raises:
            V2VError: they came with the footage.
        """
        if self.task is None or origin.stage != self.estimator_stage:
            raise V2VError(
                f"This model is conditioned on {self.artifact} that came with their frames, which cannot be made from "
                f"{source}.",
                "Give a folder of label maps instead of a video, or a workspace with --maps."
                if self.from_label_folder
                else f"Make a workspace of {source} that has them ({self.making}), and render with --maps.",
            )
