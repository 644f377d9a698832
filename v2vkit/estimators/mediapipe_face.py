"""Facial landmarks with MediaPipe's FaceMesh (Apache-2.0; its models come inside the wheel, nothing is fetched).

Static mode: every frame is looked at afresh, so that its result depends on nothing but its pixels (bit-identical on
repetition, in any order and in any process). Smoothing in time is ours, see `v2vkit.maps.landmarks`.
"""

import contextlib
import importlib.metadata
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from v2vkit.estimators.base import Image
from v2vkit.estimators.quiet import quiet_stderr

# Mesh vertices behind each of the 68 dlib points; two vertices mean the point half-way between them. The jaw runs along
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
_VERTICES: tuple[tuple[int, ...], ...] = (
    *_RIGHT_JAW,
    (152,),
    *_LEFT_JAW,
    *_BROWS,
    *_NOSE,
    *_EYES,
    *_OUTER_LIPS,
    *_INNER_LIPS,
)  # fmt: skip
_MESH = sorted({vertex for vertices in _VERTICES for vertex in vertices})  # reading all 478 costs four times as much
_FIRST = [_MESH.index(vertices[0]) for vertices in _VERTICES]
_SECOND = [_MESH.index(vertices[-1]) for vertices in _VERTICES]

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

    MediaPipe's detector looks at the whole frame at 128 x 128 and misses faces narrower than about a tenth of it; when
    it finds none, nine overlapping tiles of half the size are searched. One instance per process or thread.
    """

    name = "mediapipe"

    def __init__(self) -> None:
        with quiet_stderr():
            import mediapipe

            self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
                static_image_mode=True, refine_landmarks=True, max_num_faces=_MAX_FACES
            )
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))  # returns when all its threads have logged
        self.version = importlib.metadata.version("mediapipe")
        self._quiet = True

    def __call__(self, image: Image) -> NDArray[np.float32] | None:
        """The 68 landmarks of the largest face in an RGB uint8 [H, W, 3] image, float32 [68, 2] (x, y); or None."""
        with quiet_stderr() if self._quiet else contextlib.nullcontext():
            faces = self._faces(image) or self._small_faces(image)
        if not faces:
            return None
        self._quiet = False  # the last lines come with the first face
        return max(faces, key=_area)

    def _faces(self, image: Image) -> list[NDArray[np.float32]]:
        height, width = image.shape[:2]
        found = self._mesh.process(np.ascontiguousarray(image)).multi_face_landmarks
        faces: list[NDArray[np.float32]] = []
        for face in found or ():
            vertices = face.landmark
            mesh = np.array([(vertices[i].x, vertices[i].y) for i in _MESH], np.float32)
            points = (mesh[_FIRST] + mesh[_SECOND]) * np.array([width / 2, height / 2])
            faces.append(points.astype(np.float32))
        return faces

    def _small_faces(self, image: Image) -> list[NDArray[np.float32]]:
        """Faces found in the tiles, as far as they lie inside their tile."""
        height, width = image.shape[:2]
        faces: list[NDArray[np.float32]] = []
        for left, top, right, bottom in _tiles(width, height):
            for face in self._faces(image[top:bottom, left:right]):
                if face.min() >= 0 and face[:, 0].max() <= right - left and face[:, 1].max() <= bottom - top:
                    faces.append((face + np.array([left, top])).astype(np.float32))
        return faces


def _area(face: NDArray[np.float32]) -> float:
    return float(np.prod(np.ptp(face, axis=0)))
