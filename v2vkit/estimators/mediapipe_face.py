"""Facial landmarks with MediaPipe's FaceMesh (Apache-2.0; its models come inside the wheel, nothing is fetched).

Static mode: the result for a frame depends on its pixels alone (bit-identical on repetition, in any order and in any
process). Smoothing in time is ours, see `v2vkit.conditions.landmarks`.
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.estimators.mediapipe_graph import MediapipeGraph, protos

# Mesh vertices of each of the 68 dlib points; two vertices mean their midpoint. The jaw runs along
# the face oval, spaced as dlib spaces it; the rest are the vertices on the same feature (brow ridge, lid and lip rims).
# fmt: off
_RIGHT_JAW = ((127,), (234, 93), (93, 132), (132, 58), (172,), (136, 150), (149,), (176, 148))
_LEFT_JAW = ((377, 400), (378,), (365, 379), (397,), (288, 361), (361, 323), (323, 454), (356,))
_BROWS = ((70,), (63,), (105,), (66,), (107, 55), (336, 285), (296,), (334,), (293,), (300,))
_NOSE = ((168,), (197,), (195, 5), (4,), (75,), (97,), (2,), (326,), (305,))
_EYES = ((33,), (160, 159), (158,), (133,), (153,), (144,), (362,), (385,), (387, 386), (263,), (373,), (380,))
_OUTER_LIPS = ((61,), (40, 39), (37,), (0,), (267,), (269, 270), (291,), (321, 405), (314,), (17,), (84,), (181, 91))
_INNER_LIPS = ((78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,))
# fmt: on
LANDMARKS: tuple[tuple[int, ...], ...] = (
    *_RIGHT_JAW,
    (152,),
    *_LEFT_JAW,
    *_BROWS,
    *_NOSE,
    *_EYES,
    *_OUTER_LIPS,
    *_INNER_LIPS,
)  # fmt: skip
IRISES: tuple[tuple[int, ...], ...] = tuple((vertex,) for vertex in range(468, 478))
"""Right eye, then left eye: centre of the iris and four points of its rim."""

_GRAPH = "modules/face_landmark/face_landmark_front_cpu.binarypb"
_OUTPUT = "multi_face_landmarks"
_MAX_FACES = 4  # the largest of them is taken


def _tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Nine overlapping tiles of half the frame's sides, as (left, top, right, bottom)."""
    tile_width, tile_height = -(-width // 2), -(-height // 2)
    for row in range(3):
        for column in range(3):
            left, top = (width - tile_width) * column // 2, (height - tile_height) * row // 2
            yield left, top, left + tile_width, top + tile_height


class MediapipeFace:
    """`FaceEstimator`: the 68 landmarks of the largest face.

    MediaPipe's detector sees the frame at 128 x 128 and misses faces narrower than about a tenth of it; when it finds
    none, nine overlapping tiles of half the size are searched. One instance per process or thread.

    Args:
        gaze: also give the irises, as points 68 to 77 (centre and four points of the rim, right eye first).
    """

    name = "mediapipe"

    def __init__(self, *, gaze: bool = False) -> None:
        # FaceMesh with attention, in static mode and at its own thresholds
        settings = {"num_faces": _MAX_FACES, "with_attention": True, "use_prev_landmarks": False}
        self._mesh = MediapipeGraph(_GRAPH, [_OUTPUT], settings)
        self._vertices = (*LANDMARKS, *IRISES) if gaze else LANDMARKS
        self.version = importlib.metadata.version("mediapipe")

    def __call__(self, image: Image) -> NDArray[np.float32] | None:
        """The landmarks of the largest face in an RGB uint8 [H, W, 3] image, float32 [68, 2] (x, y), or None.

        With `gaze` [78, 2].
        """
        return self.batch([image])[0]

    def batch(self, images: Sequence[Image]) -> list[NDArray[np.float32] | None]:
        """The same for several images, faster than one call per image."""
        found = [faces or self._small_faces(image) for image, faces in zip(images, self._faces(images), strict=True)]
        return [max(faces, key=_area) if faces else None for faces in found]

    def _faces(self, images: Sequence[Image]) -> list[list[NDArray[np.float32]]]:
        return [
            [mesh_points(face, self._vertices, image.shape) for face in protos(packets[_OUTPUT])] if packets else []
            for image, packets in zip(images, self._mesh(images), strict=True)
        ]

    def _small_faces(self, image: Image) -> list[NDArray[np.float32]]:
        """Faces found in the tiles that lie inside their tile."""
        tiles = list(_tiles(image.shape[1], image.shape[0]))
        found = self._faces([image[top:bottom, left:right] for left, top, right, bottom in tiles])
        faces: list[NDArray[np.float32]] = []
        for (left, top, right, bottom), faces_here in zip(tiles, found, strict=True):
            for face in faces_here:
                if face.min() >= 0 and face[:, 0].max() <= right - left and face[:, 1].max() <= bottom - top:
                    faces.append((face + np.array([left, top])).astype(np.float32))
        return faces


def mesh_points(face: Any, vertices: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Points of a face mesh (coordinates 0 to 1) in pixels of an image [H, W, 3]: float32 [N, 2].

    Args:
        vertices: of each point; two mean their midpoint.
    """
    mesh = face.landmark
    used = {number: (mesh[number].x, mesh[number].y) for of in vertices for number in of}
    first, last = (np.array([used[of[end]] for of in vertices], np.float32) for end in (0, -1))
    points = (first + last) * np.array([shape[1] / 2, shape[0] / 2])
    return points.astype(np.float32)


def _area(face: NDArray[np.float32]) -> float:
    return float(np.prod(np.ptp(face, axis=0)))
