"""Writes a study: clips with random names, the page and the key. The folder appears only when it is complete."""

import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from v2vkit.artifacts.folder import explain_os_errors
from v2vkit.errors import V2VError
from v2vkit.evaluation.study.key import DEGRADED, PUBLIC, REAL, Key, Side, Trial, write_key
from v2vkit.evaluation.study.page_files import write_page
from v2vkit.evaluation.study.pairing import Clip
from v2vkit.progress import tracked
from v2vkit.video.encode import VideoWriter
from v2vkit.video.footage import read_frames
from v2vkit.video.targets import check_parent, refuse_unreplaceable, refuse_url, remove_abandoned, temporary_name

_BLOCKS = 16
"""Number of blocks along the shorter side of a degraded copy, at any size."""
_HELD = 4
"""Number of frames for which a degraded copy shows the same frame."""
_STAMP = 946684800
"""Modification time of all clips (2000-01-01), so that a listing does not reveal the order of the methods."""


def check_out(path: str | Path) -> None:
    """Check that a study can be written to this folder, without overwriting anything: answers are irreplaceable.

    Raises:
        V2VError: it is a URL, a file or a folder that is not empty, or it cannot be created.
    """
    refuse_url(path)
    with explain_os_errors(str(path)):
        refuse_unreplaceable(path)
        target = Path(path)
        if target.exists() and not target.is_dir():
            raise V2VError(
                "folder-required", f"{path} is a file, and the study needs a folder.", "Name another one with --out."
            )
        if target.is_dir() and any(target.iterdir()):
            raise V2VError(
                "folder-not-empty",
                f"The folder {path} is not empty.",
                "Name a new one with --out; a study is never written over another.",
            )
        check_parent(target.resolve(), later=True)


def write_study(out: str | Path, key: Key, clips: Sequence[Clip], real: Sequence[Clip] = (), *, crf: int) -> None:
    """Encode the clips of all trials as H.264 .mp4 without sound, and write page and key.

    Args:
        out: the folder; absent or empty.
        key: the key of the study.
        clips: the clips of the methods; the trials refer to their names.
        real: real clips of the attention checks.
        crf: quality of the encoder (constant rate factor), the same for all.

    Raises:
        V2VError: a clip cannot be read or has fewer frames than its header says, or the disk is full.
    """
    check_out(out)
    target = Path(out).resolve()
    temporary = temporary_name(target)
    with explain_os_errors(str(out)):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target)
        try:
            folder = temporary / PUBLIC / "clips"
            folder.mkdir(parents=True)
            _write_clips(folder, key.trials, clips, real, crf)
            write_page(temporary / PUBLIC, key)
            write_key(temporary, key)
            if target.exists():
                target.rmdir()  # empty, or this fails
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_clips(folder: Path, trials: Sequence[Trial], clips: Sequence[Clip], real: Sequence[Clip], crf: int) -> None:
    """Each clip of a method is encoded once and copied where it is shown again."""
    named, named_real = ({clip.name: clip for clip in some} for some in (clips, real))
    done: dict[tuple[str, str], Path] = {}
    sides = [(trial, side) for trial in trials for side in (trial.left, trial.right)]
    for trial, side in tracked(sides, total=len(sides), desc="study", unit="clip"):
        path = folder / f"{side.id}.mp4"
        clip = (named_real if trial.kind == "real" else named)[trial.clip]
        first = done.setdefault((side.method, trial.clip), path)
        if first is path:
            _encode(path, clip, side, crf)
        else:
            shutil.copyfile(first, path)
        os.utime(path, (_STAMP, _STAMP))


def _encode(path: Path, clip: Clip, side: Side, crf: int) -> None:
    source = clip.sources[REAL if side.method == DEGRADED else side.method]
    frames: Iterator[NDArray[np.uint8]] = (
        frame.image for frame in read_frames(source, 0, clip.num_frames, fps=clip.fps)
    )
    if side.method == DEGRADED:
        frames = degrade(frames)
    with VideoWriter(path, fps=clip.fps, crf=crf) as writer:
        for image in islice(frames, clip.num_frames):
            writer.write(image)
        if writer.num_frames < clip.num_frames:
            raise V2VError(
                "video-damaged",
                f"{source.path} has {writer.num_frames} frames, but was expected to have at least {clip.num_frames}.",
                "Copy or render the file again.",
            )


def degrade(frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Obviously degraded copies of RGB uint8 [H, W, 3] frames: coarse blocks and a low frame rate."""
    held: NDArray[np.uint8] | None = None
    for index, image in enumerate(frames):
        if held is None or index % _HELD == 0:
            height, width = image.shape[:2]
            scale = _BLOCKS / min(height, width)
            small = (max(1, round(width * scale)), max(1, round(height * scale)))
            coarse = Image.fromarray(image).resize(small, Image.Resampling.BOX)
            held = np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST))
        yield held
