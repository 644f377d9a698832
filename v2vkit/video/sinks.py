"""Sinks of rendered frames: a video file, a folder of pictures or standard output."""

from fractions import Fraction
from types import TracebackType
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from v2vkit.errors import V2VError
from v2vkit.video.encode import VideoWriter
from v2vkit.video.outputs import FileOutput, PipeOutput
from v2vkit.video.pictures import PictureWriter, check_pictures, is_folder_target
from v2vkit.video.pipes import STANDARD, STANDARD_OUTPUT, PipeWriter, check_standard_output
from v2vkit.video.stream import AudioTrack
from v2vkit.video.targets import check_codec, check_target
from v2vkit.video.y4m import Y4mWriter

PipeFormat = Literal["matroska", "y4m"]
SinkKind = Literal["video", "pictures", "matroska", "y4m"]


class Sink(Protocol):
    """Takes frames one by one. A context manager: the output is complete after the block; an error leaves no file.

    Attributes:
        problems: sentences on what could not be copied or kept; complete after the block.
        notes: sentences on what was converted; complete after the block.
    """

    problems: list[str]
    notes: list[str]

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, image: NDArray[np.uint8], *, pts: int | None = None, duration: int | None = None) -> None:
        """Adds one frame, RGB uint8 [H, W, 3], shown at `pts` ticks; `duration` is used if it is the last one."""
        ...


def sink_kind(target: str, container: PipeFormat | None) -> SinkKind:
    """The kind of a target; `container`: the format chosen for standard output."""
    if target == STANDARD:
        return container or "matroska"
    return "pictures" if is_folder_target(target) else "video"


NO_SOUND: dict[SinkKind, str] = {"pictures": "pictures have none", "y4m": "y4m has none"}
"""Kind of sink -> why it has no sound."""
NO_METADATA: tuple[SinkKind, ...] = ("y4m",)
"""Kinds of sink that cannot store a comment (y4m: FFmpeg refuses headers of more than 96 bytes)."""


def check_sink(target: str, codec: str, container: PipeFormat | None = None) -> None:
    """Refuses targets that cannot be written, before any work; their folder may be created later.

    Raises:
        V2VError: as `check_target`, `check_pictures` or `check_standard_output`; or `container` for another target.
    """
    kind = sink_kind(target, container)
    if target == STANDARD:
        check_standard_output()
    elif container is not None:
        raise V2VError(
            "setting-conflict",
            f"--container is for standard output (TARGET {STANDARD}), which {target} is not.",
            "Leave it out.",
        )
    if kind == "pictures":
        check_pictures(target, later=True)
    elif kind == "video":
        check_target(target, later=True)
    if kind in ("video", "matroska"):
        check_codec(codec)


def open_sink(
    target: str,
    *,
    fps: Fraction,
    time_base: Fraction | None = None,
    audio: AudioTrack | None = None,
    crf: int = 18,
    codec: str = "libx264",
    container: PipeFormat | None = None,
    pipe: PipeWriter | None = None,
    comment: str | None = None,
) -> Sink:
    """The sink for a target; nothing is written before the first frame.

    Args:
        target: a video (.mp4, .mov, .mkv), a folder of pictures (see `is_folder_target`), or `-` for standard output.
        fps, time_base, crf, codec: as in `VideoWriter`; ignored for pictures.
        audio: the sound to copy; ignored by sinks in `NO_SOUND`.
        container: format on standard output; None = Matroska.
        pipe: standard output (`claimed_output`); required for `-` only.
        comment: stored as the comment of the video or of every picture; ignored by sinks in `NO_METADATA`.

    Raises:
        V2VError: the target cannot be written.
    """
    kind = sink_kind(target, container)
    if kind == "pictures":
        return PictureWriter(target, comment=comment)
    assert (pipe is not None) == (target == STANDARD), "a pipe belongs to standard output"
    if kind == "y4m" and pipe is not None:
        return Y4mWriter(pipe, name=STANDARD_OUTPUT, fps=fps, time_base=time_base)
    origin, span = (None, (None, None)) if audio is None else (audio.origin, audio.span)
    return VideoWriter(
        FileOutput(target, comment=comment) if pipe is None else PipeOutput(pipe, comment=comment),
        fps=fps,
        time_base=time_base,
        crf=crf,
        codec=codec,
        audio_from=origin,
        audio_span=span,
    )


def end_sound(sink: Sink) -> None:
    """Ends the sound of a video with its last frame, because the frames of its source go on; to be called last."""
    if isinstance(sink, VideoWriter):
        sink.end_sound()
