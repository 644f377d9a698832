"""render against its slowest part alone, and its memory over the length of the video.

Every part (decode and resize, landmarks and sketch, generate, encode) is run alone over the same frames; then rendering
does all of them at once. The ratio is the slowest part's time over the whole command's loop. The driver's frames are
encoded in place of the network's: untrained, it makes noise, on which the encoder spends thrice the time that it spends
on a trained model's frames.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data

from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import ModelInfo, load_model, save_model
from v2vkit.conditions.conditioning import conditioning_of
from v2vkit.conditions.settings import Origin
from v2vkit.inference.conditioned import conditioned_frames
from v2vkit.inference.estimated_maps import open_map_maker
from v2vkit.inference.rollout import Rollout
from v2vkit.inference.session import Session, prepare_ahead, warm_up, write_each
from v2vkit.models.presets import generator_config
from v2vkit.video.decode import decode
from v2vkit.video.encode import VideoWriter, write_video
from v2vkit.video.footage_source import open_video_source
from v2vkit.video.framing import Window, reframe

Row = tuple[str, float, str]
SIDES = (128, 256)
FRAMES = 240
REPEATS = 3
CPU = torch.device("cpu")


def _write_face_video(path: Path, num_frames: int) -> None:
    """A photographed face that sways, 256x256."""
    face = cv2.resize(data.astronaut()[0:300, 80:380], (256, 256), interpolation=cv2.INTER_AREA)

    def frames() -> Iterable[NDArray[np.uint8]]:
        for t in range(num_frames):
            matrix = cv2.getRotationMatrix2D((128, 128), 6 * np.sin(t / 9), 1 + 0.05 * np.sin(t / 13))
            yield np.asarray(cv2.warpAffine(face, matrix, (256, 256), borderMode=cv2.BORDER_REPLICATE), np.uint8)

    write_video(path, frames(), fps=Fraction(25))


def _make_model(work: Path, *, width: int, side: int) -> None:
    """An untrained model: rendering takes the same time."""
    from v2vkit.models.generator import VideoGenerator

    torch.manual_seed(0)
    source = conditioning_of("face")
    config = generator_config("tiny", source_channels=15, width=width)
    info = ModelInfo(
        stage="spatial-1",
        fingerprint="benchmark",
        network=config,
        conditioning=source,
        origins=(Origin(stage="make-sketches", settings={"face": "mediapipe"}),),
        width=side,
        height=side,
        first_frame="self",
        frames={"crop": "none"},
    )
    save_model(Folder(f"{work}/checkpoints/spatial-1"), VideoGenerator(config).state_dict(), info)


def _frames(video: Path, side: int) -> Iterator[NDArray[np.uint8]]:
    return (reframe(f.image, Window(0, 0, 256, 256), (side, side)) for f in decode(video))


def _timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _parts(video: Path, work: Path, side: int) -> dict[str, float]:
    """Seconds that each part takes alone, with warm libraries."""
    generator, info = load_model(Folder(f"{work}/checkpoints/spatial-1"))
    maps = open_map_maker(info, str(video))
    frames: list[NDArray[np.uint8]] = []
    sources: list[NDArray[np.float32]] = []

    def decoding() -> None:
        frames.extend(_frames(video, side))

    def mapping() -> None:
        sources.extend(s for _, s, _, _ in maps(frames))

    def generating() -> None:
        rollout = Rollout(generator, precision="auto")
        for s in sources:
            rollout.image(s)

    def encoding() -> None:
        write_video(work / "part.mp4", frames, fps=Fraction(25))

    list(maps([np.zeros((side, side, 3), np.uint8)]))
    Rollout(generator, precision="auto").step(np.zeros((15, side, side), np.float32))
    return {
        "decode": _timed(decoding),
        "map": _timed(mapping),
        "generate": _timed(generating),
        "encode": _timed(encoding),
    }


def _whole(video: Path, work: Path, side: int) -> float:
    """Seconds of the rendering loop, everything opened beforehand as in `_parts`."""
    generator, info = load_model(Folder(f"{work}/checkpoints/spatial-1"))
    source = open_video_source(str(video))
    conditioned = conditioned_frames(source, info)
    warm_up(generator, side, side, precision="auto")
    writer = VideoWriter(work / "whole.mp4", fps=source.fps, time_base=source.time_base)
    pictures = iter(list(_frames(video, side)))

    def render() -> None:
        with writer:
            frames = Session(generator, precision="auto").render(prepare_ahead(conditioned, CPU))
            for _ in write_each(frames, lambda frame, _: writer.write(next(pictures), pts=frame.frame.pts), CPU):
                pass

    return _timed(render)


def _peak_memory(video: Path, work: Path) -> float:
    """Peak resident memory of `v2v render` in MiB, in a process of its own.

    From Linux's status file where there is one: `ru_maxrss` of a new process begins with the peak of the one that
    started it, and this one is large by now.
    """
    code = (
        "import resource,sys; from pathlib import Path; from v2vkit.cli.main import cli\n"
        "cli(sys.argv[1:], standalone_mode=False)\n"
        "status = Path('/proc/self/status')\n"
        "lines = status.read_text().splitlines() if status.exists() else []\n"
        "found = [int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM')]\n"
        "print('PEAK', *found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, "render", str(video), str(work / "long.mp4"), "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.rsplit("PEAK", 1)[1].split()[0]) / 2**20


def run() -> list[Row]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        video, rows = work / "face.mp4", list[Row]()
        _write_face_video(video, FRAMES)
        for side in SIDES:
            _make_model(work, width=32, side=side)
            runs = [(_parts(video, work, side), _whole(video, work, side)) for _ in range(REPEATS)]
            parts = {part: statistics.median(times[part] for times, _ in runs) for part in runs[0][0]}
            whole = statistics.median(seconds for _, seconds in runs)
            slowest = max(parts, key=lambda part: parts[part])
            what = f"{side}x{side} tiny"
            rows += [
                (f"render: slowest part alone ({slowest}) / render, {what}", parts[slowest] / whole, ">= 0.8"),
                (f"render: milliseconds a frame, {what}", whole / FRAMES * 1e3, "for information"),
            ]
        _make_model(work, width=8, side=SIDES[0])
        peaks = []
        for count in (300, 3000):
            _write_face_video(video, count)
            peaks.append(_peak_memory(video, work))
        rows.append(("render: peak memory of 3,000 frames / 300 frames", peaks[1] / peaks[0], "0.9 to 1.1"))
        rows.append(("render: peak memory of 3,000 frames, MiB", peaks[1], "for information"))
    return rows


if __name__ == "__main__":
    for row in run():
        print(row)
