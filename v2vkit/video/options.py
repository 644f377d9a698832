"""User options for reading a video file."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class VideoOptions:
    """How a video file is read.

    Attributes:
        stream: index among the video streams, from 0; None = automatic (`choose_video`).
        deinterlace: whether interlaced frames are deinterlaced.
        raw_rate: frame rate of streams without time stamps (raw .264, .hevc, .m2v); None = as stated by the stream.
    """

    stream: int | None = None
    deinterlace: bool = True
    raw_rate: Fraction | None = None
