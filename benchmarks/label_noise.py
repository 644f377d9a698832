"""What noise in the driving label maps does to label fidelity, with and without `--label-jitter` and `--drop-thin`.

`python -m benchmarks.label_noise WORK CHECKPOINT...`: a workspace as tables-sflow.toml makes it, with held-out footage
in WORK/held-out and a segmenter. Each model renders the held-out shots from their label maps with noise that stays the
same through a shot; edges, where the model takes them, are those of the real frames. Printed are

- fidelity to the labels that were given, and to the true ones: mean IoU of the segmenter, divided by what it reaches on
  the real frames with the true labels;
- lite0 distance to the real frames.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import v2vkit
from v2vkit import weights
from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.label_noise import LabelNoise
from v2vkit.conditions.labels import LabelMap
from v2vkit.evaluation.metrics import lite0_distance
from v2vkit.evaluation.metrics.contract import Batch
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.segmentation import Confusion, counted_in, no_confusion
from v2vkit.inference.model import Model
from v2vkit.inference.trained_segment import TrainedSegment
from v2vkit.inference.workspace import shots_of
from v2vkit.pipeline.stage import load_inputs

NOISES = {
    "as they are": LabelNoise(),
    "boundaries shifted by 1 px": LabelNoise(jitter=1),
    "boundaries shifted by 2 px": LabelNoise(jitter=2),
    "thin objects gone": LabelNoise(drop_thin=1),
    "2 px and thin objects gone": LabelNoise(jitter=2, drop_thin=1),
    "a fifth of the classes 255": LabelNoise(drop_classes=0.2),
}
"""Name of a row -> noise of the driving label maps; the seed is the number of the shot."""
BATCH = 8

Labels = NDArray[np.uint8]
Annotations = dict[str, Any]


class Shot(NamedTuple):
    """Held-out frames with the annotations of one model for each."""

    name: str
    frames: list[Image]
    annotations: list[Annotations]


class Measured(NamedTuple):
    """Mean IoU of the segmenter against the labels given and the true ones, and the distance to the real frames."""

    given: float
    true: float
    distance: float


def shots(held_out: Folder, model: Model) -> Iterator[Shot]:
    """The shots of a workspace with what conditions the model."""
    reader = ClipReader(held_out, load_inputs(held_out, ("frames", *model.info.conditioning.artifacts)))
    for parts in shots_of(reader.clips):
        times = [(clip.name, t) for clip in parts for t in range(clip.num_frames)]
        yield Shot(
            parts[0].name,
            [reader.frame(*time) for time in times],
            [{of.name: reader.annotation(of, *time, "channels") for of in model.conditions} for time in times],
        )


def labels_of(annotations: Sequence[Annotations]) -> list[Labels]:
    """Their label ids [H, W]."""
    return [of["labels"].labels for of in annotations]


def with_noise(annotations: Sequence[Annotations], noise: LabelNoise) -> list[Annotations]:
    """The same annotations with noise in their label maps, one draw for all."""
    changed = []
    for of in annotations:
        labels: LabelMap = of["labels"]
        changed.append(of | {"labels": LabelMap(*noise.apply(labels.labels, labels.instances))})
    return changed


def fidelity(found: Sequence[Labels], labels: Sequence[Labels], before: Confusion) -> Confusion:
    """`before` with label maps that a segmenter found, against the labels that should be there."""
    for predicted, truth in zip(found, labels, strict=True):
        before = counted_in(before, truth, predicted)
    return before


def distances(images: Sequence[Image], real: Sequence[Image], name: str) -> list[float]:
    """lite0 distance of each frame of a shot to the real one."""
    height, width = real[0].shape[:2]
    metric = lite0_distance.open_metric(Setup(height, width, {"lite0": weights.require("lite0")}, device="cpu"))
    found: list[float] = []
    for start in range(0, len(images), BATCH):
        part = slice(start, start + BATCH)
        times = list(range(len(images))[part])
        values = metric.update(Batch("model", name, name, times, images[part], real[part]))
        found += [value for value in values if isinstance(value, float)]
    return found


def measure(model: Model, footage: Sequence[Shot], segment: TrainedSegment, noise: LabelNoise) -> Measured:
    """Render all shots from noisy label maps and compare."""
    given = true = no_confusion(segment.num_labels)
    near: list[float] = []
    for number, shot in enumerate(footage):
        noisy = with_noise(shot.annotations, replace(noise, seed=(number,)))
        images = list(model.generate(noisy))
        found = [segment(image).labels for image in images]
        given = fidelity(found, labels_of(noisy), given)
        true = fidelity(found, labels_of(shot.annotations), true)
        near += distances(images, shot.frames, shot.name)
    return Measured(given.mean_iou, true.mean_iou, float(np.mean(near)))


def main(work: Path, checkpoints: Sequence[str]) -> None:
    """Print the table."""
    segment = TrainedSegment(weights=work / "checkpoints" / "segmenter" / "model.safetensors")
    print("| driving labels | model | fidelity to the labels given | to the true labels | lite0 distance |")
    print("|---|---|---|---|---|")
    models = {name: v2vkit.load(str(work / "checkpoints" / name), device="cpu") for name in checkpoints}
    footage = {name: list(shots(Folder(str(work / "held-out")), model)) for name, model in models.items()}
    real = no_confusion(segment.num_labels)
    for shot in footage[checkpoints[0]]:
        real = fidelity([segment(image).labels for image in shot.frames], labels_of(shot.annotations), real)
    for row, noise in NOISES.items():
        for name, model in models.items():
            given, true, distance = measure(model, footage[name], segment, noise)
            print(
                f"| {row} | {name} | {given / real.mean_iou:.3f} | {true / real.mean_iou:.3f} | {distance:.3f} |",
                flush=True,
            )
    print(f"Mean IoU on the real frames: {real.mean_iou:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
