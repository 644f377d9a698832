"""Facial landmarks with dlib (BSL-1.0): HOG detector and a 68-point shape predictor whose file the user gives.

The well-known predictor file is trained on data with a non-commercial clause, so it is never fetched.
"""

import hashlib
from pathlib import Path

import dlib
import numpy as np
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.errors import V2VError
from v2vkit.weights.registry import how_to_get, known

_NUM_POINTS = 68
_CREDIBLE = 0.5  # of the best score; upsampled images give false faces with a tenth of it


class DlibFace:
    """`FaceEstimator`: the 68 landmarks of the largest face that is detected with at least half of the best score.

    The detector finds faces from about 80 pixels on; when it finds none, it runs again on the image upsampled twice.

    Args:
        weights: path of a 68-point shape predictor (`.dat`).

    Raises:
        V2VError: no path, no such file, or not a 68-point shape predictor.
    """

    name = "dlib"

    def __init__(self, weights: str | None = None) -> None:
        hint = (
            "Give the path of a 68-point shape predictor (.dat) with --weights (`v2v ingest`: --face-weights), or get "
            f"one for make-sketches: {how_to_get(known('dlib-68'))}."
        )
        if not weights:
            raise V2VError("weights-missing", "The face estimator dlib needs a shape predictor file.", hint)
        if not Path(weights).is_file():
            raise V2VError("weights-missing", f"The shape predictor {weights} does not exist.", hint)
        try:
            self._predict = dlib.shape_predictor(str(weights))
        except (RuntimeError, MemoryError) as error:
            raise V2VError("weights-damaged", f"{weights} is not a dlib shape predictor ({error}).", hint) from None
        num_points = self._predict(np.zeros((64, 64, 3), np.uint8), dlib.rectangle(8, 8, 55, 55)).num_parts
        if num_points != _NUM_POINTS:
            raise V2VError(
                "weights-unsupported", f"{weights} predicts {num_points} points instead of {_NUM_POINTS}.", hint
            )
        self._detect = dlib.get_frontal_face_detector()
        digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
        self.version = f"{dlib.__version__}, weights {digest[:12]}"

    def __call__(self, image: Image) -> NDArray[np.float32] | None:
        """The 68 landmarks in an RGB uint8 [H, W, 3] image, float32 [68, 2] (x, y) in whole pixels; or None."""
        pixels = np.ascontiguousarray(image)  # a view with negative strides silently gives other results
        for upsampling in (0, 1):
            boxes, scores, _ = self._detect.run(pixels, upsampling, 0.0)
            if boxes:
                sure = [box for box, score in zip(boxes, scores, strict=True) if score >= _CREDIBLE * max(scores)]
                points = self._predict(pixels, max(sure, key=lambda box: box.area())).parts()
                return np.array([(point.x, point.y) for point in points], np.float32)
        return None
