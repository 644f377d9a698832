"""Drift over a long rendering: how much a model's frames change although its source maps repeat.

    python -m benchmarks.drift WORK [--frames 2000] [--refresh 250] [--first 4] [--out drift.png]

The maps of the workspace's longest shot are played forth and back without a cut, so that every frame has a twin in the
first pass with the same map. Measured per frame and averaged over each pass: mean absolute difference from the twin,
mean and standard deviation of the colours, sharpness (variance of the Laplacian), and in passes that run forward the
warp error (mean |x_t - warp(x_t-1, w)| over confident flow of the real frames). Each setting of `render` against drift
is run by itself: plain, refresh, anchored, both (`--first 2`: plain and refresh).
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from v2vkit.arrays import Image
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import MANIFEST
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import ModelInfo, load_model
from v2vkit.conditions.clips import ClipReader
from v2vkit.inference.conditioned import ConditionedFrame, stored
from v2vkit.inference.session import Session
from v2vkit.inference.workspace import annotated_frames, shots_of
from v2vkit.pipeline.stage import load_inputs

Flow = tuple[NDArray[np.float32], NDArray[np.float32]]
MEASURES = ("twin", "mean", "contrast", "sharpness", "warp")


def measure(
    session: Session, frames: list[ConditionedFrame], flows: list[Flow | None], num_frames: int
) -> list[dict[str, float]]:
    """The measures of every frame; `warp` is NaN where maps run backward."""
    order = _forth_and_back(len(frames))
    first_pass: dict[int, Image] = {}
    rows: list[dict[str, float]] = []
    before: Image | None = None
    for _, (position, forward) in zip(range(num_frames), order, strict=False):
        image = session.step(frames[position])
        twin = first_pass.setdefault(position, image)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        flow = flows[position] if forward else None
        row = {
            "twin": float(np.abs(image.astype(np.float32) - twin).mean()),
            "mean": float(image.mean()),
            "contrast": float(image.std(axis=(0, 1)).mean()),
            "sharpness": float(cv2.Laplacian(grey, cv2.CV_32F).var()),
            "warp": float("nan") if flow is None or before is None else _warp_error(image, before, flow),
        }
        rows.append(row)
        before = image
    return rows


def _forth_and_back(length: int) -> Iterator[tuple[int, bool]]:
    """Positions 0, 1 ... length - 1 ... 1, 0, 1 ..., and whether each follows the one before it in time."""
    yield 0, False
    while True:
        yield from ((position, True) for position in range(1, length))
        yield from ((position, False) for position in range(length - 2, -1, -1))


def _warp_error(image: Image, before: Image, flow: Flow) -> float:
    """Mean difference from the warped frame before where the flow is confident, colours in [0, 1]."""
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    warped = cv2.remap(
        before, x + flow[0][..., 0], y + flow[0][..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    difference = np.abs(image.astype(np.float32) - warped).mean(2) / 255
    return float((difference * flow[1]).sum() / max(float(flow[1].sum()), 1e-6))


def passes(rows: list[dict[str, float]], length: int) -> list[dict[str, float]]:
    """The mean of every measure over each pass through the maps."""
    groups = [rows[start : start + length] for start in range(0, len(rows) - length + 1, length)]
    means = []
    for group in groups:
        columns = {name: np.array([row[name] for row in group]) for name in MEASURES}
        means.append({name: float(np.nanmean(of)) if np.isfinite(of).any() else np.nan for name, of in columns.items()})
    return means


def _open(work: str) -> tuple[Any, ModelInfo, list[ConditionedFrame], list[Flow | None]]:
    folder = Folder(work)
    generator, info = load_model(find_model(folder, None))
    kinds = [*info.conditioning.artifacts, *(("flow",) if (folder / "flow").exists(MANIFEST) else ())]
    reader = ClipReader(folder, load_inputs(folder, kinds))
    shot = max(shots_of(reader.clips), key=lambda clips: sum(clip.num_frames for clip in clips))
    frames = [stored(frame, info) for frame in annotated_frames(reader, info.conditioning, [shot])]
    places = [(clip.name, t) for clip in shot for t in range(clip.num_frames)]
    flows = [reader.flow(*place, 1) if "flow" in kinds else None for place in places]
    return generator, info, frames, flows


def _plot(curves: dict[str, list[dict[str, float]]], length: int, path: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 10), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(MEASURES), 1, sharex=True)
    for name, axis in zip(MEASURES, axes, strict=True):
        for label, means in curves.items():
            axis.plot([(i + 0.5) * length for i in range(len(means))], [row[name] for row in means], label=label)
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("frame")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measures and prints the first and the last pass of every setting."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--refresh", type=int, default=250)
    parser.add_argument("--first", type=int, default=4, help="measure only the first settings")
    parser.add_argument("--out", default="drift.png")
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator, info, frames, flows = _open(given.work)
    length = 2 * len(frames) - 2
    settings: dict[str, dict[str, Any]] = {
        "plain": {},
        f"refresh {given.refresh}": {"refresh": given.refresh},
        "anchored": {"anchor_colours": True},
        f"anchored, refresh {given.refresh}": {"refresh": given.refresh, "anchor_colours": True},
    }
    curves = {}
    print(f"{'setting':24} {'pass':>12} " + " ".join(f"{name:>10}" for name in MEASURES))
    for label, values in list(settings.items())[: given.first]:
        begun = time.process_time()
        session = Session(generator, downsamplings=info.downsamplings, precision="fp32", **values)
        means = passes(measure(session, frames, flows, given.frames), length)
        curves[label] = means
        for number in sorted({0, 1, len(means) // 2, len(means) - 1} & set(range(len(means)))):
            numbers = " ".join(f"{means[number][name]:10.4f}" for name in MEASURES)
            print(f"{label:24} {f'{number + 1} of {len(means)}':>12} {numbers}", flush=True)
        print(
            f"{label:24} {(time.process_time() - begun) / given.frames:.3f} s of processor time per frame", flush=True
        )
        _plot(curves, length, given.out)  # after every setting: a long measurement may be stopped
        Path(given.out).with_suffix(".json").write_text(json.dumps(curves))


if __name__ == "__main__":
    main()
