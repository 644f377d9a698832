"""Pictures that drive a model, cropped and resized as `ingest` did with the footage that it was trained on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby, islice
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.estimators.base import FaceEstimator
from v2vkit.maps.following import HOLD_FRAMES
from v2vkit.synthesis.live import open_face
from v2vkit.synthesis.model import ModelInfo
from v2vkit.video.cuts import CutMethod, number_shots
from v2vkit.video.decode import decode
from v2vkit.video.framing import Window, crop_window, face_window, first_face, reframe

Image = NDArray[np.uint8]


@dataclass
class FaceCrop:
    """Where the shots of a video are cropped: around the first face of each, as training cropped each clip.

    Attributes:
        find: the face estimator.
        window: of the shot before; of the first face of all at first.
    """

    find: FaceEstimator
    window: Window

    def around(self, shot: Iterator[Image]) -> Iterator[Image]:
        """The same frames, `window` set to what is to be kept of them.

        It stays as it is where none of the first `HOLD_FRAMES` frames shows a face, so that the look-ahead is bounded.
        """
        seen: list[Image] = []
        for image in islice(shot, HOLD_FRAMES):
            seen.append(image)
            landmarks = self.find(image)
            if landmarks is not None:
                self.window = face_window(landmarks, image.shape[1], image.shape[0])
                break
        return chain(seen, shot)


def open_face_crop(info: ModelInfo, path: str, first: int) -> FaceCrop | None:
    """For a model whose footage was cropped around faces; None for others.

    Args:
        path: the video; `first` = the frame with which the part to be used begins.

    Raises:
        V2VError: the estimator is missing, or the video shows no face.
    """
    if crop_of(info) != "face":
        return None
    find = _open_face(info)
    found = first_face(decode(path, first), find)
    if found is None:
        raise V2VError(f"No face was found in {path}.", "Drive this model with a video that shows a face.")
    return FaceCrop(find, found[1])


def framed_shots(
    images: Iterable[Image], info: ModelInfo, faces: FaceCrop | None, *, method: CutMethod, fps: Fraction
) -> Iterator[tuple[Image, int]]:
    """Frames as the model's footage, RGB uint8 [H, W, 3], each with the number of its shot.

    Cuts are looked for in the whole pictures, as `ingest` does.

    Args:
        images: consecutive frames, RGB uint8 [h, w, 3].
        faces: from `open_face_crop`.
        method, fps: as in `number_shots`.
    """
    numbered = number_shots(((image, image) for image in images), method=method, fps=fps)
    for number, of_one_shot in groupby(numbered, key=itemgetter(1)):
        shot = (image for image, _ in of_one_shot)
        for image in shot if faces is None else faces.around(shot):
            yield _framed(image, info, None if faces is None else faces.window), number


def frame_images(images: list[Image], info: ModelInfo) -> Image:
    """Pictures, RGB uint8 [h, w, 3], as the model's footage (cropped around the face of the first): [N, H, W, 3].

    Raises:
        V2VError: the model's frames are cropped around faces, and the first picture shows none.
    """
    around = None
    if crop_of(info) == "face":
        landmarks = _open_face(info)(images[0])
        if landmarks is None:
            raise V2VError("No face was found in the first of the first frames.", "Give pictures that show a face.")
        around = face_window(landmarks, images[0].shape[1], images[0].shape[0])
    return np.stack([_framed(image, info, around) for image in images])


def crop_of(info: ModelInfo) -> str:
    """What `ingest --crop` was for the model's footage."""
    return str(info.frames.get("crop", "none"))


def _open_face(info: ModelInfo) -> FaceEstimator:
    """The estimator by which `ingest` found the faces of the model's footage."""
    return open_face({"face": info.frames.get("face"), "weights": info.frames.get("face_weights")})


def _framed(image: Image, info: ModelInfo, window: Window | None) -> Image:
    size = (info.width, info.height)
    return reframe(image, window or crop_window(crop_of(info), image.shape[1], image.shape[0], size), size)
