"""What rendering a simulator's streets is worth: one table after `v2v run pipelines/sim2real-toy.toml --work WORK`.

`python -m benchmarks.sim2real WORK` measures each kind of frames of the simulated streets (raw CG, three models, real):

- lite0 distance and KID of EfficientNet-lite0 to the real frames of the same streets;
- warp error by the exact flow, divided by that of the real frames;
- label fidelity: mean IoU of the segmenter trained on the real frames, divided by what it reaches on them (that
  segmenter has seen these streets);
- train on synthetic, test on real: mean IoU and pixel accuracy, on real frames of other streets, of a segmenter that
  was trained on these frames.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from v2vkit import weights
from v2vkit.conditions.flow_io import decode_kitti
from v2vkit.evaluation.metrics import lite0_distance, sets
from v2vkit.evaluation.metrics.contract import REAL, Batch
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.metrics.warp_error import warp_error
from v2vkit.evaluation.segmentation import Confusion, counted_in, no_confusion
from v2vkit.inference.trained_segment import TrainedSegment

Frames = list[NDArray[np.uint8]]
ROWS = {
    "cg": ("raw CG", "simulated/cg_images"),
    "pix2pixhd": ("pix2pixHD", "pix2pixhd"),
    "spatial-1": ("vid2vid", "spatial-1"),
    "s-flow": ("S-Flow", "s-flow"),
    "simulated-real": ("real frames", "simulated/images"),
}
"""Name of its segmenter -> its heading, and the folder of its frames."""


def read(folder: Path) -> Frames:
    """The pictures of a folder in the order of their names."""
    return [np.array(Image.open(path)) for path in sorted(folder.glob("*.png"))]


def clips(work: Path, folder: str) -> Iterator[tuple[str, Frames]]:
    """The frames of every simulated street; a single one may lie in the folder itself."""
    for street in sorted((work / "simulated" / "images").iterdir()):
        own = work / folder / street.name
        yield street.name, read(own if own.is_dir() else work / folder)


def score(segment: TrainedSegment, frames: Frames, labels: Frames, before: Confusion) -> Confusion:
    """`before` with what a segmenter finds on these frames."""
    for image, truth in zip(frames, labels, strict=True):
        before = counted_in(before, truth, segment(image).labels)
    return before


def warping(work: Path, street: str, frames: Frames) -> float:
    """Mean warp error of a street's frames by its exact flow."""
    errors = []
    for path in sorted((work / "simulated" / "flow" / street).glob("*.png")):
        t = int(path.stem)
        errors.append(warp_error(frames[t], frames[t - 1], *decode_kitti(path.read_bytes())))
    return float(np.mean([error for error in errors if error is not None]))


def measured(work: Path, name: str, folder: str, judge: TrainedSegment, real: dict[str, Frames]) -> list[float]:
    """lite0 distance, KID, warp error, mean IoU by `judge`, and mean IoU on the test streets of its own segmenter."""
    height, width = next(iter(real.values()))[0].shape[:2]
    setup = Setup(height, width, {"lite0": weights.require("lite0")}, device="cpu")
    distance, kernel = lite0_distance.open_metric(setup), sets.open_kid_lite0(setup)
    near: list[float] = []
    warps: list[float] = []
    found = no_confusion(judge.num_labels)
    for street, frames in clips(work, folder):
        times = range(len(frames))
        for start in range(0, len(frames), 8):
            part = slice(start, start + 8)
            for method, images in ((REAL, real[street][part]), (name, frames[part])):
                batch = Batch(method, street, street, list(times[part]), images, real[street][part])
                kernel.update(batch)
            near += [float(value) for value in distance.update(batch) if isinstance(value, float)]
        warps.append(warping(work, street, frames))
        found = score(judge, frames, read(work / "simulated" / "labels" / street), found)
    own = TrainedSegment(weights=work / f"segment-{name}" / "checkpoints" / "segmenter" / "model.safetensors")
    tested = no_confusion(own.num_labels)
    for street_folder in sorted((work / "test-streets" / "images").iterdir()):
        labels = read(work / "test-streets" / "labels" / street_folder.name)
        tested = score(own, read(street_folder), labels, tested)
    kid = float(kernel.compute()[name]["value"])
    return [float(np.mean(near)), kid, float(np.mean(warps)), found.mean_iou, tested.mean_iou, tested.accuracy]


def main(work: Path) -> None:
    """Print the table."""
    judge_of = work / "segment-simulated-real" / "checkpoints" / "segmenter" / "model.safetensors"
    judge = TrainedSegment(weights=judge_of)
    real = dict(clips(work, "simulated/images"))
    rows = {name: measured(work, name, folder, judge, real) for name, (_, folder) in ROWS.items()}
    oracle = rows["simulated-real"]
    print(
        "| frames | lite0 distance | KID lite0 | warp error / real | label fidelity | test on real: mIoU | accuracy |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, (near, kid, warp, fidelity, tested, accuracy) in rows.items():
        print(
            f"| {ROWS[name][0]} | {near:.3f} | {kid:.3f} | {warp / oracle[2]:.2f} | {fidelity / oracle[3]:.3f} "
            f"| {tested:.3f} | {accuracy:.3f} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
