"""The benchmark of identity: distances within and between clips, and of damaged frames."""

from pathlib import Path

import numpy as np

from benchmarks.identity import DAMAGE, frames_of, lines
from tests.unit.video_files import moving_frames, write_file


def _brightness(images: list[np.ndarray]) -> list[np.ndarray | None]:
    """Embeddings by which people differ in brightness, by 0.01 a level; no face in the dark."""
    return [np.float32([image.mean() / 100, 0]) if image.any() else None for image in images]


def test_every_pair_of_clips_and_every_kind_of_damage_has_a_line() -> None:
    clips = {
        name: [np.full((16, 16, 3), level, np.uint8) for level in levels]
        for name, levels in {"a": (10, 20, 40), "b": (110, 0)}.items()
    }
    found = [" ".join(text.split()) for text in lines(clips, _brightness)]
    assert found[:3] == [
        "a, a 0.200 (0.100 to 0.300) 0 of 3 pairs without a face",
        "a, b 0.900 (0.700 to 1.000) 3 of 6 pairs without a face",
        "b, b - 1 of 1 pairs without a face",
    ]
    assert len(found) == 3 + len(DAMAGE)
    assert all(text.endswith(" 1 of 5 pairs without a face") for text in found[3:])


def test_frames_are_spread_over_the_clip_and_scaled(tmp_path: Path) -> None:
    clip = write_file(tmp_path / "in.mp4", moving_frames(9))
    height, width = moving_frames(1)[0].shape[:2]
    frames = frames_of(str(clip), 3, min(height, width) // 2)
    assert [frame.shape for frame in frames] == [(height // 2, width // 2, 3)] * 3
