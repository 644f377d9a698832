"""Identity switches and IDF1 of `v2v track` on toy streets, where the identities are known.

IDF1: Ristani et al. 2016; switches: CLEAR MOT, Bernardin and Stiefelhagen 2008; both by motmetrics. A detection is
an object of the exact instance map; "dropped" are detections taken away at random, which are missed by every way: with
10 % dropped, the IDF1 of perfect ids is 0.95.
"""

import motmetrics
import numpy as np
from numpy.typing import NDArray

from v2vkit.conditions.tracking import Tracked, TrackSettings, TrackState, track_frame
from v2vkit.toyworld import LABELS, ToyFrame, make_scene, render_frame

CLIPS, FRAMES, SIZE, FPS = 4, 48, (128, 64), 15.0
BRIDGE = 1.0  # seconds
MIN_IOU = 0.5  # of a match with the truth
THINGS = tuple(label.id for label in LABELS if label.foreground)

Instances = NDArray[np.uint16]


def clips(num_clips: int = CLIPS, num_frames: int = FRAMES) -> list[list[ToyFrame]]:
    """Toy streets; those that `v2v make-toy` makes by default."""
    scenes = [make_scene(seed, num_frames, SIZE, fps=FPS) for seed in range(num_clips)]
    return [[render_frame(scene, t) for t in range(num_frames)] for scene in scenes]


def detections(clip: list[ToyFrame], *, dropped: float, seed: int) -> list[Instances]:
    """Instance maps numbered anew in every frame, with a share of the objects taken away."""
    rng = np.random.default_rng(seed)
    maps = []
    for frame in clip:
        ids = np.unique(frame.instances)[1:]
        table = np.zeros(int(frame.instances.max()) + 1, np.uint16)
        table[ids] = rng.permutation(len(ids)) + 1
        table[ids[rng.random(len(ids)) < dropped]] = 0
        maps.append(table[frame.instances])
    return maps


def renumbered(maps: list[Instances]) -> list[Instances]:
    """Ids of each frame for itself, from left to right, as an instance segmenter without memory might give them."""
    result = []
    for ids in maps:
        present = sorted(np.unique(ids)[1:], key=lambda number: float(np.nonzero(ids == number)[1].mean()))
        table = np.zeros(int(ids.max(initial=0)) + 1, np.uint16)
        table[present] = np.arange(1, len(present) + 1)
        result.append(table[ids])
    return result


def track(clip: list[ToyFrame], maps: list[Instances] | None, *, flow: bool) -> list[Instances]:
    """The tracker's ids of every frame; without maps from the labels alone."""
    settings = TrackSettings(things=THINGS, bridge=round(BRIDGE * FPS))
    state, result = TrackState(), []
    for t, frame in enumerate(clip):
        seen = flow and t > 0
        done: Tracked = track_frame(
            state,
            labels=frame.labels,
            instances=None if maps is None else maps[t],
            flow=frame.flow if seen else None,
            confidence=frame.visible.astype(np.float32) if seen else None,
            settings=settings,
        )
        state = done.state
        result.append(done.instances)
    return result


def score(truth: list[list[Instances]], found: list[list[Instances]], *, least: int) -> tuple[int, float]:
    """Identity switches and IDF1 over all clips; objects match from a mask IoU of 0.5 on.

    Args:
        truth, found: instance maps of every frame of every clip.
        least: objects with fewer pixels in a frame are left out of it, and so is what was found for them.
    """
    accumulators = []
    for true_maps, maps in zip(truth, found, strict=True):
        accumulator = motmetrics.MOTAccumulator(auto_id=True)
        for true, ids in zip(true_maps, maps, strict=True):
            joint = np.zeros((int(true.max()) + 1, int(ids.max()) + 1))
            np.add.at(joint, (true, ids), 1)
            areas = joint.sum(1)
            large, small = areas >= least, (areas > 0) & (areas < least)
            large[0] = small[0] = False
            objects, hypotheses = np.flatnonzero(large), np.unique(ids[ids > 0])
            hypotheses = hypotheses[~small[joint[:, hypotheses].argmax(0)]]
            union = areas[:, None] + joint.sum(0) - joint
            distance = 1 - joint / np.maximum(union, 1)
            distance[distance > 1 - MIN_IOU] = np.nan
            accumulator.update(objects, hypotheses, distance[np.ix_(objects, hypotheses)])
        accumulators.append(accumulator)
    table = motmetrics.metrics.create().compute_many(
        accumulators, metrics=["num_switches", "idf1"], generate_overall=True
    )
    return int(table.loc["OVERALL", "num_switches"]), float(table.loc["OVERALL", "idf1"])


def measure(streets: list[list[ToyFrame]], *, dropped: float) -> dict[str, list[list[Instances]]]:
    """Name of each way to number objects -> its instance maps of every frame of every clip."""
    maps = [detections(clip, dropped=dropped, seed=number) for number, clip in enumerate(streets)]
    pairs = list(zip(streets, maps, strict=True))
    ways = {
        "frame by frame": [renumbered(each) for each in maps],
        "tracker": [track(clip, each, flow=True) for clip, each in pairs],
        "tracker without flow": [track(clip, each, flow=False) for clip, each in pairs],
    }
    if not dropped:
        ways["tracker, labels only"] = [track(clip, None, flow=True) for clip in streets]
    return ways


def run() -> list[tuple[str, float, str]]:
    """Rows for `python -m benchmarks`."""
    streets = clips()
    truth = [[frame.instances for frame in clip] for clip in streets]
    rows = []
    for dropped in (0.0, 0.1):
        ways = measure(streets, dropped=dropped)
        for least in (1, 16):
            target = score(truth, ways["frame by frame"], least=least)[0] / 10
            for way, found in ways.items():
                switches, idf1 = score(truth, found, least=least)
                name = f"tracking, {dropped:.0%} dropped, from {least} pixels, {way}"
                rows.append((f"{name}: switches", float(switches), f"<= {target:.1f}" if way == "tracker" else ""))
                rows.append((f"{name}: IDF1", idf1, ""))
    return rows
