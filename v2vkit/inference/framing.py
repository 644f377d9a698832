"""Crops and resizes the frames of a source as `ingest` did with the model's training footage."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby, islice
from operator import attrgetter

import numpy as np

from v2vkit.arrays import Image
from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.smoothing import HOLD_FRAMES
from v2vkit.errors import V2VError
from v2vkit.estimators.base import FaceEstimator
from v2vkit.inference.estimated_maps import open_face, open_placement
from v2vkit.video.framing import Window, crop_window, face_window, reframe
from v2vkit.video.stream import InputFrame, Source, image_of

Locate = Callable[[Image], Window | None]
"""RGB uint8 [H, W, 3] -> crop window of its shot; None = no subject found in this frame."""


def open_locator(info: ModelInfo, *, align: bool = False, device: str = "cpu") -> Locate | None:
    """Opens the function that finds the crop window of a shot; None where the crop does not depend on the frames.

    Args:
        info: description of the model.
        align: shift and zoom each shot so that its face or body has the position and size typical of the training
            footage.
        device: where the estimator runs, as in `open_map_maker`.

    Raises:
        V2VError: the estimator is missing, or the model has no `placement`.
    """
    return _locator(info, align=align, device=device) if align or crop_of(info) == "face" else None


def crop_shots(
    source: Source,
    frames: Iterable[InputFrame],
    info: ModelInfo,
    locate: Locate | None,
    *,
    keep_original: bool = False,
) -> Iterator[InputFrame]:
    """The frames cropped and resized as the model's footage was, with one window for each shot.

    As in training, the first frame of a shot in which the subject is found decides. If none of the first `HOLD_FRAMES`
    shows it (a bounded look-ahead), the window of the shot before is kept. In the first shot, it is the window of the
    first such frame in the whole source, which is read a second time for that. A source that cannot be read twice is
    cropped to its middle up to that frame.

    Args:
        source: the source of the frames.
        frames: RGB uint8 [h, w, 3] each, with the numbers of their shots.
        locate: from `open_locator`.
        keep_original: keep the uncropped picture and the crop window with each frame.

    Raises:
        V2VError: the subject is found in no frame.
    """
    if locate is None:
        yield from (_framed(frame, info, None, keep_original) for frame in frames)
        return
    window: Window | None = None
    for _, shot in groupby(frames, key=attrgetter("shot")):
        found, shot_frames = look_ahead(shot, locate)
        if found is None and window is None and source.repeatable:
            found = next((place for frame in source.frames() if (place := locate(image_of(frame))) is not None), None)
            if found is None:
                raise _nothing_found(source, info)
        window = found or window
        for frame in shot_frames:
            window = window or locate(image_of(frame))
            yield _framed(frame, info, window, keep_original)
    if window is None:
        raise _nothing_found(source, info)


def crop_causally(frames: Iterable[InputFrame], info: ModelInfo, locate: Locate | None) -> Iterator[InputFrame]:
    """The frames cropped and resized as the model's footage was, each before the next one is read.

    The first frame in which the subject is found decides the window of all later ones. Frames before it are cropped to
    their middle.

    Args:
        frames, locate: as in `crop_shots`.
    """
    window: Window | None = None
    for frame in frames:
        if locate is not None and window is None:
            window = locate(image_of(frame))
        yield _framed(frame, info, window)


def look_ahead(shot: Iterable[InputFrame], locate: Locate) -> tuple[Window | None, Iterator[InputFrame]]:
    """The window found in the first `HOLD_FRAMES` frames of a shot (None if there is none), and all its frames."""
    frames = iter(shot)
    seen: list[InputFrame] = []
    for frame in islice(frames, HOLD_FRAMES):
        seen.append(frame)
        found = locate(image_of(frame))
        if found is not None:
            return found, chain(seen, frames)
    return None, chain(seen, frames)


def _nothing_found(source: Source, info: ModelInfo) -> V2VError:
    what = info.conditioning.nothing.removeprefix("no ")
    return V2VError("subject-missing", f"No {what} was found in {source.name}.", f"Give footage that shows a {what}.")


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
            "alignment-unsupported",
            "This model does not store where its training footage had its subject: it is imported, or older.",
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
    """The crop window that gives the subject the wanted position and size; it may reach beyond the picture.

    Args:
        window: the crop window now.
        here: the subject in that window, in pixels of `size`.
        wanted: where it should be, in pixels of `size`.
        size: width and height after resizing.
    """
    zoom = here.size / wanted.size
    across, down = window.width / size[0], window.height / size[1]
    return Window(
        round(window.x + (here.x - wanted.x * zoom) * across),
        round(window.y + (here.y - wanted.y * zoom) * down),
        max(1, round(window.width * zoom)),
        max(1, round(window.height * zoom)),
    )


def frame_images(images: list[Image], info: ModelInfo) -> Image:
    """Pictures, RGB uint8 [h, w, 3], cropped and resized as the model's footage was: [N, H, W, 3].

    Crops around faces use the face of the first picture for all.

    Raises:
        V2VError: the crop is around faces, and the first picture shows none.
    """
    around = None
    if crop_of(info) == "face":
        landmarks = _open_face(info)(images[0])
        if landmarks is None:
            raise V2VError(
                "subject-missing",
                "No face was found in the first picture of the first frames.",
                "Give pictures that show a face.",
            )
        around = face_window(landmarks, images[0].shape[1], images[0].shape[0])
    return np.stack([_cropped(image, info, around) for image in images])


def crop_of(info: ModelInfo) -> str:
    """The value of `ingest --crop` for the model's footage."""
    return str(info.frames.get("crop", "none"))


def squeezed(info: ModelInfo, source: Source) -> str | None:
    """A warning if resizing to the model's size changes the aspect ratio of the source by more than 2 %.

    None if it does not, or if the model does not know the original aspect ratio of its footage.
    """
    known = "size" in info.frames and info.frames["size"] is None and crop_of(info) == "none"
    if not known or abs(source.width * info.height / (source.height * info.width) - 1) <= 0.02:
        return None
    return (
        f"{source.name} is {source.width}x{source.height} and is squeezed to {info.width}x{info.height}, the aspect "
        "ratio of the training footage; to avoid the distortion, crop it to that aspect ratio first."
    )


def _open_face(info: ModelInfo) -> FaceEstimator:
    """The estimator with which `ingest` found the faces of the model's footage."""
    return open_face({"face": info.frames.get("face"), "weights": info.frames.get("face_weights")})


def _framed(frame: InputFrame, info: ModelInfo, window: Window | None, keep_original: bool = False) -> InputFrame:
    image = image_of(frame)
    if keep_original:
        frame = replace(frame, original=image, window=window or _usual_window(image, info))
    return replace(frame, image=_cropped(image, info, window))


def _cropped(image: Image, info: ModelInfo, window: Window | None) -> Image:
    """The window resized to the model's size; without a window, the crop of `ingest --crop`."""
    return reframe(image, window or _usual_window(image, info), (info.width, info.height))


def _usual_window(image: Image, info: ModelInfo) -> Window:
    return crop_window(crop_of(info), image.shape[1], image.shape[0], (info.width, info.height))
