"""Temporal consistency: the error of the last frame, warped by the real video's flow."""

from collections.abc import Sequence

import numpy as np
import torch

from v2vkit.arrays import Image
from v2vkit.evaluation.metrics.contract import Batch, FloatMap, Metric, PerFrame, Value
from v2vkit.evaluation.metrics.setup import Setup
from v2vkit.evaluation.metrics.tensors import unit
from v2vkit.models.warp import warp


def warp_error(current: Image, previous: Image, flow: FloatMap, confidence: FloatMap) -> float | None:
    """Temporal consistency: mean of |x_t - warp(x_{t-1}, w)| over RGB and pixels, weighted with the confidence.

    Colours in [0, 1]. Absolute differences, where Lai et al. 2018 use squares. The real frames have a warp error, too:
    compare with it.

    Args:
        current, previous: two consecutive frames of the video to measure.
        flow: backward flow w of the *real* video at the same frame, float32 [H, W, 2].
        confidence: of that flow, [H, W] in [0, 1].

    Returns:
        None if the confidence is 0 everywhere.
    """
    total = float(confidence.sum(dtype=np.float64))
    if total <= 0:
        return None
    vectors = torch.from_numpy(np.ascontiguousarray(flow, np.float32)).permute(2, 0, 1)[None]
    difference = (unit(current) - warp(unit(previous), vectors)).abs().mean(1)[0].numpy()
    return float((difference * confidence).sum(dtype=np.float64) / total)


def open_metric(setup: Setup) -> Metric:
    return PerFrame(_measure, {"flow": "from the real frames"}, needs="flow")


def _measure(batch: Batch) -> Sequence[Value]:
    return [
        None if flow is None or previous is None else warp_error(image, previous, *flow)
        for image, previous, flow in zip(batch.images, batch.previous, batch.beside["flow"], strict=True)
    ]
