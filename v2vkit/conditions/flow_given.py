"""Exact flow that comes with the frames (a simulator's): its files, and how it becomes backward flow.

Files hold two numbers per pixel, and most do not say between which frames. Three readings occur:

- `backward`: on the grid of frame t, into frame t-1. What this toolkit stores (`v2vkit.conditions.flow`).
- `forward`: on the grid of frame t, into frame t+1. How KITTI and Middlebury define their files.
- `velocity`: on the grid of frame t, the motion since frame t-1. What renderers write (velocity buffers of Unreal, so
  CARLA's optical flow camera); the negative of backward flow.

Shapes: flow float32 [H, W, 2] in pixels (x to the right, y down), confidence float32 [H, W] in [0, 1].
"""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.flow import warp_backward
from v2vkit.conditions.flow_io import FloatMap, read_flow
from v2vkit.config import MAX_PIXELS
from v2vkit.errors import V2VError
from v2vkit.video.framing import Window, reframe_ids
from v2vkit.video.npy_files import open_array

Direction = Literal["backward", "forward", "velocity"]
Scale = tuple[float, float]
Flow = tuple[FloatMap, FloatMap]

_SPREAD = 0.5
"""Pixels by which vectors that meet in one pixel may differ (standard deviation)."""
_COVERED = 0.5
"""Least weight of the vectors that reach a pixel."""


def default_direction(name: str) -> Direction:
    """The reading of a file by its ending: data sets' formats are forward, arrays are CARLA's."""
    return "velocity" if name.lower().endswith(".npy") else "forward"


def default_scale(name: str, size: tuple[int, int]) -> Scale:
    """Pixels per stored unit (x, y) by the file's ending.

    Arrays are CARLA's: in screen coordinates from -1 to 1 with y up, so half the width and minus half the height.
    CARLA's manual says width and height instead; users measured this (carla-simulator/carla, issue 4795).
    """
    width, height = size
    return (width / 2, -height / 2) if name.lower().endswith(".npy") else (1.0, 1.0)


def read_given_flow(path: str | Path, *, scale: Scale | None = None) -> Flow:
    """Flow in pixels and its confidence from a KITTI .png, a .flo, or an array [H, W, 2] in a .npy file.

    Args:
        path: the file.
        scale: pixels per stored unit (x, y); None = `default_scale`. What a PNG holds is in pixels already.

    Raises:
        V2VError: the file cannot be read, is damaged or of another kind.
    """
    flow, confidence = _read_npy(path) if Path(path).suffix.lower() == ".npy" else read_flow(path)
    size = flow.shape[1], flow.shape[0]
    across, down = default_scale(str(path), size) if scale is None else scale
    return (flow * np.array((across, down), np.float32)).astype(np.float32), confidence


def _read_npy(path: str | Path) -> Flow:
    try:
        found = open_array(path)
    except OSError as error:
        text = error.strerror or "it is not an array"
        raise V2VError("file-unreadable", f"{path} cannot be read: {text}.", "Check the file.") from None
    except ValueError:
        raise V2VError("flow-damaged", f"{path} is not an array.", "Save it with numpy.save.") from None
    if found.ndim != 3 or found.shape[2] != 2 or found.dtype.kind != "f":
        what = f"{found.dtype} of shape {found.shape}"
        raise V2VError(
            "flow-damaged", f"{path} holds {what}, not floats [height, width, 2].", "Save one such array per frame."
        )
    if not 0 < found.shape[0] * found.shape[1] <= MAX_PIXELS:
        raise V2VError("image-too-large", f"{path} has the shape {found.shape}.", "Scale it down.")
    flow = np.array(found, np.float32)
    valid = np.isfinite(flow).all(axis=2)
    flow[~valid] = 0
    return flow, valid.astype(np.float32)


