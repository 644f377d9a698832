"""A small real stage for the tests of the frame: it inverts frames. Module-level, so that spawned workers find it."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import ClipInfo
from v2vkit.config import StageConfig, setting
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Plan, Sample, Stage


class SourceConfig(StageConfig):
    """Frames from nothing."""

    num_clips: int = setting(4, "Clips.", ge=1)
    clip_frames: int = setting(5, "Frames of a clip.", ge=1)
    seed: int = setting(0, "Seed.")
    enlarged: int = setting(1, "Times 32x24 pixels.", ge=1)
    source: str = setting("", "A file whose content counts as input.")


def _frame(seed: int, clip: str, t: int) -> np.ndarray:
    digest = hashlib.sha256(f"{seed}/{clip}/{t}".encode()).digest()
    return np.random.default_rng(list(digest)).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def open_source(config: SourceConfig) -> Opened:
    def function(clip: Clip) -> Iterator[Sample]:
        for t in range(clip.info.num_frames):
            labels = np.full((24, 32), t, np.uint8)
            labels[4 + t % 5 : 18, 6 + t : 20 + t] = 0
            frame, labels = (
                image.repeat(config.enlarged, 0).repeat(config.enlarged, 1)
                for image in (_frame(config.seed, clip.info.name, t), labels)
            )
            yield Sample(t, {"png": encode_png(frame), "label.png": encode_png(labels)})

    return Opened(function)


def plan_source(config: SourceConfig) -> Plan:
    clips = [
        ClipInfo(
            name=f"clip-{i:04d}",
            num_frames=config.clip_frames,
            width=32 * config.enlarged,
            height=24 * config.enlarged,
        )
        for i in range(config.num_clips)
    ]
    return Plan(tuple((clip,) for clip in clips), skipped={"bad.mp4": "it is empty"} if config.seed == 99 else {})


def hash_source(config: SourceConfig) -> dict[str, str]:
    if not config.source:
        return {}
    return {config.source: hashlib.sha256(Path(config.source).read_bytes()).hexdigest()}


SOURCE = Stage(
    name="fake-source",
    config=SourceConfig,
    version=1,
    output=lambda config: "frames",
    make=PerClip(open_source, plan_source, lambda config: {"labels": ("label.png",)}),
    sources=hash_source,
)


class InvertConfig(StageConfig):
    """Inverted frames."""

    offset: int = setting(0, "Added after inverting.", ge=0, le=255)
    waits_at: str = setting("", "Never finish this clip.", affects_output=False)
    fail: bool = setting(False, "Refuse to open.")


def open_invert(config: InvertConfig) -> Opened:
    if config.fail:
        raise V2VError("weights-missing", "The inverter cannot be opened.", "Do not set fail.")

    def function(clip: Clip) -> Iterator[Sample]:
        for t in range(clip.info.num_frames):
            while clip.info.name == config.waits_at:
                time.sleep(1)
            image = 255 - clip.frame(t) + np.uint8(config.offset)
            yield Sample(t, {"inv.png": encode_png(image)}, missing="third frame" if t == 2 else None)

    return Opened(function, {"name": "inverter", "version": "1"})


INVERT = Stage(
    name="fake-invert",
    config=InvertConfig,
    version=1,
    output=lambda config: "inverted",
    make=PerClip(open_invert),
    inputs=lambda config: ("frames",),
)


class SumConfig(StageConfig):
    """A running sum over each shot."""

    stop: str = setting("", "Raise at this clip.", affects_output=False)
    waits_at: str = setting("", "Never finish this clip.", affects_output=False)


def open_sum(config: SumConfig) -> Opened:
    def function(clip: Clip) -> Iterator[Sample]:
        if clip.info.name == config.stop:
            raise V2VError("stopped", f"Stopped at {clip.info.name}.", "Go on.")
        while clip.info.name == config.waits_at:
            time.sleep(1)
        total = 0 if clip.before is None else int(clip.before["sum.txt"])
        for t in range(clip.info.num_frames):
            total += int(clip.frame(t).sum())
            yield Sample(t, {"sum.txt": str(total).encode()}, counts={"frames": 1, "starts": int(t == 0)})

    return Opened(function)


SUM = Stage(
    name="fake-sum",
    config=SumConfig,
    version=1,
    output=lambda config: "sums",
    make=PerClip(open_sum, carries_over=True),
    inputs=lambda config: ("frames",),
)
"""Carries its result over from clip to clip of a shot."""
