"""Diversity of S-Flow GAN: variants of the same scenes by the weights a_i of the edge network (paper, section 3.2).

`python -m benchmarks.edge_variants WORK [CHECKPOINT] [--sheet FILE.png]`: a workspace as tables-sflow.toml or
tables-sflow-street.toml makes it, with held-out footage in WORK/held-out and a segmenter. Every mixture of the edge
maps renders the held-out shots from their label maps and edges. Printed for each are

- its mean absolute difference from the mixture of training, and the lite0 distance to it;
- lite0 distance to the real frames;
- label fidelity: mean IoU of the segmenter, divided by what it reaches on the real frames.

The sheet has a mixture per column (the real frame first) and a shot per row.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image as Pictures

import v2vkit
from benchmarks.label_noise import Shot, distances, fidelity, labels_of, shots
from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.evaluation.segmentation import no_confusion
from v2vkit.inference.model import Model
from v2vkit.inference.trained_segment import TrainedSegment
from v2vkit.models.dned import NUM_OUTPUTS

SEEDS = range(3)
SIDES = {"finest side output": 0, "coarsest side output": 4}
TRAINED = "as in training"

Rendered = list[list[Image]]
"""Frames of each shot."""


def mixtures(model: Model) -> dict[str, Model]:
    """Name of a row -> the model with these edge weights."""
    return {
        TRAINED: model,
        **{f"seed {seed}": model.variant(edge_seed=seed) for seed in SEEDS},
        **{f"{name} alone": model.variant(np.eye(NUM_OUTPUTS)[i].tolist()) for name, i in SIDES.items()},
    }


def difference(a: Rendered, b: Rendered) -> float:
    """Mean absolute difference in levels of 255."""
    pairs = [pair for shot in zip(a, b, strict=True) for pair in zip(*shot, strict=True)]
    return float(np.mean([np.abs(x.astype(np.int16) - y).mean() for x, y in pairs]))


def distance(a: Rendered, b: Rendered) -> float:
    """Mean lite0 distance."""
    return float(np.mean([value for x, y in zip(a, b, strict=True) for value in distances(x, y, "shot")]))


def sheet(rendered: Mapping[str, Rendered], footage: Sequence[Shot]) -> Image:
    """The middle frame of each shot: real, then in every mixture."""
    rows = []
    for number, shot in enumerate(footage):
        middle = len(shot.frames) // 2
        rows.append(np.concatenate([shot.frames[middle], *(frames[number][middle] for frames in rendered.values())], 1))
    return np.concatenate(rows, 0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("checkpoint", nargs="?", default="s-flow")
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    model = v2vkit.load(str(args.work / "checkpoints" / args.checkpoint), device="cpu")
    segment = TrainedSegment(weights=args.work / "checkpoints" / "segmenter" / "model.safetensors")
    footage = list(shots(Folder(str(args.work / "held-out")), model))
    frames = [shot.frames for shot in footage]

    def mean_iou(images: Rendered) -> float:
        counts = no_confusion(segment.num_labels)
        for shot, of in zip(footage, images, strict=True):
            counts = fidelity([segment(image).labels for image in of], labels_of(shot.annotations), counts)
        return counts.mean_iou

    real = mean_iou(frames)
    rendered = {
        name: [list(variant.generate(shot.annotations)) for shot in footage]
        for name, variant in mixtures(model).items()
    }
    print("| edge mixture | L1 from training's | lite0 from training's | lite0 to real | label fidelity |")
    print("|---|---|---|---|---|")
    for name, images in rendered.items():
        near = [difference(images, rendered[TRAINED]), distance(images, rendered[TRAINED]), distance(images, frames)]
        print(f"| {name} | {near[0]:.2f} | {near[1]:.3f} | {near[2]:.3f} | {mean_iou(images) / real:.3f} |", flush=True)
    pairs = list(combinations([rendered[f"seed {seed}"] for seed in SEEDS], 2))
    apart = float(np.mean([difference(*pair) for pair in pairs]))
    print(f"Between two seeds, mean over pairs: L1 {apart:.2f} of 255 levels")
    print(f"Mean IoU on the real frames: {real:.3f}")
    if args.sheet:
        Pictures.fromarray(sheet(rendered, footage)).save(args.sheet)


if __name__ == "__main__":
    main()
