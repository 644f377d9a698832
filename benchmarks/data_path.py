"""The data path at the paper's street setting: batches per second from shards against what a step asks for.

A workspace of street clips (frames, labels, instances, flow of strides 1, 3 and 9) is made and loaded as the last stage
of `pipelines/street-paper.toml` loads it, by one process with one thread, from the local disk and from an object store
(20 ms a request) through the local shard cache, in the first epoch and in the second one. Frames are 1024x512; the work
on a frame grows with its pixels, so a frame of 2048x1024 counts as four.

What a step asks for is counted, not measured: three forward passes of the published generator a frame (forward and
backward), and nothing for the discriminators, on a GPU of `GPU_TFLOPS`. So the demand is an upper limit.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.slow_store import SlowStore, register
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_jpeg, encode_png
from v2vkit.artifacts.manifest import ClipInfo, Manifest, ShardEntry
from v2vkit.artifacts.shard import ShardWriter, sample_key, shard_name
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import conditioning_of
from v2vkit.conditions.flow_io import encode_kitti
from v2vkit.models.generator import HISTORY, VideoGenerator
from v2vkit.models.presets import generator_config
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import clip_sampler, load_batch
from v2vkit.training.methods.vid2vid import VID2VID

Row = tuple[str, float, str]
SIZE, PAPER_SIZE = (1024, 512), (2048, 1024)
CLIPS, CLIP_FRAMES = 3, 16
GENERATED = 4
"""Frames of a sequence, as in the first epochs of the recipe."""
LATENCY = 0.02  # seconds
GPU_TFLOPS = 400.0
"""Sustained in bfloat16: about half of an H100's peak for dense products."""
SOURCE = conditioning_of("street", num_labels=35)
CONFIG = TrainConfig(
    preset="paper",
    domain="street",
    num_labels=35,
    foreground=(26,),
    flip=True,
    temporal_scales=3,
    first_frames=GENERATED,
    max_frames=GENERATED,
)
STRIDES = VID2VID.strides(CONFIG)


