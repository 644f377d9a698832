"""`v2v extract-flow`: backward optical flow with confidence between the frames of every clip."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from v2vkit.config import StageConfig, setting
from v2vkit.engine.devices import DEVICES
from v2vkit.estimators.registry import chosen, estimators_of, open_estimator, refuse_unused
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Sample, Stage
from v2vkit.weights import file_digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from v2vkit.arrays import Image
    from v2vkit.estimators.base import FlowEstimator

    FloatMap = NDArray[np.float32]

Confidence = Literal["forward-backward", "photometric", "none"]


class FlowConfig(StageConfig):
    """Compute backward optical flow with confidence between frames.

    For every frame t and stride k the flow is on the grid of frame t and points into frame t-k of the same clip. It is
    stored as a 16-bit PNG in KITTI's format (u, v at 1/64 pixel), with the confidence in the third channel. The first k
    frames of a clip have no flow.
    """

    flow: str = setting("dis", "Estimator: dis (OpenCV's DIS) or ptlflow (a network).", choices=estimators_of("flow"))
    preset: Literal["medium", "quality"] = setting(
        "medium", "Preset of dis: quality has half the error at about four times the time."
    )
    model: Literal[
        "raft", "raft_small", "sea_raft_s", "rapidflow", "neuflow2", "gmflow", "unimatch", "dpflow", "rpknet"
    ] = setting("raft", "Network of ptlflow.")
    weights: str | None = setting(None, "Weights for ptlflow; never downloaded.", metavar="FILE", affects_output=False)
    device: str = setting("cpu", f"Device of ptlflow: {DEVICES}.", affects_output=False)
    strides: tuple[int, ...] = setting(
        (1, 3), "Distance k to the earlier frame, 1 to 99; the temporal discriminators use 1, 3 and 9.", min_length=1
    )
    confidence: Confidence = setting(
        "forward-backward",
        "Confidence of the flow: forward-backward consistency, photometric error of the warped earlier frame, or none "
        "(1 everywhere).",
    )

    @field_validator("strides")
    @classmethod
    def _sorted_strides(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        if min(strides) < 1 or max(strides) > 99:
            raise ValueError("every stride must be from 1 to 99")
        return tuple(sorted(set(strides)))


def extract_flow(
    clip: Clip, *, estimator: "FlowEstimator", strides: tuple[int, ...], confidence: Confidence
) -> Iterator[Sample]:
    """The flow of every frame of a clip.

    While the estimator runs, other threads decode the next frame and encode the previous one; the result does not
    depend on their timing.

    Args:
        clip: with the frames.
        estimator: gives backward flow from a pair of frames.
        strides: distances to the earlier frame, ascending.
        confidence: kind of the third channel.

    Yields:
        one sample per frame in order, with `flow{k}.png` for each stride k <= t.

    Raises:
        V2VError: a frame is missing, damaged or of another size than its clip.
    """
    earlier: deque[Image] = deque(maxlen=max(strides))
    waiting: tuple[int, dict[str, Future[bytes]]] | None = None
    with ThreadPoolExecutor(max_workers=len(strides)) as helpers:
        upcoming = helpers.submit(clip.frame, 0)
        for t in range(clip.info.num_frames):
            current = upcoming.result()
            if t + 1 < clip.info.num_frames:
                upcoming = helpers.submit(clip.frame, t + 1)
            encoded: dict[str, Future[bytes]] = {}
            for k in strides:
                if k > t:
                    break
                previous = earlier[-k]
                backward = estimator(current, previous)
                forward = estimator(previous, current) if confidence == "forward-backward" else None
                encoded[f"flow{k}.png"] = helpers.submit(_encode, current, previous, backward, forward, confidence)
            earlier.append(current)
            if waiting is not None:
                yield _collect(*waiting)
            waiting = t, encoded
        if waiting is not None:
            yield _collect(*waiting)


def _collect(t: int, encoded: dict[str, "Future[bytes]"]) -> Sample:
    return Sample(t, {extension: future.result() for extension, future in encoded.items()})


def _encode(
    current: "Image", previous: "Image", backward: "FloatMap", forward: "FloatMap | None", confidence: Confidence
) -> bytes:
    from v2vkit.conditions.flow import confidence_forward_backward, confidence_photometric
    from v2vkit.conditions.flow_io import encode_kitti

    if forward is not None:
        return encode_kitti(backward, confidence_forward_backward(backward, forward))
    if confidence == "photometric":
        return encode_kitti(backward, confidence_photometric(current, previous, backward))
    return encode_kitti(backward)


def open_flow(config: FlowConfig) -> Opened:
    """Open the estimator; raises V2VError for a missing package or weights file."""
    name, settings = chosen("flow", dict(config))
    estimator = open_estimator("flow", name, **settings)
    function = partial(extract_flow, estimator=estimator, strides=config.strides, confidence=config.confidence)
    return Opened(function, {"name": estimator.name, "version": estimator.version})


def weights_checksum(config: FlowConfig) -> dict[str, str]:
    """The checksum of the weights file, so that other weights under the same name make the artifact stale.

    Raises:
        V2VError: a setting of another estimator is given, or the file does not exist.
    """
    refuse_unused("flow", config)
    return {} if config.weights is None else {"flow weights": file_digest(config.weights)}


STAGE = Stage(
    name="extract-flow",
    config=FlowConfig,
    version=1,
    output=lambda config: "flow",
    make=PerClip(open_flow),
    inputs=lambda config: ("frames",),
    sources=weights_checksum,
)
