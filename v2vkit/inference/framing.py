"""Frames of a source, cropped and resized as `ingest` did with the footage that the model was trained on."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby, islice
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.alignment import Placement
from v2vkit.conditions.smoothing import HOLD_FRAMES
from v2vkit.errors import V2VError
from v2vkit.estimators.base import FaceEstimator
from v2vkit.inference.live import open_face, open_placement
from v2vkit.video.framing import Window, crop_window, face_window, reframe
from v2vkit.video.stream import InputFrame, Source, image_of

Image = NDArray[np.uint8]


Locate = Callable[[Image], Window | None]
"""RGB uint8 [H, W, 3] -> the window of its shot; None = this picture does not tell."""


def open_locator(info: ModelInfo, *, align: bool = False, device: str = "cpu") -> Locate | None:
    """What finds where a shot is cropped; None where every shot is framed alike.

    Args:
        info: of a model whose footage was cropped around faces, or of any one with `align`.
        align: zoom and shift each shot so that its face or body is as large and where the footage's mostly was.
        device: where the estimator runs, as in `open_live`.

    Raises:
        V2VError: the estimator is missing, or the model does not tell where its footage had its subject.
    """
    return _locator(info, align=align, device=device) if align or crop_of(info) == "face" else None


def crop_shots(
    source: Source, frames: Iterable[InputFrame], info: ModelInfo, locate: Locate | None
) -> Iterator[InputFrame]:
    """The frames cropped and resized as the model's footage was, each shot in a window of its own.

    The first of a shot's frames that tells decides, as for training. Where none of the first `HOLD_FRAMES` does, so
    that the look-ahead is bounded, the window of the shot before is kept. Where there is none yet, it is that of the
    first frame that tells in the whole source, which is read once more for that; what cannot be read twice keeps its
    middle up to that frame.

    Args:
        source: the source of the frames.
        frames: RGB uint8 [h, w, 3] each, with the numbers of their shots.
        locate: from `open_locator`; None = every shot is framed alike.

    Raises:
        V2VError: no frame tells.
    """
    if locate is None:
        yield from (_framed(frame, info, None) for frame in frames)
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
            yield _framed(frame, info, window)
    if window is None:
        raise _nothing_found(source, info)


def look_ahead(shot: Iterable[InputFrame], locate: Locate) -> tuple[Window | None, Iterator[InputFrame]]:
    """The window that the first frames of a shot tell, None if `HOLD_FRAMES` of them do not; and all of its frames."""
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


def frame_images(images: list[Image], info: ModelInfo) -> Image:
    """Pictures, RGB uint8 [h, w, 3], as the model's footage (cropped around the face of the first): [N, H, W, 3].

    Raises:
        V2VError: the model's frames are cropped around faces, and the first picture shows none.
    """
    around = None
    if crop_of(info) == "face":
        landmarks = _open_face(info)(images[0])
        if landmarks is None:
            raise V2VError(
                "subject-missing",
                "No face was found in the first of the first frames.",
                "Give pictures that show a face.",
            )
        around = face_window(landmarks, images[0].shape[1], images[0].shape[0])
    return np.stack([_cropped(image, info, around) for image in images])


def crop_of(info: ModelInfo) -> str:
    """What `ingest --crop` was for the model's footage."""
    return str(info.frames.get("crop", "none"))


def squeezed(info: ModelInfo, source: Source) -> str | None:
    """Tells when the frames of a source change their aspect by more than 2 % to that of the model's footage.

    None where they do not, or where the model does not know what its footage was (it may have been squeezed, too).
    """
    known = "size" in info.frames and info.frames["size"] is None and crop_of(info) == "none"
    if not known or abs(source.width * info.height / (source.height * info.width) - 1) <= 0.02:
        return None
    return (
        f"{source.name} is {source.width}x{source.height}: squeezed to {info.width}x{info.height}, the aspect of the "
        "training's footage; crop it to that aspect first to keep its shapes."
    )


def _open_face(info: ModelInfo) -> FaceEstimator:
    """The estimator by which `ingest` found the faces of the model's footage."""
    return open_face({"face": info.frames.get("face"), "weights": info.frames.get("face_weights")})


def _framed(frame: InputFrame, info: ModelInfo, window: Window | None) -> InputFrame:
    return replace(frame, image=_cropped(image_of(frame), info, window))


def _cropped(image: Image, info: ModelInfo, window: Window | None) -> Image:
    """What the window holds at the model's size; without a window, what `ingest --crop` keeps."""
    size = (info.width, info.height)
    return reframe(image, window or crop_window(crop_of(info), image.shape[1], image.shape[0], size), size)
