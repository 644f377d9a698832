"""make-sketches against a bare mediapipe loop on the same frames, and what more processes bring.

The bare loop runs FaceMesh (static mode, refined, one face) over frames that lie decoded in memory; the stage also
reads, decodes, draws, finds edges, encodes and writes, in one process. The speed-up compares whole runs of the stage,
the start of the processes included.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_jpeg
from v2vkit.artifacts.manifest import ClipInfo, Manifest, write_manifest
from v2vkit.artifacts.shard import ShardWriter, sample_key, shard_name
from v2vkit.pipeline.runner import run as run_stage
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.make_sketches import STAGE, SketchConfig
from v2vkit.video.decode import decode

CLIP = Path(__file__).resolve().parents[2] / "shared" / "real" / "face" / "talk_a.mp4"
SIZES = (128, 256, 512)
CLIP_LENGTH = 60
REPEATS = 3
WORKERS = 4

Frames = list[NDArray[np.uint8]]
Row = tuple[str, float, str]


def _frames(side: int) -> Frames:
    """Four clips' worth of a talking person, or of a moving photograph where the real clip is absent."""
    if CLIP.is_file():
        source = [frame.image for frame in decode(CLIP, 0, 4 * CLIP_LENGTH)]
    else:
        photo = np.pad(data.astronaut(), ((64, 64), (64, 64), (0, 0)), mode="edge")
        source = [photo[t % 64 : t % 64 + 512, t // 4 : t // 4 + 512] for t in range(4 * CLIP_LENGTH)]
    return [np.asarray(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), np.uint8) for frame in source]


def _write_frames(work: str, frames: Frames, repeats: int = 1) -> None:
    """A `frames` artifact of clips of `CLIP_LENGTH`, one per shard; all frames `repeats` times."""
    folder = Folder(f"{work}/frames")
    encoded = [encode_jpeg(frame) for frame in frames] * repeats
    height, width = frames[0].shape[:2]
    units, shards = [], []
    for number, start in enumerate(range(0, len(encoded), CLIP_LENGTH)):
        clip = ClipInfo(name=f"clip{number}", num_frames=CLIP_LENGTH, width=width, height=height)
        with ShardWriter(folder, shard_name(number)) as writer:
            for t, image in enumerate(encoded[start : start + CLIP_LENGTH]):
                writer.add(sample_key(clip.name, t), "jpg", image)
            shards.append(writer.finish("benchmark", (clip,)).entry)
        units.append((clip,))
    manifest = Manifest(
        v2vkit="benchmark",
        stage="ingest",
        stage_version=1,
        config={},
        inputs={},
        fingerprint="benchmark",
        units=tuple(units),
        shards=tuple(shards),
    )
    write_manifest(folder, manifest)


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """The bare loop's own log lines go nowhere."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def _bare_loop(frames: Frames) -> float:
    """Seconds of FaceMesh over all frames; model loading is not counted."""
    import mediapipe

    with _without_logs():
        options = {"static_image_mode": True, "refine_landmarks": True, "max_num_faces": 1}
        with mediapipe.solutions.face_mesh.FaceMesh(**options) as mesh:
            mesh.process(frames[0])
            start = time.perf_counter()
            for frame in frames:
                mesh.process(frame)
            return time.perf_counter() - start


def _stage(work: str, workers: int) -> float:
    start = time.perf_counter()
    run_stage(STAGE, SketchConfig(), RunOptions(work=work, workers=workers, overwrite=True))
    seconds = time.perf_counter() - start
    folder = Folder(f"{work}/sketches")
    for name in folder.names():
        folder.remove(name)
    return seconds


def run() -> list[Row]:
    """(what, value, target) per row."""
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    rows: list[Row] = []
    try:
        for side in SIZES:
            frames = _frames(side)
            with tempfile.TemporaryDirectory() as work:
                _write_frames(work, frames, repeats=4)  # so that opening the estimator weighs little
                times = [(4 * _bare_loop(frames), _stage(work, 1)) for _ in range(REPEATS)]
            bare, stage = (min(column) for column in zip(*times, strict=True))
            rows.append((f"make-sketches / bare mediapipe, {side}x{side}, one process", bare / stage, ">= 0.85"))
            with tempfile.TemporaryDirectory() as work:
                _write_frames(work, frames, repeats=10)
                one, many = _stage(work, 1), _stage(work, WORKERS)
            rows.append((f"make-sketches with {WORKERS} workers / with one, {side}x{side}", one / many, "reported"))
    finally:
        cv2.setNumThreads(num_threads)
    return rows


if __name__ == "__main__":
    for what, value, target in run():
        print(f"{what:76} {value:6.2f}  {target}")
