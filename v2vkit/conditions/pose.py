"""The condition `pose`: key points of people drawn as coloured skeletons."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from v2vkit.arrays import Image
from v2vkit.artifacts.images import decode_image, encode_png
from v2vkit.conditions.alignment import Placement, place_people
from v2vkit.conditions.augment import Change
from v2vkit.conditions.base import Bytes, Condition, F, Size, Use
from v2vkit.conditions.body_proportions import BodyProportions, measure_body, retarget_people
from v2vkit.conditions.given import check_image
from v2vkit.conditions.layers import OpenLayer, photo_layer
from v2vkit.conditions.people import MIN_SCORE, Person, Persons, check_person, transform_people
from v2vkit.conditions.people_files import people_to_json, read_people_file
from v2vkit.conditions.people_smoothing import smooth_people
from v2vkit.conditions.settings import AnnotationSettings, Origin, TimeSettings
from v2vkit.conditions.skeleton import NUM_CHANNELS, draw_people, drop_parts, skeleton_channels
from v2vkit.errors import V2VError


@dataclass(frozen=True, eq=False)
class People:
    """The people in a frame.

    Attributes:
        persons: their key points; empty = nobody.
        size: (width, height) of the frame.
        found: whether people were found in this very frame.
        skeleton: the drawing, RGB uint8 [H, W, 3]; None = not drawn yet.
    """

    persons: Persons
    size: Size
    found: bool = True
    skeleton: Image | None = None

    def with_persons(self, persons: Persons) -> "People":
        """The same frame with other people; its drawing is dropped."""
        return People(persons, self.size, self.found)


class PoseSettings(TimeSettings):
    """Settings of `estimate-pose`.

    Attributes:
        min_score: key points that score less are missing; None = `MIN_SCORE`, or 0 with `openpose`.
        openpose: folder of OpenPose's key point files; None = an estimator ran.
    """

    min_score: float | None = Field(default=None, ge=0, le=1)
    openpose: str | None = None

    @property
    def point_score(self) -> float:
        """Key points that score less are missing."""
        if self.min_score is not None:
            return self.min_score
        return MIN_SCORE if self.openpose is None else 0.0


class PoseCondition(Condition[People]):
    """The coloured drawing of all skeletons as RGB.

    Attributes:
        stroke: half the width of a body's strokes in pixels (`draw_people`); 0 = proportional to the frame's height.
    """

    artifact: ClassVar[str] = "poses"
    required: ClassVar[tuple[str, ...]] = ("skeleton.png", "json")
    arrays: ClassVar[str] = "key points [people, 25, 3] or [25, 3] (BODY_25 as x, y, score)"
    reads: ClassVar[Mapping[Use, tuple[str, ...]]] = {
        "channels": ("json", "skeleton.png"),
        "augment": ("json",),
        "align": ("json",),
    }
    layers: ClassVar[Mapping[str, OpenLayer]] = {"skeleton.png": photo_layer}
    task: ClassVar[str | None] = "pose"
    estimator_stage: ClassVar[str | None] = "estimate-pose"
    nothing: ClassVar[str] = "no person"
    depicts: ClassVar[str] = "bodies"
    Settings: ClassVar[type[AnnotationSettings]] = PoseSettings
    appearance: ClassVar[frozenset[str]] = frozenset({"stroke"})
    together: ClassVar[int] = 4
    has_parts: ClassVar[bool] = True
    has_bodies: ClassVar[bool] = True
    signed: ClassVar[bool] = True
    published: ClassVar[Origin | None] = Origin(
        stage="estimate-pose", settings={"pose": "mediapipe", "smooth": 0, "missing": "hold"}
    )

    name: Literal["pose"] = "pose"
    stroke: int = Field(default=0, ge=0, le=64)

    def given(self, value: Any, *, size: Size) -> People:
        if value is None:
            return People((), size, found=False)
        if isinstance(value, np.ndarray):
            value = People(tuple(map(Person, value if value.ndim == 3 else [value])), size)
        found = super().given(value, size=size)
        if found.skeleton is not None:
            check_image(found.skeleton, size, "A skeleton")
        return replace(found, persons=tuple(map(check_person, found.persons)))

    @property
    def num_channels(self) -> int:
        return NUM_CHANNELS

    def postprocess(
        self,
        frame_results: Iterable[tuple[F, NDArray[np.float32] | Persons]],
        settings: Mapping[str, Any],
        *,
        size: Size,
    ) -> Iterator[tuple[F, People]]:
        """As in `Condition`; from an estimator's float32 [people, 25, 3], or the people in a file."""
        wanted = PoseSettings.model_validate(settings)
        followed = smooth_people(
            frame_results,
            itemgetter(1),
            smooth=wanted.smooth,
            missing=wanted.missing,
            min_score=wanted.point_score,
            causal=wanted.causal,
        )
        for (frame, _), persons, found in followed:
            yield frame, People(persons or (), size, found)

    def draw(self, annotation: People, image: Image | None = None) -> People:
        if annotation.skeleton is not None:
            return annotation
        return replace(annotation, skeleton=draw_people(annotation.persons, annotation.size, stroke=self.stroke))

    @classmethod
    def encode(cls, annotation: People, *, estimator: str) -> dict[str, bytes]:
        assert annotation.skeleton is not None, "drawn before it is written"
        return {
            "skeleton.png": encode_png(annotation.skeleton),
            "json": people_to_json(
                annotation.persons, found=annotation.found, size=annotation.size, estimator=estimator
            ),
        }

    @classmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> People:
        persons, found = read_people_file(files["json"])
        skeleton = files.get("skeleton.png")
        return People(persons, size, found, None if skeleton is None else decode_image(skeleton, "a skeleton"))

    def channels(self, annotation: People, image: Image | None = None) -> Bytes:
        drawing = self.draw(annotation, image).skeleton
        assert drawing is not None
        return skeleton_channels(drawing)

    def augment(self, annotation: People, change: Change) -> People:
        persons = transform_people(annotation.persons, change.move)
        if change.drop:
            persons = drop_parts(persons, np.random.default_rng(change.seed), change.drop)
        return annotation.with_persons(persons)

    def align(self, annotation: People) -> Placement | None:
        return place_people(annotation.persons)

    def measure(self, annotations: Iterable[People]) -> BodyProportions | None:
        return measure_body(annotation.persons for annotation in annotations if annotation.found)

    def retarget(
        self, annotation: People, driver: BodyProportions, target: BodyProportions, *, keep_place: bool = False
    ) -> People:
        return annotation.with_persons(retarget_people(annotation.persons, driver, target))

    def preview(self, channels: NDArray[np.float32]) -> Image:
        return np.ascontiguousarray(np.rint(channels * 255).astype(np.uint8).transpose(1, 2, 0))

    def refuse_other_footage(self, origin: Origin, source: str) -> None:
        if PoseSettings.model_validate(origin.settings).openpose is not None:
            raise V2VError(
                "maps-required",
                "This model was trained on key points of OpenPose, which cannot be made from a video here.",
                "Make a workspace of the source video with `v2v estimate-pose --openpose FOLDER`, and render with "
                "--maps.",
            )
        super().refuse_other_footage(origin, source)
