"""Footage for the benchmarks: a talking person, and frames as `v2v ingest` stores them."""

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_jpeg
from v2vkit.artifacts.manifest import ClipInfo, Manifest, write_manifest
from v2vkit.artifacts.shard import ShardWriter, sample_key, shard_name
from v2vkit.video.decode import decode

REAL = Path(os.environ.get("V2V_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "real"
Frames = list[NDArray[np.uint8]]


def talking(side: int, num_frames: int) -> Frames:
    """A talking person in squares of `side` pixels, or a moving photograph where the real clip is absent."""
    clip = REAL / "face" / "talk_a.mp4"
    if clip.is_file():
        source = [frame.image for frame in decode(clip, 0, num_frames)]
    else:
        photo = np.pad(data.astronaut(), ((64, 64), (64, 64), (0, 0)), mode="edge")
        source = [photo[t % 64 : t % 64 + 512, t // 4 % 64 : t // 4 % 64 + 512] for t in range(num_frames)]
    return resized(source, side, side)


def resized(frames: Frames, width: int, height: int) -> Frames:
    """The frames at another size."""
    return [np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8) for frame in frames]


def write_frames(work: str, frames: Frames, *, clip_length: int, repeats: int = 1) -> None:
    """A `frames` artifact of clips of `clip_length`, one per shard; all frames `repeats` times."""
    folder = Folder(f"{work}/frames")
    encoded = [encode_jpeg(frame) for frame in frames] * repeats
    height, width = frames[0].shape[:2]
    units, shards = [], []
    for number, start in enumerate(range(0, len(encoded), clip_length)):
        images = encoded[start : start + clip_length]
        clip = ClipInfo(name=f"clip{number}", num_frames=len(images), width=width, height=height)
        with ShardWriter(folder, shard_name(number)) as writer:
            for t, image in enumerate(images):
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
