"""A tiny model in a program, and the frames that `v2v render` makes with one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.unit.ingesting import label_maps
from tests.unit.rendering import render
from v2vkit import Model
from v2vkit.artifacts.images import decode_image

LABELS = label_maps(4)
OBJECTS = [np.repeat(np.arange(48, dtype=np.uint16)[:, None] // (5 + t), 64, 1) for t in range(4)]


def rendered_frames(source: Path, model: Model | Path, target: Path, **settings: object) -> list[np.ndarray]:
    """The frames that `v2v render` writes into a folder."""
    render(source, f"{target}/", Path(model.work.url) if isinstance(model, Model) else model, **settings)
    return [decode_image(path.read_bytes()) for path in sorted(target.glob("*.png"))]


def assert_same(found: Iterator[np.ndarray] | list[np.ndarray], wanted: list[np.ndarray]) -> None:
    frames = list(found)
    assert len(frames) == len(wanted) > 0
    for frame, other in zip(frames, wanted, strict=True):
        assert frame.dtype == np.uint8
        np.testing.assert_array_equal(frame, other)
