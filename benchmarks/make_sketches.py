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

import cv2

from benchmarks.footage import Frames, talking, write_frames
from v2vkit.artifacts.folder import Folder
from v2vkit.pipeline.runner import run as run_stage
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.make_sketches import STAGE, SketchConfig

SIZES = (128, 256, 512)
CLIP_LENGTH = 60
REPEATS = 3
WORKERS = 4

Row = tuple[str, float, str]


@contextlib.contextmanager
def without_logs() -> Iterator[None]:
    """What libraries write to the standard error goes nowhere."""
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

    with without_logs():
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
            frames = talking(side, 4 * CLIP_LENGTH)
            with tempfile.TemporaryDirectory() as work:
                # Repeated, so that opening the estimator weighs little.
                write_frames(work, frames, clip_length=CLIP_LENGTH, repeats=4)
                times = [(4 * _bare_loop(frames), _stage(work, 1)) for _ in range(REPEATS)]
            bare, stage = (min(column) for column in zip(*times, strict=True))
            rows.append((f"make-sketches / bare mediapipe, {side}x{side}, one process", bare / stage, ">= 0.85"))
            with tempfile.TemporaryDirectory() as work:
                write_frames(work, frames, clip_length=CLIP_LENGTH, repeats=10)
                one, many = _stage(work, 1), _stage(work, WORKERS)
            rows.append((f"make-sketches with {WORKERS} workers / with one, {side}x{side}", one / many, "reported"))
    finally:
        cv2.setNumThreads(num_threads)
    return rows


if __name__ == "__main__":
    for what, value, target in run():
        print(f"{what:76} {value:6.2f}  {target}")
