"""Protocols of the tasks that third-party networks and algorithms do: face, identity, flow, segmentation, pose.

Every implementation is deterministic and stateless between calls: the result for a frame does not depend on worker,
shard or neighbouring frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image

Result = TypeVar("Result")


@runtime_checkable
class Estimator(Protocol):
    """Name and version of an estimator; both are written into the manifest."""

    name: str
    version: str


@runtime_checkable
class BatchEstimator(Protocol[Result]):
    """An estimator that is faster with several images at once."""

    def batch(self, images: Sequence[Image]) -> list[Result]:
        """Results for images (RGB uint8 [H, W, 3], any sizes) in their order, bit-identical to single calls."""
        ...


def estimate_all(estimator: Callable[[Image], Result], images: Sequence[Image]) -> list[Result]:
    """An estimator's results for several images, in one call where it supports that (`BatchEstimator`)."""
    return estimator.batch(images) if isinstance(estimator, BatchEstimator) else [estimator(i) for i in images]


def frame_itself(image: Image) -> Image:
    """The estimator of conditions that are made of the frame alone (`Condition.from_frame`)."""
    return image


@runtime_checkable
class FaceEstimator(Estimator, Protocol):
    """Facial landmarks."""

    def __call__(self, image: Image) -> NDArray[np.float32] | None:
        """The 68 landmarks of the most prominent face.

        Args:
            image: RGB uint8 [H, W, 3].

        Returns:
            float32 [68, 2], (x, y) in pixels, in dlib (iBUG-68) order; None when no face is found. With irises
            [78, 2]: then five points of the right and five of the left, each its centre and four of its rim.
        """
        ...


@runtime_checkable
class IdentityEstimator(Estimator, Protocol):
    """Whose face it is."""

    def __call__(self, image: Image, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """The embedding of a face: faces of one person lie near each other.

        Args:
            image: RGB uint8 [H, W, 3].
            landmarks: of the face, float32 [68, 2] as a `FaceEstimator` finds them.

        Returns:
            float32 [128].
        """
        ...


@runtime_checkable
class FlowEstimator(Estimator, Protocol):
    """Optical flow."""

    def __call__(self, current: Image, previous: Image) -> NDArray[np.float32]:
        """Backward flow: on the grid of `current`, pointing into `previous`.

        Args:
            current: RGB uint8 [H, W, 3].
            previous: the same size.

        Returns:
            float32 [H, W, 2] in pixels, channel 0 = x (right positive), 1 = y (down positive), so that
            `previous(p + flow(p))` matches `current(p)`.
        """
        ...


@dataclass(frozen=True, eq=False)
class Segments:
    """Label and instance maps of an image.

    Attributes:
        labels: uint8 [H, W], label ids below the estimator's `num_labels`; 255 = ignore (nothing recognised).
        instances: uint16 [H, W], one id per object, 0 = none; None when the estimator gives no instances. Ids are not
            consistent across images.
    """

    labels: NDArray[np.uint8]
    instances: NDArray[np.uint16] | None = None


@runtime_checkable
class SegmentEstimator(Estimator, Protocol):
    """Semantic segmentation, with or without instances.

    Attributes:
        num_labels: label ids are below it (1 to 255).
        classes: names of the labels in the order of their ids; empty when unknown.
    """

    num_labels: int
    classes: tuple[str, ...]

    def __call__(self, image: Image) -> Segments:
        """The labels (and instances) of an image: RGB uint8 [H, W, 3] in, maps of the same size out."""
        ...


@runtime_checkable
class PoseEstimator(Estimator, Protocol):
    """Body key points."""

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """The people in an image.

        Args:
            image: RGB uint8 [H, W, 3].

        Returns:
            float32 [people, 25, 3], (x, y, score) in OpenPose's BODY_25 order (`v2vkit.conditions.people`): x and y in
            pixels, also of points outside the image; score in [0, 1], 0 = missing. No people: [0, 25, 3]. Or
            [people, 137, 3] with the face (70) and the left and right hand (21 each) after the body.
        """
        ...