def _members(rng: np.random.Generator, ground: np.ndarray, t: int) -> dict[str, dict[str, bytes]]:
    """The files of one frame of every artifact: a picture that moves, patches of labels, smooth flow."""
    (width, height), shift = SIZE, 4 * t
    image = np.ascontiguousarray(ground[:height, shift : shift + width])
    patches = np.roll(np.arange(16 * 32, dtype=np.uint8).reshape(16, 32) % 35, t, 1)
    labels = patches.repeat(height // 16, 0).repeat(width // 32, 1)
    flow = cv2.resize(rng.normal(0, 4, (9, 17, 2)).astype(np.float32), SIZE, interpolation=cv2.INTER_CUBIC)
    trusted = (cv2.resize(rng.random((9, 17), np.float32), SIZE) > 0.2).astype(np.float32)
    kitti = encode_kitti(flow.astype(np.float32), trusted)
    return {
        "frames": {"jpg": encode_jpeg(image)},
        "labels": {"label.png": encode_png(labels), "inst.png": encode_png(labels.astype(np.uint16))},
        "flow": {f"flow{k}.png": kitti for k in STRIDES if t >= k},
    }


def make_workspace(work: Path) -> dict[str, Manifest]:
    """Frames, labels and flow, a clip in each shard."""
    rng = np.random.default_rng(0)
    width, height = SIZE
    coarse = rng.integers(0, 256, (height // 8, (width + 4 * CLIP_FRAMES) // 8, 3), np.uint8)
    ground = cv2.resize(coarse, (width + 4 * CLIP_FRAMES, height), interpolation=cv2.INTER_CUBIC)
    clips = [ClipInfo(name=f"c{n}", num_frames=CLIP_FRAMES, width=width, height=height) for n in range(CLIPS)]
    entries: dict[str, list[ShardEntry]] = {kind: [] for kind in ("frames", "labels", "flow")}
    for number, clip in enumerate(clips):
        frames = [_members(rng, ground, t) for t in range(CLIP_FRAMES)]
        for kind, found in entries.items():
            with ShardWriter(Folder(f"{work}/{kind}"), shard_name(number)) as writer:
                for t, files in enumerate(frames):
                    for extension, data in files[kind].items():
                        writer.add(sample_key(clip.name, t), extension, data)
                found.append(writer.finish("benchmark", (clip,)).entry)
    made: dict[str, Any] = {
        "v2vkit": "0",
        "stage": "benchmark",
        "stage_version": 1,
        "config": {},
        "inputs": {},
        "fingerprint": "f",
    }
    units = tuple((clip,) for clip in clips)
    return {kind: Manifest(**made, units=units, shards=tuple(found)) for kind, found in entries.items()}


def seconds_to_load(url: str, manifests: dict[str, Manifest]) -> tuple[float, list[float], int]:
    """Seconds to open the artifacts, seconds a frame (context too) in two epochs, and bytes kept in memory."""
    start = time.perf_counter()
    reader = ClipReader(Folder(url), manifests)
    opened = time.perf_counter() - start
    dataset = VideoDataset(reader, SOURCE, strides=STRIDES, flip=True, compact=True, cache_bytes=8 << 30)
    plans = clip_sampler(CONFIG, reader.clips, schedule=VID2VID.schedule(CONFIG), context=HISTORY).batches(0)
    seconds = []
    for _ in range(2):
        start, frames = time.perf_counter(), 0
        for plan in plans:
            frames += load_batch(CONFIG, dataset, plan).x.shape[1]
        seconds.append((time.perf_counter() - start) / frames)
    return opened, seconds, dataset.cached_bytes


def seconds_of_hashing(work: Path) -> float:
    """What the start took when every shard was read and verified there."""
    start = time.perf_counter()
    for path in work.glob("*/*.tar"):
        hashlib.sha256(path.read_bytes())
    return time.perf_counter() - start


def step_gflop() -> float:
    """Arithmetic of training the generator on one frame at the paper's size, without the discriminators."""
    channels, (width, height) = SOURCE.num_channels, PAPER_SIZE
    config = generator_config("paper", source_channels=channels, num_scales=3, foreground=(26,))
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        generator = VideoGenerator(config)
        history = [torch.empty(1, 3 * HISTORY, height >> k, width >> k) for k in (2, 1, 0)]
        generator(torch.empty(1, (HISTORY + 1) * channels, height, width), history)
    return 3 * counter.get_total_flops() / 1e9


@contextmanager
def _empty_cache(path: Path) -> Iterator[None]:
    before = os.environ.get("V2V_CACHE")
    os.environ["V2V_CACHE"] = str(path)
    try:
        yield
    finally:
        os.environ.pop("V2V_CACHE")
        if before is not None:
            os.environ["V2V_CACHE"] = before


def run() -> list[Row]:
    """The rows of the table."""
    register()
    SlowStore.latency = LATENCY
    gflop = step_gflop()
    demand = GPU_TFLOPS * 1e3 / gflop / GENERATED  # batches of one sequence per second
    scale = PAPER_SIZE[0] * PAPER_SIZE[1] / (SIZE[0] * SIZE[1])
    rows: list[Row] = [
        ("data: GFLOP of a generated frame, 2048x1024, three forward passes of G", gflop, ""),
        (f"data: most batches of {GENERATED} frames a second that a step asks for, {GPU_TFLOPS:g} TFLOP/s", demand, ""),
    ]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name) / "work"
        manifests = make_workspace(work)
        rows.append(("data: seconds to hash all shards, as the start did before", seconds_of_hashing(work), ""))
        with _empty_cache(Path(name) / "cache"):
            for place, url in (
                ("disk", str(work)),
                ("store", f"slowstore://{work}"),
                ("store, cached", f"slowstore://{work}"),
            ):
                SlowStore.requests.clear()
                opened, seconds, kept = seconds_to_load(url, manifests)
                requests = len(SlowStore.requests)
                rows.append((f"data: seconds to open, {place}", opened, ""))
                for epoch, of_epoch in zip(("first", "second"), seconds, strict=True):
                    rate = 1 / (of_epoch * scale * (HISTORY + GENERATED))
                    rows.append((f"data: batches a second of one process, {place}, {epoch} epoch", rate, ""))
                    rows.append((f"data: that / the step's demand, {place}, {epoch} epoch", rate / demand, ""))
                    rows.append((f"data: processes that feed the step, {place}, {epoch} epoch", demand / rate, ""))
                if place != "disk":
                    rows.append((f"data: requests, {place} ({3 * CLIPS} shards)", requests, ""))
        rows.append(("data: MiB in memory a frame, scaled", kept * scale / 2**20 / (CLIPS * CLIP_FRAMES), ""))
        shutil.rmtree(work)
    return rows


if __name__ == "__main__":
    for row in run():
        print(row)