def invert_forward(flow: FloatMap, confidence: FloatMap) -> Flow:
    """Backward flow from forward flow: every vector is splatted bilinearly to where it ends, and negated.

    Confidence is 0 where no vector ends (the pixel was hidden before) and where vectors of different motion end (one
    surface hides another; forward flow does not say which is in front).

    Args:
        flow: on the grid of frame t-1, into frame t.
        confidence: of it.

    Returns:
        flow on the grid of frame t, into frame t-1, 0 where the confidence is 0.
    """
    height, width = confidence.shape
    y, x = np.mgrid[:height, :width]
    ends_x, ends_y = x + flow[..., 0].astype(np.float64), y + flow[..., 1].astype(np.float64)
    left, top = np.floor(ends_x).astype(np.int64), np.floor(ends_y).astype(np.int64)
    sums = np.zeros((5, height * width))
    terms = (np.ones_like(ends_x), flow[..., 0], flow[..., 1], (flow.astype(np.float64) ** 2).sum(2), confidence)
    for column in (left, left + 1):
        for row in (top, top + 1):
            weight = (1 - np.abs(ends_x - column)) * (1 - np.abs(ends_y - row)) * (confidence > 0)
            hit = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (weight > 0)
            place = (row * width + column)[hit]
            for total, term in zip(sums, terms, strict=True):
                total += np.bincount(place, (weight * term)[hit], height * width)
    weight, *totals = sums.reshape(5, height, width)
    u, v, squares, trust = (total / np.maximum(weight, 1e-9) for total in totals)
    certain = (weight >= _COVERED) & (squares - u**2 - v**2 <= _SPREAD**2)
    backward = np.where(certain[..., None], -np.stack([u, v], axis=-1), 0.0)
    return backward.astype(np.float32), (trust * certain).astype(np.float32)


def as_backward(before: Flow | None, current: Flow | None, direction: Direction) -> Flow:
    """Backward flow of frame t from the flow given for frame t-1 (read if `forward`) or for frame t."""
    if direction == "forward":
        assert before is not None, "forward flow of frame t-1 ends in frame t"
        return invert_forward(*before)
    assert current is not None, "backward flow and velocities lie on frame t"
    flow, confidence = current
    return (flow if direction == "backward" else -flow), confidence


def reframe_flow(flow: FloatMap, confidence: FloatMap, window: Window, size: tuple[int, int]) -> Flow:
    """Crops flow to the window and resizes it to (width, height), as `reframe_ids`; vectors are scaled likewise.

    Confidence becomes 0 where flow points outside the new frame.
    """
    factor = np.array((size[0] / window.width, size[1] / window.height), np.float32)
    cropped = reframe_ids(flow, window, size).astype(np.float32) * factor
    trust = reframe_ids(confidence, window, size).astype(np.float32)
    return cropped, trust * _inside(cropped)


def chain_flow(step: Flow, before: Flow) -> Flow:
    """Backward flow over k+1 frames from that over one frame and that of frame t-1 over k frames.

    Confidence is 0 where one of them is not trusted, flow leaves the frame, or the point lies at a motion boundary,
    where interpolation would mix two motions.
    """
    flow, confidence = step
    older, older_confidence = before
    height, width = confidence.shape
    y, x = np.mgrid[:height, :width]
    column = np.clip(np.rint(x + flow[..., 0]), 0, width - 1).astype(np.int64)
    row = np.clip(np.rint(y + flow[..., 1]), 0, height - 1).astype(np.int64)
    interpolated = warp_backward(older, flow)
    unmixed = np.abs(interpolated - older[row, column]).max(axis=2) <= _SPREAD
    total = (flow + interpolated).astype(np.float32)
    trust = confidence * older_confidence[row, column] * unmixed * _inside(flow) * _inside(total)
    return total, trust.astype(np.float32)


def _inside(flow: FloatMap) -> NDArray[np.bool_]:
    """Where flow points into the frame; pixels are unit squares."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def photometric_error(previous: NDArray[np.uint8], current: NDArray[np.uint8], flow: Flow) -> float:
    """Mean difference, in levels of 255, of a frame and the previous one warped to it by backward flow.

    Over pixels that are trusted and lie inside; both are blurred a little, since textures of one frame alias.
    """
    vectors, confidence = flow
    trusted = (confidence > 0) & _inside(vectors)
    if not trusted.any():
        return float("inf")
    old, new = (cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32) for image in (previous, current))
    return float(np.abs(warp_backward(old, vectors) - new)[trusted].mean())
