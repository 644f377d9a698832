"""Video files for the tests, made and read with PyAV alone, so that our writer and reader have an outside witness."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from skimage import data


def moving_frames(count: int, width: int = 64, height: int = 48, *, step: int = 3) -> list[NDArray[np.uint8]]:
    """Crops of a photograph that move from frame to frame: every frame differs, and codecs find motion."""
    photo = data.astronaut()
    return [photo[40 : 40 + height, (step * i) % (512 - width) :][:, :width].copy() for i in range(count)]


def solid_frames(
    colour: tuple[int, int, int], count: int, width: int = 64, height: int = 48
) -> list[NDArray[np.uint8]]:
    return [np.full((height, width, 3), colour, np.uint8) for _ in range(count)]


def write_file(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    rate: Fraction | int = 25,
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    stamps: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    aspect: Fraction | None = None,
    audio: str | None = None,
    layout: str = "mono",
    movflags: str = "",
    seconds: float = 1.0,
    sound_from: int = 0,
) -> Path:
    """A video file straight through PyAV; `audio` names a codec for a sine tone of `seconds` beside it."""
    ticks = time_base or 1 / Fraction(rate)
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream, sound = None, None
        for i, image in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=Fraction(rate), options=options or {})
                stream.height, stream.width = image.shape[:2]
                stream.pix_fmt = pix_fmt
                stream.codec_context.time_base = ticks
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
                if audio is not None:
                    sound = container.add_stream(audio, rate=16000, layout=layout)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (i if stamps is None else stamps[i]), ticks
            container.mux(stream.encode(frame))
        if stream is not None:
            container.mux(stream.encode(None))
        if sound is not None:
            write_tone(container, sound, seconds, begin=sound_from)
    return path


def write_audio(path: Path, codec: str, *, seconds: float = 1.0) -> Path:
    """A file that holds nothing but a sine tone."""
    with av.open(str(path), "w") as container:
        write_tone(container, container.add_stream(codec, rate=16000, layout="mono"), seconds)
    return path


def write_tone(container, stream, seconds: float, *, begin: int = 0) -> None:
    count = int(16000 * seconds)
    tone = (8000 * np.sin(np.arange(count) * 0.1)).astype(np.int16)
    resampler = av.AudioResampler(format=stream.format, layout=stream.layout, rate=16000, frame_size=1024)
    frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 16000, 16000 * begin, Fraction(1, 16000)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def read_raw(path: Path) -> tuple[list[NDArray[np.uint8]], list[Fraction]]:
    """Stored pictures as RGB and their times in seconds, straight through PyAV."""
    with av.open(str(path)) as container:
        frames = [(f.to_ndarray(format="rgb24"), f.pts * f.time_base) for f in container.decode(video=0)]
    return [image for image, _ in frames], [time for _, time in frames]


def read_packets(path: Path, kind: str = "audio") -> list[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.best(kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.dts is not None]


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Patches the track's display matrix in an .mp4: (x', y') = (a x + c y, b x + d y)."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    content[at : at + 36] = struct.pack(">9i", *values)
    path.write_bytes(content)
