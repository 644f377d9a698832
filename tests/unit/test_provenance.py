"""Every rendering says that it is synthetic and which model made it, unless the user turns that off."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.unit.rendering import render, save_untrained
from v2vkit import __version__
from v2vkit.artifacts.images import encode_png
from v2vkit.inference.provenance import SOURCE_TYPE, synthetic_comment
from v2vkit.video.png_header import with_comment


def _labels(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for t in range(count):
        (folder / f"{t}.png").write_bytes(encode_png(np.full((48, 64), t % 12, np.uint8)))
    return folder


def _comment(path: Path) -> str | None:
    with av.open(str(path)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
        return found.get("comment")


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_a_video_says_that_it_is_synthetic(tmp_path: Path, ending: str) -> None:
    info = save_untrained(tmp_path, "street", fingerprint="abc123")
    labels, target = _labels(tmp_path / "labels"), tmp_path / f"out.{ending}"
    render(labels, target, tmp_path)
    assert _comment(target) == synthetic_comment(info)
    for part in ("Synthetic", __version__, "spatial-1", "abc123", SOURCE_TYPE):
        assert part in synthetic_comment(info)
    render(labels, target, tmp_path, provenance=False)
    assert _comment(target) is None


def test_every_picture_says_that_it_is_synthetic(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "street")
    labels, marked, plain = _labels(tmp_path / "labels"), tmp_path / "marked", tmp_path / "plain"
    render(labels, f"{marked}/", tmp_path)
    render(labels, f"{plain}/", tmp_path, provenance=False)
    for name in ("000000.png", "000002.png"):
        with PillowImage.open(marked / name) as picture:
            assert picture.text == {"Comment": synthetic_comment(info)}
            marked_pixels = np.asarray(picture)
        with PillowImage.open(plain / name) as picture:
            assert picture.text == {}
            np.testing.assert_array_equal(np.asarray(picture), marked_pixels)


def test_a_commented_png_is_still_sound() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    data = with_comment(encode_png(image), "ä model")
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], image)
