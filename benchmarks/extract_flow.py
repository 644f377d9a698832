"""extract-flow against the bare DIS loop on the same frames, and what its flow takes on disk.

Both run in this process with one OpenCV thread, as a worker does. The bare loop computes forward and backward flow of
every pair from grey frames that lie in memory; the stage also reads, decodes, checks consistency, encodes and writes.
"""

import shutil
import tempfile
import time

import cv2
import numpy as np
from skimage import data

from benchmarks.footage import REAL, Frames, resized, write_frames
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.pipeline.runner import run as run_stage
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.extract_flow import STAGE, FlowConfig
from v2vkit.video.decode import decode

STRIDES = (1, 3)
REPEATS = 3

Row = tuple[str, float, str]


def _scenes() -> dict[str, Frames]:
    """The clips that v2vkit's own results are shown on, or a moving photograph where they are absent."""
    talk, street = REAL / "face" / "talk_a.mp4", REAL / "street" / "camvid_0016E5_15hz" / "images"
    if not (talk.is_file() and street.is_dir()):
        photo = np.tile(data.astronaut(), (2, 2, 1))
        moving = [np.ascontiguousarray(photo[2 * t : 2 * t + 512, t : t + 512]) for t in range(240)]
        return {"photo 128x128": resized(moving, 128, 128), "photo 512x512": moving[:24]}
    face = [frame.image for frame in decode(talk, 0, 240)]
    road = [decode_image(path.read_bytes()) for path in sorted(street.glob("*.png"))]
    return {
        "face 128x128": resized(face, 128, 128),
        "face 512x512": face[:24],
        "street 192x144": resized(road, 192, 144),
        "street 480x360": road[:24],
    }


def _bare_loop(frames: Frames) -> float:
    """Seconds for forward and backward DIS of every pair."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    start = time.perf_counter()
    for k in STRIDES:
        for current, previous in zip(gray[k:], gray[:-k], strict=True):
            dis.calc(current, previous, None)
            dis.calc(previous, current, None)
    return time.perf_counter() - start


def _measure(frames: Frames) -> tuple[float, float]:
    """Speed of the stage over that of the bare loop; bytes on disk per pixel of the frames, all strides together."""
    bare, stage, num_bytes = [], [], 0
    with tempfile.TemporaryDirectory() as work:
        write_frames(work, frames, clip_length=len(frames))
        for _ in range(REPEATS):
            bare.append(_bare_loop(frames))
            start = time.perf_counter()
            run_stage(STAGE, FlowConfig(strides=STRIDES), RunOptions(work=work, workers=1))
            stage.append(time.perf_counter() - start)
            manifest = read_manifest(Folder(f"{work}/flow"))
            assert manifest is not None
            num_bytes = sum(entry.bytes for entry in manifest.shards)
            shutil.rmtree(f"{work}/flow")
    return min(bare) / min(stage), num_bytes / (len(frames) * frames[0].shape[0] * frames[0].shape[1])


def run() -> list[Row]:
    """(what, value, target) per row."""
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    rows: list[Row] = []
    try:
        for name, frames in _scenes().items():
            ratio, num_bytes = _measure(frames)
            rows.append((f"extract-flow / bare DIS forward + backward, {name}", ratio, ">= 0.8"))
            rows.append((f"flow on disk, bytes per pixel, strides 1 and 3 together, {name}", num_bytes, "<= 3"))
    finally:
        cv2.setNumThreads(num_threads)
    return rows


if __name__ == "__main__":
    for what, value, target in run():
        print(f"{what:76} {value:6.2f}  {target}")
