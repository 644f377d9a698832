"""Which part of the predictor of label maps limits it: its flow or its hallucination; footage seen in training or not.

`python -m benchmarks.prediction_parts CHECKPOINT DATA`: DATA has labels and flow of stride 1. Mean IoU and pixel
accuracy at t+1, t+5 and t+10 of the model, of its variants, and of the last observed map warped by the real flow; the
error of the predicted flow in pixels, and the cross-entropy of the real labels.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v2vkit.artifacts.folder import Folder
from v2vkit.conditions.clips import ClipReader
from v2vkit.evaluation.prediction import HORIZONS, admissible_starts, confusion, mean_iou
from v2vkit.inference.prediction import load_prediction
from v2vkit.models.label_maps import cross_entropy, labels_from_channels
from v2vkit.models.predictor import LabelPredictor, PredictedMap, advance_history, observed_history
from v2vkit.models.warp import warp
from v2vkit.pipeline.stage import load_inputs

STEPS = max(HORIZONS)


@dataclass(frozen=True)
class Clip:
    """Maps [T, C, H, W] and backward flows [1, 2, H, W] by frame; the first frame has none."""

    maps: Tensor
    flows: list[Tensor | None]


def read(checkpoint: str, data: str) -> tuple[LabelPredictor, Iterator[Clip]]:
    """The predictor, and the clips of a workspace as it sees them."""
    network, info = load_prediction(Folder(checkpoint))
    assert isinstance(network, LabelPredictor), "a checkpoint of --method predictor"
    reader = ClipReader(Folder(data), load_inputs(Folder(data), ["labels", "flow"]))

    def clips() -> Iterator[Clip]:
        for clip in reader.clips:
            times = range(clip.num_frames)
            maps = [torch.from_numpy(reader.channels(info.conditioning, clip.name, t)).float() / 255 for t in times]
            found = [reader.flow(clip.name, t, 1) for t in times]
            yield Clip(
                torch.stack(maps),
                [None if of is None else torch.from_numpy(of[0]).permute(2, 0, 1)[None] for of in found],
            )

    return network, clips()


def warped_only(predicted: PredictedMap) -> PredictedMap:
    """The prediction with a mask of 0: only what the warped map does not label is hallucinated."""
    assert predicted.warped is not None
    missing = 1 - predicted.warped.sum(1, keepdim=True)
    return replace(predicted, probabilities=predicted.warped + missing * predicted.hallucinated)


def ahead(network: LabelPredictor, clip: Clip, start: int) -> Iterator[dict[str, Any]]:
    """Per step: row -> probabilities [1, K, H, W]; `flow` and `real`: predicted and real flow."""
    config, observe = network.config, network.config.observe
    first = observed_history(clip.maps[None, start : start + observe], None, config)
    states = {"model": first, "model, mask 0": first}
    last = clip.maps[None, start + observe - 1, : config.num_labels]
    kept = real = constant = None
    for t in range(start + observe, start + observe + STEPS):
        rows: dict[str, Any] = {}
        for name in states:
            found = network(states[name].maps)
            found = found if name == "model" else warped_only(found)
            states[name] = advance_history(states[name], found, config)
            rows[name] = found.probabilities
            if name == "model":
                rows["flow"], constant = found.flow, found.flow if constant is None else constant
        flow = clip.flows[t]
        assert flow is not None
        assert constant is not None
        kept = constant if kept is None else kept + warp(constant, kept)
        real = flow if real is None else flow + warp(real, flow)
        rows["first predicted flow kept"], rows["real flow of every step"] = warp(last, kept), warp(last, real)
        yield {**rows, "real": flow}


def main(checkpoint: str, data: str) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    network, clips = read(checkpoint, data)
    num_labels = network.config.num_labels
    counts: dict[tuple[str, int], NDArray[np.int64]] = defaultdict(
        lambda: np.zeros((num_labels, num_labels + 1), np.int64)
    )
    losses: dict[int, list[tuple[float, float, float]]] = defaultdict(list)
    with torch.inference_mode():
        for clip in clips:
            for start in admissible_starts(len(clip.maps), observe=network.config.observe, frames=STEPS):
                for step, rows in enumerate(ahead(network, clip, start), 1):
                    real = clip.maps[None, start + network.config.observe + step - 1]
                    labels = labels_from_channels(real, num_labels)[0, 0].numpy().astype(np.uint8)
                    flow, true = rows.pop("flow"), rows.pop("real")
                    losses[step].append(
                        (
                            float((flow - true).norm(dim=1).mean()),
                            float(true.norm(dim=1).mean()),
                            float(cross_entropy(rows["model"], real)),
                        )
                    )
                    for name, found in rows.items():
                        counts[name, step] += confusion(found.argmax(1)[0].numpy().astype(np.uint8), labels, num_labels)
    for name in dict.fromkeys(name for name, _ in counts):
        shown = [counts[name, step] for step in HORIZONS]
        ious = "  ".join(f"{mean_iou(of):.3f}" for of in shown)
        print(f"{name:26} mIoU {ious}  accuracy " + "  ".join(f"{np.trace(of) / of.sum():.3f}" for of in shown))
    for step in HORIZONS:
        error, length, loss = np.mean(losses[step], 0)
        print(f"t+{step:<3} error of the flow {error:.2f} of {length:.2f} px  cross-entropy {loss:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
