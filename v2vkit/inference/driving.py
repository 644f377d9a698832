"""What drives a rendering: a stream of source maps, one per frame, prepared exactly as for training."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from v2vkit.checkpoint.model_file import ModelInfo
from v2vkit.conditions.regions import Regions
from v2vkit.engine.threads import prefetch
from v2vkit.inference.framing import ShotWindow, framed_shots, open_shot_window, squeezed
from v2vkit.inference.live import Live, open_live
from v2vkit.inference.styles import Style
from v2vkit.video.audio import Span
from v2vkit.video.cuts import CutMethod
from v2vkit.video.decode import decode
from v2vkit.video.footage import describe, read_frames
from v2vkit.video.limits import Limits, find_part
from v2vkit.video.probe import probe
from v2vkit.video.sources import find_sequence

Image = NDArray[np.uint8]


_LATE = 10
"""Seconds on a file's clock from which its beginning means nothing (broadcasts are hours into theirs): what is rendered
of it begins at zero."""


@dataclass(frozen=True)
class Driven:
    """One frame to render.

    Attributes:
        s: source map float32 [C, H, W] in [0, 1].
        image: the driving frame, RGB uint8 [H, W, 3]; None where only maps were given.
        pts: time stamp in ticks of the drive's time base; None = constant rate.
        duration: ticks for which it is shown if it is the last frame; None = as long as frames are on average.
        begins: the first frame of a video or of a shot: nothing before it belongs to it.
        flow: backward flow in pixels and confidence, float32 [3, H, W], for generators that take them; None = none is
            given.
        regions: `v2vkit.conditions.regions` of this frame, int32 [H, W]; None where the model has none.
    """

    s: NDArray[np.float32]
    image: Image | None = None
    pts: int | None = None
    begins: bool = False
    flow: NDArray[np.float32] | None = None
    regions: Regions | None = None
    duration: int | None = None

    def conditioning(self, style: Style | None) -> NDArray[np.float32]:
        """What the frame is made from: source map, features in that style, then the flow where it is given."""
        assert style is None or self.regions is not None, "features need regions"
        features = None if style is None or self.regions is None else style.paint(self.regions)
        parts = [part for part in (self.s, features, self.flow) if part is not None]
        return np.concatenate(parts) if len(parts) > 1 else self.s


@dataclass
class Drive:
    """A stream of `Driven` frames, each made when it is asked for, and what the output file needs to know about it.

    Attributes:
        fps: average frame rate; `time_base` = seconds per tick of `pts`, None for a constant rate.
        num_frames: how many there will be; None when the container does not tell.
        audio_from: file whose audio belongs to these frames.
        audio_span: the part of it that does, as `VideoWriter` takes it.
        missing: reason -> number of frames without a proper source map, complete at the end of the stream.
        note: a sentence on what its user should know before judging the rendering.
    """

    frames: Iterator[Driven]
    fps: Fraction
    time_base: Fraction | None = None
    num_frames: int | None = None
    audio_from: str | None = None
    audio_span: Span = (None, None)
    missing: dict[str, int] = field(default_factory=dict)
    note: str | None = None


def drive_by_video(
    path: str,
    info: ModelInfo,
    *,
    start: float = 0.0,
    duration: float | None = None,
    cuts: CutMethod | None = None,
    align: bool = False,
    device: str = "cpu",
) -> Drive:
    """Drive a model with a video: decode, crop and resize as `ingest` did, estimate and draw as the stage
    of the model's maps did (`v2vkit.inference.live`), in constant memory.

    Shots are told apart as `ingest` did, too: each `begins` anew, has a crop of its own around its face, and nothing is
    followed from one into the next.

    Args:
        path: the driving video.
        start, duration: the part to use, in seconds.
        cuts: how shots are told apart; None = as for the training footage.
        align: zoom and shift each shot as `open_shot_window` does.
        device: where the estimator runs, as in `open_live`.

    Raises:
        V2VError: the video cannot be read, no frames lie in that part, the model needs maps that no estimator makes
            here, the estimator is missing, or as `open_shot_window`.
    """
    live = open_live(info, path, device=device)
    video = probe(path)
    part = find_part(path, Limits.typed(start, duration, None))
    late = video.start > _LATE
    first, last = part.start, part.stop
    windows = open_shot_window(info, path, (frame.image for frame in decode(path, first)), align=align, device=device)
    drive = Drive(
        frames=iter(()),
        fps=video.fps,
        time_base=video.time_base,
        num_frames=None if video.num_frames is None else max(0, min(video.num_frames, last or 1 << 62) - first),
        audio_from=path if video.has_audio else None,
        audio_span=(video.start if late else None, part.span[1]) if part.whole else part.span,
        note=squeezed(info, path, video.width, video.height),
    )
    end = part.span[1]
    times: list[tuple[int, int | None]] = []

    def pictures() -> Iterator[Image]:
        for frame in decode(path, first, last, start_pts=part.start_pts):
            cut = end is not None and frame.index + 1 == last
            times.append((frame.pts, round(end / frame.time_base) - frame.pts if end and cut else frame.duration))
            yield frame.image

    def timed() -> Iterator[Driven]:
        origin = None
        for driven in _driven(drive, pictures(), live, info, windows, cuts):
            pts, duration = times.pop(0)
            origin = pts if origin is None and (late or not part.whole) else origin
            yield replace(driven, pts=pts - (origin or 0), duration=duration)

    drive.frames = timed()
    return drive


def drive_by_images(
    path: str,
    info: ModelInfo,
    *,
    fps: Fraction | None = None,
    cuts: CutMethod | None = None,
    align: bool = False,
    device: str = "cpu",
) -> Drive:
    """Drive a model with a folder of pictures, read as `ingest` reads them, or with a single one, as with a video.

    Args:
        path: the folder, or the picture.
        fps: rate of the pictures; None = that of the model's footage.
        cuts, align, device: as in `drive_by_video`.

    Raises:
        V2VError: as `drive_by_video`, or as `find_sequence`.
    """
    live = open_live(info, path, device=device)
    source, fps = find_sequence(path), fps or info.rate
    footage = describe(source, fps=fps)

    def pictures() -> Iterator[Image]:
        return (frame.image for frame in read_frames(source, fps=fps))

    windows = open_shot_window(info, path, pictures(), align=align, device=device)
    note = squeezed(info, path, footage.width, footage.height)
    drive = Drive(frames=iter(()), fps=fps, num_frames=footage.num_frames, note=note)
    drive.frames = _driven(drive, pictures(), live, info, windows, cuts)
    return drive


def _driven(
    drive: Drive,
    pictures: Iterator[Image],
    live: Live,
    info: ModelInfo,
    windows: ShotWindow | None,
    cuts: CutMethod | None,
) -> Iterator[Driven]:
    """What drives a model with each of the pictures, without times; counts in `drive` what was not found in them."""
    nothing = info.conditioning.nothing
    method: CutMethod = cuts or info.frames.get("cuts", "adaptive")
    framed = framed_shots(pictures, info, windows, method=method, fps=drive.fps)
    for _, shot in groupby(prefetch(framed), key=itemgetter(1)):
        for t, (image, s, regions, found) in enumerate(live(image for image, _ in shot)):
            if not found:
                drive.missing[nothing] = drive.missing.get(nothing, 0) + 1
            yield Driven(s, image, begins=t == 0, regions=regions)
