"""Face identity with dlib (BSL-1.0): the residual network of its dnn_face_recognition_ex, 128 numbers a face."""

from pathlib import Path

import dlib
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.errors import V2VError
from v2vkit.weights import file_digest
from v2vkit.weights.registry import how_to_get, known


class DlibIdentity:
    """`IdentityEstimator`: dlib cuts the face out upright by its landmarks, 150x150, and looks at it once.

    Args:
        weights: path of `dlib_face_recognition_resnet_model_v1.dat`.

    Raises:
        V2VError: no such file, or not dlib's network.
    """

    name = "dlib"

    def __init__(self, weights: str) -> None:
        hint = f"Get it: {how_to_get(known('dlib-face-id'))}."
        if not Path(weights).is_file():
            raise V2VError("weights-missing", f"The network of face identity {weights} does not exist.", hint)
        try:
            self._network = dlib.face_recognition_model_v1(str(weights))
        except (RuntimeError, MemoryError):  # its sentences name dlib's types, over several lines
            raise V2VError("weights-damaged", f"{weights} is not dlib's network of face identity.", hint) from None
        self.version = f"{dlib.__version__}, weights {file_digest(weights)[:12]}"

    def __call__(self, image: Image, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        pixels = np.ascontiguousarray(image)  # a view with negative strides silently gives other results
        points = [dlib.point(x, y) for x, y in np.rint(landmarks).astype(int).tolist()]
        (left, top), (right, bottom) = np.rint([landmarks.min(0), landmarks.max(0)]).astype(int).tolist()
        face = dlib.full_object_detection(dlib.rectangle(left, top, right, bottom), points)
        return np.array(self._network.compute_face_descriptor(pixels, face), np.float32)
