"""`v2v make-rain`: adds procedural rain to a video, which gives pairs of frames with and without rain."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from v2vkit.artifacts.folder import explain_os_errors
from v2vkit.config import DEFAULT_RATE, RateSetting, StageConfig, setting
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.stage import Command, RunOptions
from v2vkit.progress import progress

if TYPE_CHECKING:
    from v2vkit.arrays import Image
    from v2vkit.video.stream import Source


class RainConfig(StageConfig):
    """Add procedural rain to a video, for training deraining and waterdrop removal.

    Writes one frame per frame of SOURCE, of the same size and time stamp, without sound: falling streaks, drops on the
    lens or windscreen that refract the scene, or both. The same seed gives the same frames. A folder of pictures
    (TARGET ends in a slash) is lossless; prefer it for training. Then give both to `v2v ingest SOURCE --picture
    TARGET`: the rainy frames are the condition, the frames of SOURCE are the result.
    """

    source: str = setting(..., "Video or folder of pictures without rain.", argument=True)
    target: str = setting(..., "Video (.mp4, .mov or .mkv) or folder to write.", argument=True)
    kind: Literal["streaks", "drops", "both"] = setting(
        "streaks", "What is added: streaks (falling rain), drops (on the lens or windscreen), or both."
    )
    amount: float = setting(1.0, "Amount of rain: 1 = heavy, 0 = none.", ge=0, le=4)
    veil: float = setting(
        0.0,
        "Haze from distant rain: its share of every pixel, 0 to 1. It lowers PSNR more than streaks do, although a "
        "global change of colours removes it.",
        ge=0,
        le=1,
    )
    seed: int = setting(0, "Seed of positions, sizes and wind.", ge=0, le=10**9)
    fps: RateSetting | None = setting(
        None, "Frame rate of a folder of pictures, such as 25 or 30000/1001 (default: 25)."
    )


def _check(config: RainConfig) -> None:
    from v2vkit.video.sinks import check_sink
    from v2vkit.video.targets import keep_source

    if config.kind == "drops" and config.veil:
        raise V2VError("setting-unused", "--veil belongs to falling rain, and --kind is drops.", "Leave it out.")
    check_sink(config.target, "libx264")
    keep_source(config.source, config.target)


def _open(config: RainConfig) -> "Source":
    """The video or folder of pictures without rain.

    Raises:
        V2VError: it cannot be read, or --fps is given for a video.
    """
    from v2vkit.video.footage_source import open_picture_source, open_video_source

    if Path(config.source).is_dir():
        return open_picture_source(config.source, fps=config.fps or DEFAULT_RATE)
    if config.fps is not None:
        raise V2VError(
            "setting-unused", f"--fps is the rate of pictures, and {config.source} is no folder.", "Leave it out."
        )
    return open_video_source(config.source)


def rain(config: RainConfig) -> "Callable[[Image, float], Image]":
    """The function from a frame and its time in seconds to the frame with rain."""
    from v2vkit.toyworld.rain import add_drops, add_streaks

    def add(image: "Image", time: float) -> "Image":
        if config.kind != "drops":
            image = add_streaks(image, time, seed=config.seed, amount=config.amount, veil=config.veil)
        if config.kind != "streaks":
            image = add_drops(image, time, seed=config.seed, amount=config.amount)
        return image

    return add


def _make(config: RainConfig, options: RunOptions) -> list[str]:
    from v2vkit.video.sinks import open_sink

    _check(config)
    source = _open(config)
    add = rain(config)
    with explain_os_errors(config.target):
        Path(config.target).resolve().parent.mkdir(parents=True, exist_ok=True)
    settings = ", ".join(f"{name} {getattr(config, name)}" for name in ("kind", "amount", "veil", "seed"))
    comment = f"Synthetic rain: v2v make-rain, {settings}"
    sink = open_sink(config.target, fps=source.fps, time_base=source.time_base, crf=8, comment=comment)
    count = 0
    with sink, progress(source.num_frames, desc="make-rain", unit="frame") as shown:
        for frame in source.read():
            assert frame.image is not None, "footage has images"
            time = count / source.fps
            if frame.pts is not None and source.time_base is not None:
                time = frame.pts * source.time_base
            sink.write(add(frame.image, float(time)), pts=frame.pts, duration=frame.duration)
            count += 1
            shown.update()
    print("\n".join([*source.remarks, *sink.notes, f"{config.target}: {counted(count, 'frame')} with {config.kind}."]))
    return [*(f"{source.name}: {problem}" for problem in source.problems()), *sink.problems]


COMMAND = Command(name="make-rain", config=RainConfig, call=_make, options=(), check=_check)
