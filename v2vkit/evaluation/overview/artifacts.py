"""What a workspace holds, for its overview: artifacts with sample pictures, checkpoints with grids and curves."""

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image, encode_jpeg
from v2vkit.artifacts.manifest import MANIFEST, PARTIAL, Manifest, read_manifest
from v2vkit.artifacts.shard import load_shard, sample_key
from v2vkit.conditions.preview import open_layer, sort_layers
from v2vkit.evaluation.overview.curves import Curve, downsampled

_SAMPLES, _SHARDS = 6, 3
"""Frames shown of an artifact, and shards that are read for them."""
_SIDE, _GRID_SIDE = 256, 1600
"""Longest side in pixels of a sample and of a sample grid."""
_GRIDS = 10


@dataclass(frozen=True)
class Artifact:
    """An artifact of the workspace.

    Attributes:
        kind: its folder in the workspace.
        manifest: how it was made.
        finished: whether its stage has finished.
        samples: (caption, JPEG) of some frames.
        note: explains the colours of the samples; may be empty.
    """

    kind: str
    manifest: Manifest
    finished: bool
    samples: tuple[tuple[str, bytes], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Training:
    """What a training has written so far.

    Attributes:
        artifact: the checkpoint.
        grids: (step, JPEG) of its sample grids, oldest first.
        curves: of TensorBoard's scalars, by name.
        note: why there are no curves; None = there are.
    """

    artifact: Artifact
    grids: tuple[tuple[int, bytes], ...]
    curves: tuple[Curve, ...]
    note: str | None = None


def find_artifacts(work: Folder) -> list[Artifact]:
    """The artifacts of a workspace except checkpoints, with samples, each after those that it was made from.

    Raises:
        V2VError: a manifest or a shard is damaged.
    """
    found = {name: of for name in work.names() if name != "checkpoints" and (of := _read(work, name)) is not None}
    return [_with_samples(work / of.kind, of) for of in _by_inputs(found)]


def find_trainings(work: Folder) -> list[Training]:
    """The checkpoints of a workspace with their sample grids and curves.

    Raises:
        V2VError: a manifest or a sample grid is damaged.
    """
    names = (work / "checkpoints").names() if work.exists("checkpoints") else []
    found = {kind: of for name in names if (of := _read(work, kind := f"checkpoints/{name}")) is not None}
    return [_training(work, of) for of in _by_inputs(found)]


def _read(work: Folder, kind: str) -> Artifact | None:
    folder = work / kind
    if folder.is_file:
        return None
    finished, started = (read_manifest(folder, name) for name in (MANIFEST, PARTIAL))
    manifest = started or finished
    return None if manifest is None else Artifact(kind, manifest, started is None)


def _by_inputs(found: dict[str, Artifact]) -> list[Artifact]:
    """Artifacts after those that they were made from; else by name."""
    ordered: list[Artifact] = []
    left = dict(sorted(found.items()))
    while left:
        ready = [kind for kind, of in left.items() if not set(of.manifest.inputs) & set(left) - {kind}]
        ordered += [left.pop(kind) for kind in ready or list(left)]
    return ordered


def _with_samples(folder: Folder, artifact: Artifact) -> Artifact:
    """The artifact with pictures of frames spread over some of its shards."""
    manifest = artifact.manifest
    filled = [
        i for i, unit in enumerate(manifest.units) if i < len(manifest.shards) and any(c.num_frames for c in unit)
    ]
    if not filled:
        return artifact
    chosen = [filled[i] for i in _spread(len(filled), _SHARDS)]
    files: list[tuple[str, str, bytes]] = []
    for number in chosen:
        shard = load_shard(folder, manifest.shards[number])
        keys = [sample_key(clip.name, t) for clip in manifest.units[number] for t in range(clip.num_frames)]
        for key in (keys[i] for i in _spread(len(keys), -(-_SAMPLES // len(chosen)))):
            layers = sort_layers(set(shard.extensions(key)))
            files += [(key, layers[0], shard.read(key, layers[0]))] if layers else []
    if not files:
        return artifact
    layer = open_layer(files[0][1], [data for _, extension, data in files if extension == files[0][1]])
    samples = tuple(
        (key, encode_jpeg(_fit(layer.render(data, f"{key}.{extension}"), _SIDE)))
        for key, extension, data in files[:_SAMPLES]
        if extension == files[0][1]
    )
    return Artifact(artifact.kind, manifest, artifact.finished, samples, layer.note)


def _spread(length: int, count: int) -> list[int]:
    """`count` evenly spaced positions, each from the middle of its interval."""
    count = min(count, length)
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def _fit(image: Image, side: int) -> Image:
    """The picture with its longest side at most `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _training(work: Folder, artifact: Artifact) -> Training:
    folder = work / artifact.kind
    names = [name for name in folder.names() if name.startswith("sample-") and name.endswith(".png")]
    numbers = {int(name[7:-4]): name for name in names if name[7:-4].isdigit()}
    steps = sorted(numbers)
    chosen = [steps[i] for i in np.unique(np.linspace(0, len(steps) - 1, min(_GRIDS, len(steps))).round().astype(int))]
    grids = tuple(
        (step, encode_jpeg(_fit(decode_image(folder.read(numbers[step]), numbers[step]), _GRID_SIDE)))
        for step in chosen
    )
    curves, note = _curves(work, artifact.kind.removeprefix("checkpoints/"))
    return Training(artifact, grids, curves, note)


def _curves(work: Folder, name: str) -> tuple[tuple[Curve, ...], str | None]:
    """The scalars in <work>/logs/<name>, and why there are none."""
    logs = Path(work.path) / "logs" / name
    if work.remote or not logs.is_dir():
        return (), "There are no TensorBoard logs of this training."
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        return (), "TensorBoard is not installed, which reads the logs: pip install 'v2vkit[tensorboard]'."
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns of every event that a resumed run wrote again
    events = EventAccumulator(str(logs), size_guidance={"scalars": 0, "images": 1, "tensors": 1})
    events.Reload()
    tags = sorted(events.Tags()["scalars"])
    if not tags:
        return (), "The TensorBoard logs of this training hold no scalars."
    return tuple(downsampled(tag, [(event.step, event.value) for event in events.Scalars(tag)]) for tag in tags), None
