"""Facts about a video file; decodes only its first frame."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from v2vkit.errors import V2VError
from v2vkit.video.container import MPEG_TICK, OpenVideo, decode_all, demux, open_video
from v2vkit.video.geometry import geometry_of
from v2vkit.video.options import VideoOptions
from v2vkit.video.rates import frame_rate, stated_frames
from v2vkit.video.remarks import remarks_on


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a video file.

    Attributes:
        width, height: pixels as displayed, after sample aspect ratio and rotation.
        fps: exact average frame rate as stated by the file; of Matroska that states none, from its time stamps.
        time_base: seconds per tick of the time stamps.
        start: begin of the video on the file's clock, in seconds.
        num_frames: as stated by the file, or counted with `scan`; None = unknown.
        duration: seconds; None = unknown.
        rotation: counter-clockwise degrees (0, 90, 180, 270) that turn the stored picture upright.
        has_audio: whether there is an audio stream.
        codec: FFmpeg's name of the codec.
        variable_rate: whether frames are unevenly spaced in time; None unless scanned.
        remarks: sentences on conversions that a user may not expect, to be printed after its name.
    """

    width: int
    height: int
    fps: Fraction
    time_base: Fraction
    start: Fraction
    num_frames: int | None
    duration: float | None
    rotation: int
    has_audio: bool
    codec: str
    variable_rate: bool | None
    remarks: tuple[str, ...] = ()


def probe(path: str | Path, *, scan: bool = False, options: VideoOptions | None = None) -> VideoInfo:
    """Reads the header and the first frame.

    Args:
        path: a local video file.
        scan: also read (not decode) every packet to find `num_frames` and `variable_rate`. Counts packets; a few old
            codecs store two frames or none in a packet.
        options: how it is read; None = defaults.

    Raises:
        V2VError: the file is missing, empty, damaged, not a video or without a decodable frame.
    """
    with open_video(path, threads=False, options=options) as video:
        frame = next(decode_all(video), None)
        if frame is None:
            raise V2VError(
                "frames-missing",
                f"Video {path} has no frames.",
                "Copy or download the file again, or choose another one.",
            )
        geometry = geometry_of(video.stream, frame)
        width, height = geometry.displayed
        seconds, time_base = _duration(video), video.stream.time_base or MPEG_TICK
        num_frames, variable = stated_frames(video), None
        if scan:
            num_frames, variable = _scan(video)
        return VideoInfo(
            width=width,
            height=height,
            fps=_rate_of_stamps(video) if lacks_frame_rate(video) else frame_rate(video),
            time_base=time_base,
            start=(video.stream.start_time or 0) * time_base,
            num_frames=num_frames,
            duration=seconds,
            rotation=geometry.orientation.degrees,
            has_audio=bool(video.container.streams.audio),
            codec=video.stream.codec_context.name,
            variable_rate=variable,
            remarks=remarks_on(video, frame),
        )


def lacks_frame_rate(video: OpenVideo) -> bool:
    """Whether it is Matroska without a usable default duration: none (browsers), or one tick (1000 frames/s)."""
    stream = video.stream
    unusable = stream.average_rate is None or stream.average_rate * (stream.time_base or 0) == 1
    return unusable and "matroska" in video.container.format.name


def _rate_of_stamps(video: OpenVideo) -> Fraction:
    """Average frame rate from the time stamps of all packets; `frame_rate` if they are unusable."""
    video.container.seek(0)
    stamps = [packet.pts for packet in demux(video.container, video.stream) if packet.size and packet.pts is not None]
    if len(stamps) < 2 or max(stamps) == min(stamps) or video.stream.time_base is None:
        return frame_rate(video)
    seconds = (max(stamps) - min(stamps)) * video.stream.time_base
    return ((len(stamps) - 1) / seconds).limit_denominator(1001)


def _duration(video: OpenVideo) -> float | None:
    if video.stream.duration is not None and video.stream.time_base is not None:
        return float(video.stream.duration * video.stream.time_base)
    return video.container.duration / 1e6 if video.container.duration is not None else None


def _scan(video: OpenVideo) -> tuple[int, bool | None]:
    """Number of packets, and whether their spacing differs by more than the rounding of the time stamps."""
    video.container.seek(0)
    stamps = [packet.pts for packet in demux(video.container, video.stream) if packet.size and not packet.is_discard]
    known = sorted(stamp for stamp in stamps if stamp is not None)
    gaps = [after - before for before, after in pairwise(known)]
    variable = max(gaps) - min(gaps) > 1 if len(known) == len(stamps) and gaps else None
    return len(stamps), variable
