"""Body key points with MediaPipe's Pose (Apache-2.0; its model comes inside the wheel, nothing is fetched).

Static mode: the result for a frame depends on its pixels alone (bit-identical on repetition, in any order and in any
process). Smoothing in time is ours, see `v2vkit.conditions.smoothing`. It finds one
person, the most prominent one; its fingers and the lines of its face, which OpenPose has too, on request.
"""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.estimators.keypoints import NUM_BODY, NUM_FACE, NUM_HAND
from v2vkit.estimators.mediapipe_face import IRISES, LANDMARKS, mesh_points
from v2vkit.estimators.mediapipe_graph import MediapipeGraph, proto

# MediaPipe's points of each point of BODY_25; two mean their midpoint, none = missing. The neck is the middle of the
# shoulders, the big toe is the "foot index"; small toes are missing.
_NOSE, _NECK, _MID_HIP = (0,), (11, 12), (23, 24)
_RIGHT_ARM, _LEFT_ARM = ((12,), (14,), (16,)), ((11,), (13,), (15,))
_RIGHT_LEG, _LEFT_LEG = ((24,), (26,), (28,)), ((23,), (25,), (27,))
_EYES_AND_EARS = ((5,), (2,), (8,), (7,))
_LEFT_FOOT, _RIGHT_FOOT = ((31,), (), (29,)), ((32,), (), (30,))
_SOURCES: tuple[tuple[int, ...], ...] = (
    _NOSE,
    _NECK,
    *_RIGHT_ARM,
    *_LEFT_ARM,
    _MID_HIP,
    *_RIGHT_LEG,
    *_LEFT_LEG,
    *_EYES_AND_EARS,
    *_LEFT_FOOT,
    *_RIGHT_FOOT,
)
_THERE = [number for number, sources in enumerate(_SOURCES) if sources]
_FIRST = [_SOURCES[number][0] for number in _THERE]
_LAST = [_SOURCES[number][-1] for number in _THERE]

_GRAPH = "modules/pose_landmark/pose_landmark_cpu.binarypb"
_HOLISTIC = "modules/holistic_landmark/holistic_landmark_cpu.binarypb"
_ACROSS_FRAMES = ("smooth_landmarks", "smooth_segmentation", "use_prev_landmarks")
_BODY, _FACE, _HANDS = "pose_landmarks", "face_landmarks", ("left_hand_landmarks", "right_hand_landmarks")
_FACE_70 = (*LANDMARKS, IRISES[0], IRISES[5])
"""OpenPose's face: the 68 landmarks and the pupils, the right one first."""


class MediapipePose:
    """`PoseEstimator`: the body of the most prominent person. One instance per process or thread.

    With `hands` or `face`, Holistic runs, which finds them from the body. Points of parts that it does not find have
    the score 0, those that it finds 1, because it gives no scores.

    The score of a point is MediaPipe's visibility (probability that it is inside the image and not occluded); of a
    midpoint, the lower of the two. Points outside the image are guesses and score near 0.
    """

    name = "mediapipe"

    def __init__(self, *, hands: bool = False, face: bool = False) -> None:
        # Pose in static mode and at its own thresholds. Complexity 1 is the only model in the wheel.
        settings = {"model_complexity": 1, "enable_segmentation": False} | dict.fromkeys(_ACROSS_FRAMES, False)
        self._parts = (*((_FACE,) if face else ()), *(_HANDS if hands else ()))
        if self._parts:
            settings["refine_face_landmarks"] = True
        self._pose = MediapipeGraph(_HOLISTIC if self._parts else _GRAPH, (_BODY, *self._parts), settings)
        self.version = importlib.metadata.version("mediapipe")

    def __call__(self, image: Image) -> NDArray[np.float32]:
        """The body in an RGB uint8 [H, W, 3] image, float32 [1, 25, 3] (x, y, score), or [0, 25, 3].

        With hands or face [1, 137, 3]: body, face (70), left and right hand (21 each).
        """
        return self.batch([image])[0]

    def batch(self, images: Sequence[Image]) -> list[NDArray[np.float32]]:
        """The same for several images, faster than one call per image."""
        found = zip(self._pose(images), images, strict=True)
        return [_person(packets, self._parts, image.shape) for packets, image in found]


def _person(packets: Mapping[str, Any], parts: Sequence[str], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The outputs of a graph as people in an image [H, W, 3]."""
    body = _body(packets.get(_BODY), shape)
    if not parts:
        return body
    others = []
    for part, count in ((_FACE, NUM_FACE), *((hand, NUM_HAND) for hand in _HANDS)):
        points = np.zeros((len(body), count, 3), np.float32)
        if part in parts and part in packets and len(body):
            vertices = _FACE_70 if part == _FACE else [(number,) for number in range(count)]
            points[0] = np.concatenate([mesh_points(proto(packets[part]), vertices, shape), np.ones((count, 1))], 1)
        others.append(points)
    return np.concatenate([body, *others], 1)


def _body(packet: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The graph's points (coordinates 0 to 1), or None, as people in an image [H, W, 3]."""
    if packet is None:
        return np.zeros((0, NUM_BODY, 3), np.float32)
    height, width = shape[:2]
    points = np.array([(p.x * width, p.y * height, p.visibility) for p in proto(packet).landmark], np.float32)
    body = np.zeros((1, NUM_BODY, 3), np.float32)
    body[0, _THERE] = (points[_FIRST] + points[_LAST]) / 2
    body[0, _THERE, 2] = np.clip(np.minimum(points[_FIRST, 2], points[_LAST, 2]), 0, 1)
    return body
