"""What a user may say about a video file that the file itself leaves open."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class VideoOptions:
    """How a video file is read.

    Attributes:
        stream: number of the video stream, from 0; None = chosen (`choose_video`).
        deinterlace: whether interlaced frames are deinterlaced.
        raw_rate: frame rate of streams without time stamps (raw .264, .hevc, .m2v); None = what the stream states.
    """

    stream: int | None = None
    deinterlace: bool = True
    raw_rate: Fraction | None = None
