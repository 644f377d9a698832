"""The condition `face`: facial landmarks drawn as curves, and edges of the background."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.artifacts.images import decode_gray
from v2vkit.conditions.alignment import Placement, place_face
from v2vkit.conditions.augment import Change, transform_points
from v2vkit.conditions.base import Bytes, Condition, F, Size, Use
from v2vkit.conditions.curves import Strokes, strokes_of
from v2vkit.conditions.face_proportions import FaceProportions, face_move, measure_face, retarget_face
from v2vkit.conditions.given import check_ids, check_points
from v2vkit.conditions.landmarks import (
    NUM_IRISES,
    NUM_LANDMARKS,
    Landmarks,
    landmarks_from_json,
    landmarks_to_json,
    smooth_face,
)
from v2vkit.conditions.layers import OpenLayer, gray_layer, ids_layer
from v2vkit.conditions.regions import Regions, region_ids
from v2vkit.conditions.settings import AnnotationSettings, Origin, TimeSettings
from v2vkit.conditions.sketch import (
    NUM_CHANNELS,
    Gray,
    background_edges,
    draw_irises,
    draw_parts,
    draw_sketch,
    encode_drawing,
    face_channels,
)
from v2vkit.errors import V2VError


@dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """The face in a frame.

    Attributes:
        points: float32 [68, 2] (x, y) in pixels; None = no face.
        size: (width, height) of the frame.
        found: whether the face was found in this very frame.
        sketch: uint8 [H, W], 255 on 0: curves and background edges; None = not drawn yet.
        parts: uint8 [H, W] of facial parts (`v2vkit.conditions.sketch.PARTS`); None = not drawn yet.
        strokes: pen positions (`strokes_of`); None = not computed yet.
        irises: float32 [10, 2], right then left: centre and four points of the rim; None = not estimated.
        covered: bool [H, W], where the frame shows another face (the driver's), whose edges are not drawn; None =
            nowhere.
    """

    points: Landmarks | None
    size: Size
    found: bool = True
    sketch: Gray | None = None
    parts: Gray | None = None
    strokes: Strokes | None = None
    irises: Landmarks | None = None
    covered: NDArray[np.bool_] | None = None

    def with_points(self, points: Landmarks | None) -> "FaceLandmarks":
        """The same frame with other landmarks, [68, 2] or with irises [78, 2]; its drawings are dropped."""
        return _of_points(points, self.size, found=self.found)

    @property
    def all_points(self) -> Landmarks | None:
        """Landmarks and irises, float32 [68, 2] or [78, 2]; None = no face."""
        return self.points if self.points is None or self.irises is None else np.concatenate([self.points, self.irises])


def _widened(face: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A face with the edge around it, which lies a few pixels outside its contour."""
    reach = max(1, round(0.04 * float(np.sqrt(face.sum()))))
    return cv2.dilate(face.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0


def _of_points(points: Landmarks | None, size: Size, *, found: bool) -> FaceLandmarks:
    """The face of an estimator's points, [68, 2] or with irises [78, 2]; None = no face."""
    if points is None or len(points) != NUM_LANDMARKS + NUM_IRISES:
        return FaceLandmarks(points, size, found)
    return FaceLandmarks(points[:NUM_LANDMARKS], size, found, irises=points[NUM_LANDMARKS:])


class FaceCondition(Condition[FaceLandmarks]):
    """The sketch, then 14 maps of the distance to each curve, and with `gaze` the irises.

    Attributes:
        canny: whether sketches include Canny edges of the background, which are drawn from the frames.
        gaze: whether the last channel shows the irises.
    """

    artifact: ClassVar[str] = "sketches"
    required: ClassVar[tuple[str, ...]] = ("sketch.png", "json")
    arrays: ClassVar[str] = "landmarks [68, 2] in pixels"
    reads: ClassVar[Mapping[Use, tuple[str, ...]]] = {
        "channels": ("json", "sketch.png"),
        "augment": ("json",),
        "regions": ("json", "parts.png"),
        "align": ("json",),
    }
    layers: ClassVar[Mapping[str, OpenLayer]] = {"sketch.png": gray_layer, "parts.png": ids_layer}
    task: ClassVar[str | None] = "face"
    estimator_stage: ClassVar[str | None] = "make-sketches"
    nothing: ClassVar[str] = "no face"
    depicts: ClassVar[str] = "faces"
    Settings: ClassVar[type[AnnotationSettings]] = TimeSettings
    appearance: ClassVar[frozenset[str]] = frozenset({"canny"})
    together: ClassVar[int] = 4
    crop: ClassVar[str] = "face"
    published: ClassVar[Origin | None] = Origin(
        stage="make-sketches", settings={"face": "mediapipe", "smooth": 0, "canny": True, "missing": "hold"}
    )
    published_images: ClassVar[bool] = True

    name: Literal["face"] = "face"
    canny: bool = True
    gaze: bool = False

    def given(self, value: Any, *, size: Size) -> FaceLandmarks:
        if value is None:
            return FaceLandmarks(None, size, found=False)
        if isinstance(value, np.ndarray):
            if self.gaze and value.shape == (NUM_LANDMARKS, 2):
                raise V2VError(
                    "irises-missing",
                    "This model sees where the eyes look (--gaze), and 68 landmarks have no irises.",
                    "Give [78, 2], with 10 points of the irises, or FaceLandmarks(points, size) if they are unknown.",
                )
            value = _of_points(value, size, found=True)
        found = super().given(value, size=size)
        for drawing, what in ((found.sketch, "A sketch"), (found.parts, "A map of facial parts")):
            if drawing is not None:
                check_ids(drawing, np.uint8, what, size)
        if found.points is None:
            return found
        irises = None if found.irises is None else check_points(found.irises, (NUM_IRISES, 2), "The irises")
        return replace(found, points=check_points(found.points, (NUM_LANDMARKS, 2), "A face"), irises=irises)

    @property
    def num_channels(self) -> int:
        return NUM_CHANNELS + self.gaze

    def postprocess(
        self, frame_results: Iterable[tuple[F, Landmarks | None]], settings: Mapping[str, Any], *, size: Size
    ) -> Iterator[tuple[F, FaceLandmarks]]:
        wanted = TimeSettings.model_validate(settings)
        followed = smooth_face(
            frame_results, itemgetter(1), smooth=wanted.smooth, missing=wanted.missing, causal=wanted.causal
        )
        for (frame, _), points, found in followed:
            yield frame, _of_points(points, size, found=found)

    def prepare(self, annotations: Sequence[FaceLandmarks]) -> list[FaceLandmarks]:
        """Computes the curves of all faces at once, in a third of the time of one after the other."""
        strokes = strokes_of([annotation.points for annotation in annotations])
        return [replace(annotation, strokes=of) for annotation, of in zip(annotations, strokes, strict=True)]

    def draw(self, annotation: FaceLandmarks, image: Image | None = None) -> FaceLandmarks:
        if annotation.sketch is not None and annotation.parts is not None:
            return annotation
        if annotation.strokes is None:
            (annotation,) = self.prepare([annotation])
        if image is None:
            if self.canny and annotation.points is not None:
                raise V2VError(
                    "frame-required",
                    "These sketches include edges of the background, which are drawn from the frame.",
                    "Give the frame as well.",
                )
            image = np.zeros((annotation.size[1], annotation.size[0], 3), np.uint8)
        points, covered = annotation.points, annotation.covered
        sketch, parts = draw_sketch(image, points, canny=self.canny and covered is None, strokes=annotation.strokes)
        if self.canny and covered is not None:
            sketch = sketch | background_edges(image, np.maximum(parts, covered.astype(np.uint8)))
        return replace(annotation, sketch=sketch, parts=parts)

    @classmethod
    def encode(cls, annotation: FaceLandmarks, *, estimator: str) -> dict[str, bytes]:
        assert annotation.sketch is not None, "drawn before it is written"
        assert annotation.parts is not None, "drawn before it is written"
        return {
            "sketch.png": encode_drawing(annotation.sketch, strokes=True),
            "parts.png": encode_drawing(annotation.parts),
            "json": landmarks_to_json(
                annotation.points,
                found=annotation.found,
                size=annotation.size,
                estimator=estimator,
                irises=annotation.irises,
            ),
        }

    @classmethod
    def decode(cls, files: Mapping[str, bytes], *, size: Size) -> FaceLandmarks:
        points, _, found, irises = landmarks_from_json(files["json"])
        drawn = {
            name: decode_gray(files[f"{name}.png"], what).astype(np.uint8, copy=False)
            for name, what in (("sketch", "a sketch"), ("parts", "a map of facial parts"))
            if f"{name}.png" in files
        }
        return FaceLandmarks(points, size, found, drawn.get("sketch"), drawn.get("parts"), irises=irises)

    def channels(self, annotation: FaceLandmarks, image: Image | None = None) -> Bytes:
        if annotation.sketch is None:
            annotation = self.draw(annotation, image)
        assert annotation.sketch is not None
        channels = face_channels(annotation.points, annotation.sketch, strokes=annotation.strokes)
        if not self.gaze:
            return channels
        return np.concatenate([channels, draw_irises(annotation.irises, annotation.size)[None]])

    def augment(self, annotation: FaceLandmarks, change: Change) -> FaceLandmarks:
        points = annotation.all_points
        return annotation.with_points(None if points is None else transform_points(points, change.move))

    def regions(self, annotation: FaceLandmarks) -> Regions:
        """Facial parts."""
        parts = annotation.parts
        if parts is None:
            points, (width, height) = annotation.points, annotation.size
            parts = np.zeros((height, width), np.uint8) if points is None else draw_parts(points, annotation.size)
        return region_ids(parts)

    def align(self, annotation: FaceLandmarks) -> Placement | None:
        return place_face(annotation.points)

    def measure(self, annotations: Iterable[FaceLandmarks]) -> FaceProportions | None:
        return measure_face(annotation.points for annotation in annotations if annotation.found)

    def retarget(
        self, annotation: FaceLandmarks, driver: FaceProportions, target: FaceProportions, *, keep_place: bool = False
    ) -> FaceLandmarks:
        points = annotation.all_points
        if points is None:
            return annotation
        changed = annotation.with_points(retarget_face(points, driver, target, keep_place=keep_place))
        if not self.canny:
            return changed
        move = np.eye(2, 3) if keep_place else face_move(driver, target)
        there = points[:NUM_LANDMARKS] @ move[:, :2].T + move[:, 2]
        return replace(changed, covered=_widened(draw_parts(there.astype(np.float32), annotation.size) > 0))

    def retarget_frame(self, image: Image, driver: FaceProportions, target: FaceProportions) -> Image:
        if not self.canny:
            return image
        size = (image.shape[1], image.shape[0])
        moved = cv2.warpAffine(image, face_move(driver, target), size, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, np.uint8)

    def preview(self, channels: NDArray[np.float32]) -> Image:
        return np.repeat(np.rint(channels[0] * 255).astype(np.uint8)[..., None], 3, 2)
