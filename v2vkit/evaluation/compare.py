"""Compares the outputs of methods and baselines with the real frames of a clip, frame by frame.

Only the current and the previous frame of each video are in memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.estimators.base import FaceEstimator
from v2vkit.evaluation.metrics import landmark_error, ms_ssim, psnr, ssim, warp_error

Image = NDArray[np.uint8]
FloatMap = NDArray[np.float32]
T = TypeVar("T")

OURS = "ours"
REPEAT = "repeat first frame"
SOURCE = "source shown as is"
REAL = "real frames"
REAL_COARSE = "real frames, as coarse"


@dataclass(frozen=True)
class Row:
    """The metrics of one method on one frame; None where a metric does not apply.

    Attributes:
        clip, frame: name of the clip, and number of the frame in it.
        method: `OURS`, `REPEAT`, `SOURCE`, `REAL_COARSE`, or `REAL` (which has only the metrics without a reference
            frame).
        psnr, ssim, ms_ssim, warp_error, landmark_error: see `metrics`.
        face_missed: a face was expected and none was found.
        shot: name of the first clip of its shot.
        offset: number of frames of the shot before the clip.
    """

    clip: str
    frame: int
    method: str
    psnr: float | None = None
    ssim: float | None = None
    ms_ssim: float | None = None
    warp_error: float | None = None
    landmark_error: float | None = None
    face_missed: bool = False
    shot: str = ""
    offset: int = 0

    @property
    def time(self) -> int:
        """Number of the frame in its shot."""
        return self.offset + self.frame


@dataclass(frozen=True)
class Before:
    """The part of a shot before a clip: its first clip, its number of frames, its first real frame."""

    shot: str
    num_frames: int
    first: Image


def evaluate_clip(
    clip: str,
    real: Iterable[Image],
    methods: Mapping[str, Iterable[Image]],
    *,
    before: Before | None = None,
    flow: Iterable[tuple[FloatMap, FloatMap] | None] | None = None,
    landmarks: Iterable[FloatMap | None] | None = None,
    face: FaceEstimator | None = None,
    skip_first: int = 1,
) -> list[Row]:
    """Computes the metrics of every method on every frame of one clip.

    `REPEAT` (the shot's first real frame, repeated) and `REAL` are added. All inputs are read once, frame by frame.

    Args:
        clip: name of the clip.
        real: the real frames, RGB uint8 [H, W, 3].
        methods: method -> its frames, of the same number and size (`OURS`, `SOURCE`, `REAL_COARSE`).
        before: the part of the shot before this clip; None if the clip begins a shot.
        flow: for each frame, backward flow of the real video into the previous frame and its confidence; None where
            there is none (first frame). Without `flow` there is no warp error.
        landmarks: for each frame, the expected landmarks [68, 2]; None where the source has no face.
        face: finds landmarks in the outputs; given if and only if `landmarks` is.
        skip_first: number of frames at the start of each shot that are not measured: at least the one that `REPEAT`
            shows, more if the model was given more real first frames.

    Raises:
        V2VError: a method, the flow or the landmarks have another number of frames or another size.
    """
    assert (landmarks is None) == (face is None), "landmarks and face go together"
    assert skip_first >= 1, "a baseline repeats the first frame"
    streams: dict[str, Iterator[Any]] = {name: iter(frames) for name, frames in methods.items()}
    extras = {"flow": flow, "landmarks": landmarks}
    streams |= {name: iter(values) for name, values in extras.items() if values is not None}
    finder = None if face is None else _Finder(face)
    rows: list[Row] = []
    previous: dict[str, Image] = {}
    first: Image | None = None if before is None else before.first
    shot, offset = (clip, 0) if before is None else (before.shot, before.num_frames)
    number = 0
    for number, frame in enumerate(real, 1):
        t = number - 1
        first = frame if first is None else first
        now = {name: _next(stream, name, clip, t) for name, stream in streams.items()}
        real_flow, expected = now.pop("flow", None), now.pop("landmarks", None)
        videos: dict[str, Image] = {**now, REPEAT: first, REAL: frame}
        for name, image in videos.items():
            if image.shape != frame.shape:
                raise V2VError(
                    "size-mismatch",
                    f"{name}: frame {t} of clip {clip} is {image.shape[1]}x{image.shape[0]}, the real one "
                    f"{frame.shape[1]}x{frame.shape[0]}.",
                    "Evaluate frames of one size.",
                )
            if offset + t >= skip_first:
                row = _measure(clip, t, name, image, frame, previous.get(name), real_flow, expected, finder)
                rows.append(replace(row, shot=shot, offset=offset))
        previous = videos
    for name, stream in streams.items():
        if next(stream, _END) is not _END:
            raise _other_length(name, clip, f"more than {number}")
    return rows


def _measure(
    clip: str,
    t: int,
    name: str,
    image: Image,
    real: Image,
    previous: Image | None,
    real_flow: tuple[FloatMap, FloatMap] | None,
    expected: FloatMap | None,
    finder: "_Finder | None",
) -> Row:
    error = None if real_flow is None or previous is None else warp_error(image, previous, *real_flow)
    distance, missed = None, False
    if finder is not None and expected is not None:
        found = finder(name, image)
        missed = found is None
        distance = None if found is None else landmark_error(found, expected)
    compared: dict[str, Any] = (
        {} if name == REAL else {"psnr": psnr(image, real), "ssim": ssim(image, real), "ms_ssim": ms_ssim(image, real)}
    )
    return Row(clip, t, name, **compared, warp_error=error, landmark_error=distance, face_missed=missed)


class _Finder:
    """The face estimator; repeated frames are estimated only once."""

    def __init__(self, face: FaceEstimator):
        self._face = face
        self._last: dict[str, tuple[Image, FloatMap | None]] = {}

    def __call__(self, name: str, image: Image) -> FloatMap | None:
        if name in self._last and self._last[name][0] is image:
            return self._last[name][1]
        found = self._face(image)
        self._last[name] = (image, found)
        return found


_END = object()


def _next(stream: Iterator[T], name: str, clip: str, t: int) -> T:
    value = next(stream, _END)
    if value is _END:
        raise _other_length(name, clip, f"only {t}")
    return value  # type: ignore[return-value]


def _other_length(name: str, clip: str, count: str) -> V2VError:
    return V2VError(
        "frame-count-mismatch",
        f"{name}: clip {clip} has {count} frames.",
        "Evaluate outputs with one frame per real frame.",
    )
