"""Paired pictures: one picture of another look for each frame of a source."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError, counted
from v2vkit.video.container import open_video
from v2vkit.video.decode import decode
from v2vkit.video.footage import Footage, describe, read_frames
from v2vkit.video.images import read_image
from v2vkit.video.label_files import Maps, match_maps
from v2vkit.video.seeking import packet_stamps
from v2vkit.video.sources import VIDEO_ENDINGS, SourceFiles, explain_read_errors, find_sources
from v2vkit.video.subsampling import only

_NOTICEABLE = Fraction(102, 100)
"""Ratio from which aspect ratios or frame rates count as different."""


@dataclass(frozen=True)
class Pictures:
    """The pictures that are paired with the frames of one source.

    Attributes:
        source: a video, or images in the order of the frames.
        width, height: of its pictures; may differ from the frames', but not in aspect ratio.
        ticks: time stamps of a video's frames if it can be sought by them.
    """

    source: SourceFiles
    width: int
    height: int
    ticks: tuple[int, ...] = ()


def find_pictures(source: SourceFiles, root: str, *, several: bool) -> SourceFiles:
    """The video or folder below `root` with the name of the source; for a single source, `root` itself by default.

    Args:
        source: a video or image sequence.
        root: the video or folder that the user gave.
        several: there are several sources.

    Raises:
        V2VError: nothing has that name, or it is not exactly one video or image sequence.
    """
    place = Path(root)
    with explain_read_errors(root):
        own = place / source.stem
        named = [own.with_name(f"{own.name}{ending}") for ending in sorted(VIDEO_ENDINGS)]
        found = [path for path in (own, *named) if path.exists()] if place.is_dir() else []
        if not place.exists():
            raise V2VError(
                "file-missing", f"{root} does not exist.", "Give the video or folder of the pictures with --picture."
            )
        if several and not found:
            what = "has no video or folder of that name" if place.is_dir() else "is not a folder"
            raise V2VError(
                "source-ambiguous",
                f"There are several sources, and the pictures of {source.stem} are missing: {root} {what}.",
                f"Give --picture a folder that holds {source.stem} or {source.stem}.mp4, and so on for every source.",
            )
    if len(found) > 1:
        raise V2VError(
            "source-ambiguous", f"{root} holds both {found[0].name} and {found[1].name}.", "Remove one of them."
        )
    chosen = str(found[0]) if found else root
    sources = find_sources([chosen])
    if len(sources) > 1:
        raise V2VError(
            "source-ambiguous",
            f"{chosen} holds {len(sources)} videos or folders of images; the pictures of {source.stem} are ambiguous.",
            f"Name one of them {source.stem}, as the source.",
        )
    return sources[0]


def open_pictures(source: SourceFiles, footage: Footage, pictures: SourceFiles) -> Pictures:
    """Opens paired pictures and checks their aspect ratio and, if both are videos, their frame rate.

    Args:
        source, footage: the source that they are paired with.
        pictures: result of `find_pictures`.

    Raises:
        V2VError: these differ by more than 2 %, or the pictures cannot be read.
    """
    other = describe(pictures, fps=footage.fps)
    aspects = Fraction(footage.width, footage.height), Fraction(other.width, other.height)
    if max(aspects) > min(aspects) * _NOTICEABLE:
        raise V2VError(
            "aspect-mismatch",
            f"The frames of {source.path} are {footage.width}x{footage.height}, but the pictures of {pictures.path} "
            f"are {other.width}x{other.height}, which is another aspect ratio.",
            "Pictures may be smaller or larger than their frames, but must show the same part of the scene.",
        )
    if (
        not source.images
        and not pictures.images
        and max(footage.fps, other.fps) > min(footage.fps, other.fps) * (_NOTICEABLE)
    ):
        raise V2VError(
            "frame-rate-mismatch",
            f"{source.path} has {float(footage.fps):g} frames per second, but {pictures.path} {float(other.fps):g}.",
            "Frame n of one must show the same moment as frame n of the other.",
        )
    return Pictures(pictures, other.width, other.height)


def match_pictures(source: SourceFiles, num_frames: int, pictures: Pictures) -> Pictures:
    """The same pictures, one for each frame: images are paired as by `match_maps`, videos by frame number.

    Raises:
        V2VError: a frame without picture, a picture without frame, or different counts.
    """
    of = pictures.source
    if of.images:
        matched = match_maps(source, num_frames, Maps("picture", of.path, of.images))
        return replace(pictures, source=SourceFiles(of.path, matched.names))
    ticks, exact = _time_stamps(of.path)
    if len(ticks) != num_frames:
        raise V2VError(
            "frame-count-mismatch",
            f"{source.path} has {counted(num_frames, 'frame')}, but {of.path} has {len(ticks)}.",
            "There must be one picture per frame.",
        )
    return replace(pictures, ticks=ticks if exact else ())


def _time_stamps(path: str) -> tuple[tuple[int, ...], bool]:
    """The time stamps of a video's frames in ticks, and whether none of them had to be repaired."""
    with open_video(path, threads=False) as video:
        found = packet_stamps(video)
    if found is not None:
        return tuple(sorted(found)), True
    frames = [(frame.pts, frame.repaired) for frame in decode(path)]
    return tuple(pts for pts, _ in frames), not any(repaired for _, repaired in frames)


def read_pictures(
    source: SourceFiles, frames: Sequence[int], *, fps: Fraction, start_pts: int | None = None
) -> Iterator[NDArray[np.uint8]]:
    """The pictures of the frames with these numbers, RGB uint8 [h, w, 3].

    Args:
        source: a video, or only the images of these frames.
        frames: ascending.
        fps: rate of the frames.
        start_pts: time stamp of the first of them, from `Pictures.ticks`.

    Raises:
        V2VError: the video or an image cannot be read.
    """
    if source.images:
        yield from (read_image(source.image_path(number)) for number in range(len(source.images)))
        return
    every = read_frames(source, frames[0], frames[-1] + 1, fps=fps, threads=False, start_pts=start_pts)
    yield from (frame.image for frame in only(every, list(frames)))
