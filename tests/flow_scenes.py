"""Moving pictures with a known flow, and frames artifacts made of arrays, for the tests of flow and its stage."""

from pathlib import Path

import cv2
import numpy as np
from skimage import data

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import ClipInfo, Manifest, fingerprint, write_manifest
from v2vkit.artifacts.shard import ShardWriter, sample_key, shard_name


def moving_texture(height: int, width: int, *, dx: int, dy: int, num_frames: int = 2) -> list[np.ndarray]:
    """Frames of a photograph whose content moves by (dx, dy) pixels per frame; nothing enters by wrapping around.

    The backward flow between neighbours is (-dx, -dy) everywhere.
    """
    margin = max(abs(dx), abs(dy)) * num_frames
    photo = cv2.resize(data.astronaut(), (width + 2 * margin, height + 2 * margin), interpolation=cv2.INTER_AREA)
    frames = []
    for t in range(num_frames):
        top, left = margin - t * dy, margin - t * dx
        frames.append(np.ascontiguousarray(photo[top : top + height, left : left + width]))
    return frames


def end_point_error(flow: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Mean Euclidean distance in pixels over the valid pixels."""
    distance = np.linalg.norm(flow - truth, axis=2)
    return float(distance.mean() if valid is None else distance[valid > 0].mean())


def write_frames(work: str | Path, clips: dict[str, list[np.ndarray]]) -> None:
    """A `frames` artifact, one shard per clip, lossless."""
    folder = Folder(f"{work}/frames")
    units, entries = [], []
    identity = fingerprint("test", 1, {}, {name: str(sum(int(f.sum()) for f in clip)) for name, clip in clips.items()})
    for number, (name, frames) in enumerate(clips.items()):
        height, width = frames[0].shape[:2]
        info = ClipInfo(name=name, num_frames=len(frames), width=width, height=height)
        with ShardWriter(folder, shard_name(number)) as writer:
            for t, frame in enumerate(frames):
                writer.add(sample_key(name, t), "png", encode_png(frame))
            entries.append(writer.finish(identity, (info,)).entry)
        units.append((info,))
    manifest = Manifest(
        v2vkit="test",
        stage="ingest",
        stage_version=1,
        config={},
        inputs={},
        fingerprint=identity,
        units=tuple(units),
        shards=tuple(entries),
    )
    write_manifest(folder, manifest)
