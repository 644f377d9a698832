"""The condition `densepose`: `ingest --densepose`, beside the skeleton, parts left out in training."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.conditions import use_estimator
from tests.errors import raises
from tests.unit.ingesting import contents, ingest, write_images
from tests.unit.rendering import render
from tests.unit.test_training_pose import FakePose
from tests.unit.video_files import moving_frames, read_raw
from tests.whole_way import check, evaluate, show, train
from v2vkit.artifacts.images import decode_image
from v2vkit.conditions.augment import IDENTITY, Change, draw_affine, warp_id_map
from v2vkit.conditions.densepose import DensePoseCondition, DensePoseMap, drop_body_parts
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.estimate_pose import STAGE as POSES
from v2vkit.stages.estimate_pose import PoseConfig


def bodies(count: int, width: int = 32, height: int = 24) -> list[np.ndarray]:
    """[I, U, V] of a figure of all 24 parts that walks to the right."""
    maps = []
    for t in range(count):
        iuv = np.zeros((height, width, 3), np.uint8)
        parts = np.arange(1, 25, dtype=np.uint8).reshape(12, 2).repeat(3, 1)
        iuv[6:18, 4 + t : 10 + t, 0] = parts
        iuv[6:18, 4 + t : 10 + t, 1:] = np.random.default_rng(0).integers(1, 256, (12, 6, 2))
        maps.append(iuv)
    return maps


def write_iuv(folder: Path, maps: list[np.ndarray]) -> Path:
    """As DensePose writes them: OpenCV takes [I, U, V] for BGR."""
    folder.mkdir(parents=True)
    for t, iuv in enumerate(maps):
        assert cv2.imwrite(str(folder / f"frame{t}.png"), iuv)
    return folder


def test_files_of_densepose_become_the_published_channels(tmp_path: Path) -> None:
    """V, U, and I * 255 / 24, as networks see them that read such a file as RGB."""
    folder = write_images(tmp_path / "images", moving_frames(8, 32, 24))
    maps = bodies(8)
    ingest(tmp_path / "work", folder, densepose=write_iuv(tmp_path / "iuv", maps), cuts="none")
    stored = list(contents(tmp_path / "work", "densepose").values())
    for rgb, iuv in zip(stored, maps, strict=True):
        np.testing.assert_array_equal(rgb, iuv[..., ::-1])
    channels = DensePoseCondition().channels(DensePoseMap(stored[2]))
    np.testing.assert_array_equal(channels[0], maps[2][..., 2])
    np.testing.assert_array_equal(channels[1], maps[2][..., 1])
    np.testing.assert_array_equal(channels[2], np.rint(maps[2][..., 0] * (255 / 24)).astype(np.uint8))
    assert channels[2].max() == 255


def test_maps_are_resized_without_mixing_parts(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8, 64, 48))
    maps = bodies(8, 64, 48)
    ingest(tmp_path / "work", folder, densepose=write_iuv(tmp_path / "iuv", maps), size="40x30", cuts="none")
    for rgb, iuv in zip(contents(tmp_path / "work", "densepose").values(), maps, strict=True):
        assert rgb.shape == (30, 40, 3)
        assert set(map(tuple, rgb.reshape(-1, 3))) <= set(map(tuple, iuv[..., ::-1].reshape(-1, 3)))


@pytest.mark.parametrize(
    ("spoil", "code", "hint"),
    [
        (lambda iuv: Image.fromarray(iuv), "part-out-of-range", "OpenCV"),
        (lambda iuv: Image.fromarray(iuv[..., ::-1] * np.uint8(9)), "part-out-of-range", "I as blue"),
        (lambda iuv: Image.fromarray(iuv[..., 0]), "pixel-format-unsupported", "one PNG"),
        (lambda iuv: Image.fromarray(np.dstack([iuv, iuv[..., 0]])), "pixel-format-unsupported", "one PNG"),
        (lambda iuv: Image.fromarray(iuv[:12]), "size-mismatch", "size of the frames"),
    ],
    ids=["swapped", "scaled", "grey", "alpha", "size"],
)
def test_wrong_maps_are_explained_before_any_work(tmp_path: Path, spoil: Any, code: str, hint: str) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8, 32, 24))
    maps = write_iuv(tmp_path / "iuv", bodies(8))
    spoil(np.ascontiguousarray(bodies(8)[5][..., ::1] if "size" not in hint else bodies(8)[5][..., ::-1])).save(
        maps / "frame5.png"
    )
    with raises(code, "frame5.png", hint):
        ingest(tmp_path / "work", folder, densepose=maps, cuts="none")
    (maps / "frame5.png").write_bytes(b"text")
    with raises("format-unsupported", "frame5.png"):
        ingest(tmp_path / "work", folder, densepose=maps, cuts="none")
    (maps / "frame5.png").unlink()
    with raises("map-missing", "frame5"):
        ingest(tmp_path / "work", folder, densepose=maps, cuts="none")
    assert not (tmp_path / "work").exists()


def test_each_part_is_left_out_with_that_probability_all_channels_of_it() -> None:
    vui = np.ascontiguousarray(bodies(1)[0][..., ::-1])
    rng, share = np.random.default_rng(0), []
    for _ in range(200):
        dropped = drop_body_parts(vui, rng, 0.3)
        gone = {int(part) for part in np.unique(vui[..., 2][(dropped != vui).any(2)])}
        for part in range(1, 25):
            inside = vui[..., 2] == part
            assert (dropped[inside] == (0 if part in gone else vui[inside])).all()
        share.append(len(gone) / 24)
    assert np.mean(share) == pytest.approx(0.3, abs=0.03)
    annotation, condition = DensePoseMap(vui), DensePoseCondition()
    whole = condition.augment(annotation, Change(IDENTITY))
    np.testing.assert_array_equal(whole.vui, vui)
    first, second = (condition.augment(annotation, Change(IDENTITY, drop=0.5, seed=(7, t))).vui for t in (0, 1))
    assert not np.array_equal(first, second), "anew for every frame"


def test_augmentation_moves_parts_and_coordinates_as_ids() -> None:
    vui = np.ascontiguousarray(bodies(1)[0][..., ::-1])
    move = draw_affine(np.random.default_rng(5), 1.0, (32, 24))
    moved = DensePoseCondition().augment(DensePoseMap(vui), Change(move)).vui
    for channel in range(3):
        np.testing.assert_array_equal(moved[..., channel], warp_id_map(vui[..., channel], move))


def test_densepose_and_skeleton_go_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_estimator(monkeypatch, "pose", "mediapipe", f"{FakePose.__module__}:FakePose")
    options = RunOptions(work=str(tmp_path), workers=1)
    folder = write_images(tmp_path / "images", moving_frames(8, 32, 24))
    ingest(tmp_path, folder, densepose=write_iuv(tmp_path / "iuv", bodies(8)), cuts="none")
    run(POSES, PoseConfig(min_score=0.0), options)
    assert check(tmp_path) == []
    assert decode_image(show(tmp_path, "densepose").read_bytes()).std() > 1
    with raises("setting-unused", "--flip"):
        train(tmp_path, condition=("densepose",), flip=True)
    info = train(tmp_path, condition=("densepose", "pose"), drop_parts=0.3)
    assert (info.conditioning.names, info.generator.source_channels) == ("densepose+pose", 6)
    assert render(tmp_path, tmp_path / "out.mp4", tmp_path, maps=True) == []
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 8
    assert evaluate(tmp_path) == []
    with raises("maps-required", "--densepose"):
        render(folder, tmp_path / "out.mp4", tmp_path)
