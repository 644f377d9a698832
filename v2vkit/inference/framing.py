"""Pictures that drive a model, cropped and resized as `ingest` did with the footage that it was trained on."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby, islice
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.smoothing import HOLD_FRAMES
from v2vkit.errors import V2VError
from v2vkit.estimators.base import FaceEstimator
from v2vkit.inference.live import open_face, open_placement
from v2vkit.video.cuts import CutMethod, number_shots
from v2vkit.video.framing import Window, crop_window, face_window, reframe

Image = NDArray[np.uint8]


Locate = Callable[[Image], Window | None]
"""RGB uint8 [H, W, 3] -> the window of its shot; None = this picture does not tell."""


@dataclass
class ShotWindow:
    """Where the shots of a video are cropped: each by the first of its pictures that tells, as clips are for training.

    Attributes:
        locate: what finds it.
        window: of the shot before; of the first picture of all that tells at first.
    """

    locate: Locate
    window: Window

    def around(self, shot: Iterator[Image]) -> Iterator[Image]:
        """The same frames, `window` set to what is to be kept of them.

        It stays as it is where none of the first `HOLD_FRAMES` frames tells, so that the look-ahead is bounded.
        """
        seen: list[Image] = []
        for image in islice(shot, HOLD_FRAMES):
            seen.append(image)
            found = self.locate(image)
            if found is not None:
                self.window = found
                break
        return chain(seen, shot)


def open_shot_window(
    info: ModelInfo, path: str, images: Iterable[Image], *, align: bool = False, device: str = "cpu"
) -> ShotWindow | None:
    """For a model whose footage was cropped around faces, and to `align`; None where every shot is framed alike.

    Args:
        path: the video or folder of pictures, for messages.
        images: its frames, RGB uint8 [h, w, 3], which are read up to the first that tells.
        align: zoom and shift each shot so that its face or body is as large and where the footage's mostly was.
        device: where what finds it runs, as in `open_live`.

    Raises:
        V2VError: the estimator is missing, the video shows no face or body, or the model does not tell where its
            footage had them.
    """
    if not align and crop_of(info) != "face":
        return None
    locate = _locator(info, align=align, device=device)
    found = next((window for image in images if (window := locate(image)) is not None), None)
    if found is None:
        what = info.conditioning.nothing.removeprefix("no ")
        raise V2VError(f"No {what} was found in {path}.", f"Drive this model with footage that shows a {what}.")
    return ShotWindow(locate, found)


def _locator(info: ModelInfo, *, align: bool, device: str) -> Locate:
    find = _open_face(info) if crop_of(info) == "face" else None
    size = (info.width, info.height)

    def ordinary(image: Image) -> Window | None:
        height, width = image.shape[:2]
        if find is None:
            return crop_window(crop_of(info), width, height, size)
        landmarks = find(image)
        return None if landmarks is None else face_window(landmarks, width, height)

    if not align:
        return ordinary
    place = open_placement(info, device=device)
    wanted = info.placement
    if wanted is None:
        raise V2VError(
            "This model does not tell where its footage had its subject: it is imported, or of an earlier version.",
            "Render without --align, or train it again.",
        )

    def aligned(image: Image) -> Window | None:
        window = ordinary(image)
        if window is None:
            return None
        here = place(reframe(image, window, size))
        return None if here is None else align_window(window, here, wanted, size)

    return aligned


def align_window(window: Window, here: Placement, wanted: Placement, size: tuple[int, int]) -> Window:
    """The window in which a subject is where, and as large as, it is wanted; it may reach beyond the picture.

    Args:
        window: of the picture, in which the subject is `here` once it is resized to `size` (width, height).
        wanted: in pixels of `size`, too.
    """
    zoom = here.size / wanted.size  # pixels of `size` now, for one then
    across, down = window.width / size[0], window.height / size[1]
    return Window(
        round(window.x + (here.x - wanted.x * zoom) * across),
        round(window.y + (here.y - wanted.y * zoom) * down),
        max(1, round(window.width * zoom)),
        max(1, round(window.height * zoom)),
    )


def framed_shots(
    images: Iterable[Image], info: ModelInfo, windows: ShotWindow | None, *, method: CutMethod, fps: Fraction
) -> Iterator[tuple[Image, int]]:
    """Frames as the model's footage, RGB uint8 [H, W, 3], each with the number of its shot.

    Cuts are looked for in the whole pictures, as `ingest` does.

    Args:
        images: consecutive frames, RGB uint8 [h, w, 3].
        windows: from `open_shot_window`.
        method, fps: as in `number_shots`.
    """
    numbered = number_shots(((image, image) for image in images), method=method, fps=fps)
    for number, of_one_shot in groupby(numbered, key=itemgetter(1)):
        shot = (image for image, _ in of_one_shot)
        for image in shot if windows is None else windows.around(shot):
            yield _framed(image, info, None if windows is None else windows.window), number


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


def squeezed(info: ModelInfo, path: str, width: int, height: int) -> str | None:
    """Tells when a driver of that size changes its aspect by more than 2 % to that of the model's footage.

    None where it does not, or where the model does not know what its footage was (it may have been squeezed, too).
    """
    known = "size" in info.frames and info.frames["size"] is None and crop_of(info) == "none"
    if not known or abs(width * info.height / (height * info.width) - 1) <= 0.02:
        return None
    return (
        f"{path} is {width}x{height}: squeezed to {info.width}x{info.height}, the aspect of the training's footage; "
        "crop it to that aspect first to keep its shapes."
    )


def _open_face(info: ModelInfo) -> FaceEstimator:
    """The estimator by which `ingest` found the faces of the model's footage."""
    return open_face({"face": info.frames.get("face"), "weights": info.frames.get("face_weights")})


def _framed(image: Image, info: ModelInfo, window: Window | None) -> Image:
    size = (info.width, info.height)
    return reframe(image, window or crop_window(crop_of(info), image.shape[1], image.shape[0], size), size)
