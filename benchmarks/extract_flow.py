"""extract-flow against the bare DIS loop on the same frames, and what its flow takes on disk.

Both run in this process with one OpenCV thread, as a worker does. The bare loop computes forward and backward flow of
every pair from grey frames that lie in memory; the stage also reads, decodes, checks consistency, encodes and writes.
"""

import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image, encode_jpeg
from v2vkit.artifacts.manifest import ClipInfo, Manifest, read_manifest, write_manifest
from v2vkit.artifacts.shard import ShardWriter, sample_key, shard_name
from v2vkit.pipeline.runner import run as run_stage
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.extract_flow import STAGE, FlowConfig
from v2vkit.video.decode import decode

SHARED = Path(__file__).resolve().parents[2] / "shared" / "real"
STRIDES = (1, 3)
REPEATS = 3

Frames = list[NDArray[np.uint8]]
Row = tuple[str, float, str]


def _scenes() -> dict[str, Frames]:
    """The clips that v2vkit's own results are shown on, or a moving photograph where they are absent."""
    talk, street = SHARED / "face" / "talk_a.mp4", SHARED / "street" / "camvid_0016E5_15hz" / "images"
    if not (talk.is_file() and street.is_dir()):
        photo = np.tile(data.astronaut(), (2, 2, 1))
        moving = [np.ascontiguousarray(photo[2 * t : 2 * t + 512, t : t + 512]) for t in range(240)]
        return {"photo 128x128": _small(moving, 128, 128), "photo 512x512": moving[:24]}
    face = [frame.image for frame in decode(talk, 0, 240)]
    road = [decode_image(path.read_bytes()) for path in sorted(street.glob("*.png"))]
    return {
        "face 128x128": _small(face, 128, 128),
        "face 512x512": face[:24],
        "street 192x144": _small(road, 192, 144),
        "street 480x360": road[:24],
    }


def _small(frames: Frames, width: int, height: int) -> Frames:
    return [np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8) for frame in frames]


def _write_frames(work: str, frames: Frames) -> None:
    folder = Folder(f"{work}/frames")
    height, width = frames[0].shape[:2]
    clip = ClipInfo(name="clip", num_frames=len(frames), width=width, height=height)
    with ShardWriter(folder, shard_name(0)) as writer:
        for t, frame in enumerate(frames):
            writer.add(sample_key("clip", t), "jpg", encode_jpeg(frame))
        entry = writer.finish("benchmark", (clip,)).entry
    manifest = Manifest(
        v2vkit="benchmark",
        stage="ingest",
        stage_version=1,
        config={},
        inputs={},
        fingerprint="benchmark",
        units=((clip,),),
        shards=(entry,),
    )
    write_manifest(folder, manifest)


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
        _write_frames(work, frames)
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
