"""The condition `depth`: `ingest --depth`, metric and relative, beside other conditions."""

from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.ingesting import clips, contents, ingest, manifest, write_images
from tests.unit.rendering import conditioned, render
from tests.unit.video_files import moving_frames, read_raw, write_file
from tests.whole_way import check, evaluate, show, train
from v2vkit.artifacts.images import decode_image
from v2vkit.conditions.augment import Change, draw_affine, warp_id_map
from v2vkit.conditions.depth import DepthCondition, DepthMap


def ramps(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Metres: a ground that comes nearer, a sky that is not known."""
    rows = np.linspace(40, 2, height - 8, dtype=np.float32)[:, None]
    maps = [
        np.concatenate([np.zeros((8, width), np.float32), np.tile(rows, width) / (1 + t / 10)]) for t in range(count)
    ]
    for t, depth in enumerate(maps):
        depth[20:30, 4 * t % 40 : 4 * t % 40 + 12] = 1.5
    return maps


def write_depth(folder: Path, maps: list[np.ndarray], *, scale: float = 256, pattern: str = "frame{}.png") -> Path:
    return write_images(folder, [np.rint(depth * scale).astype(np.uint16) for depth in maps], pattern=pattern)


def write_arrays(folder: Path, maps: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for number, depth in enumerate(maps):
        np.save(folder / f"frame{number}.npy", depth)
    return folder


def test_metric_depth_is_stored_in_one_unit(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8))
    maps = ramps(8)
    millimetres = write_depth(tmp_path / "mm", maps, scale=1000)
    metres = write_arrays(tmp_path / "m", maps)
    for depth, scale in ((millimetres, 1000.0), (metres, 1.0)):
        work = tmp_path / f"work-{depth.name}"
        ingest(work, folder, depth=depth, depth_scale=scale, cuts="none")
        for stored, known in zip(contents(work, "depth").values(), maps, strict=True):
            assert stored.dtype == np.uint16
            assert np.array_equal(stored > 0, known > 0)
            assert np.abs(stored / 256 - known).max() <= 0.5 / 256 + 0.5 / 1000 + 1e-6
        assert manifest(work, "depth")["config"]["depth_scale"] == scale


def test_relative_depth_is_normalised_over_its_shot_whatever_its_unit(tmp_path: Path) -> None:
    """Depth, the same in another unit, and disparity all become the same; clips of a shot share a range."""
    folder = write_images(tmp_path / "images", moving_frames(16))
    maps = ramps(16)
    others = {
        "depth": (write_arrays(tmp_path / "depth", maps), {}),
        "unit": (write_arrays(tmp_path / "unit", [depth * 37 for depth in maps]), {}),
        "disparity": (
            write_arrays(tmp_path / "disparity", [np.where(d > 0, 5 / np.maximum(d, 1e-3), 0) for d in maps]),
            {"depth_inverse": True},
        ),
    }
    found = {}
    for name, (depth, settings) in others.items():
        ingest(tmp_path / name / "w", folder, depth=depth, cuts="none", clip_frames=8, min_frames=4, **settings)
        found[name] = np.stack(list(contents(tmp_path / name / "w", "depth").values())).astype(int)
    ranges = [clip["source"]["depth"]["near_far"] for clip in clips(tmp_path / "depth" / "w").values()]
    assert len(ranges) == 2
    assert ranges[0] == ranges[1]
    assert (found["depth"].max(), found["depth"][:, :8].max()) == (65535, 0)
    assert np.abs(found["unit"] - found["depth"]).max() <= 1
    assert np.abs(found["disparity"] - found["depth"]).max() <= 8


def test_depth_is_cropped_and_resized_as_ids_are(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", [np.zeros((32, 64, 3), np.uint8)] * 8)
    depth = np.full((32, 64), 3.0, np.float32)
    depth[:, 40:] = 20
    ingest(
        tmp_path / "work",
        folder,
        depth=write_arrays(tmp_path / "d", [depth] * 8),
        depth_scale=1.0,
        crop="center",
        size="16x16",
        cuts="none",
    )
    stored = contents(tmp_path / "work", "depth")["images-0000/000004.depth.png"]
    assert set(stored[:, :12].ravel()) == {3 * 256}
    assert set(stored[:, 12:].ravel()) == {20 * 256}


def test_depth_that_does_not_fit_is_named_before_any_work(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8))
    video = write_file(tmp_path / "a.mp4", moving_frames(9))
    depth = write_depth(tmp_path / "depth", ramps(8))
    coloured = write_images(tmp_path / "coloured", moving_frames(8))
    small = write_depth(tmp_path / "small", ramps(8, 32, 24))
    mixed = write_arrays(tmp_path / "mixed", ramps(8))
    (mixed / "frame9.png").write_bytes((depth / "frame0.png").read_bytes())
    nothing = write_arrays(tmp_path / "nothing", [d * 0 for d in ramps(8)])
    for source, maps, code, told in (
        (video, depth, "frame-count-mismatch", "8 depth maps"),
        (folder, coloured, "pixel-format-unsupported", "coloured"),
        (folder, small, "size-mismatch", "32x24"),
        (folder, mixed, "format-conflict", "mixed"),
        (folder, nothing, "depth-missing", "nothing"),
    ):
        with raises(code, told):
            ingest(tmp_path / "work", source, depth=maps, cuts="none")
    with raises("setting-invalid", "--depth-scale", "--depth-inverse"):
        ingest(tmp_path / "work", folder, depth_scale=256)
    assert not (tmp_path / "work").exists()


def test_channels_are_inverse_depth_and_where_it_is_known() -> None:
    depth = np.array([[0.5, 1.0, 2.0, 10.0, 99.0, 0.0]])
    metric = DepthCondition(metric=True, near=1, far=10).channels(DepthMap.of(depth))
    half = round(255 * (1 / 2 - 1 / 10) / (1 - 1 / 10))
    assert metric.tolist() == [[[255, 255, half, 0, 0, 0]], [[255, 255, 255, 255, 255, 0]]]
    relative = DepthCondition().channels(DepthMap.of(depth, near_far=(1, 10)))
    assert np.abs(relative.astype(int) - metric).max() <= 1
    with pytest.raises(ValueError, match="near 9 is not below far 2"):
        DepthCondition(near=9, far=2)


def test_augmentation_moves_depth_and_mixes_none() -> None:
    annotation, change = DepthMap.of(ramps(3)[2]), Change(draw_affine(np.random.default_rng(1), 1.0, (64, 48)))
    moved = DepthCondition().augment(annotation, change).stored
    np.testing.assert_array_equal(moved, warp_id_map(annotation.stored, change.move))
    assert set(moved.ravel()) <= set(annotation.stored.ravel())
    assert not np.array_equal(moved, annotation.stored)


@pytest.mark.parametrize("scale", [256.0, None], ids=["metric", "relative"])
def test_labels_and_depth_go_the_whole_way(tmp_path: Path, scale: float | None) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8, 32, 24))
    labels = write_images(tmp_path / "ids", [np.tile(np.arange(32, dtype=np.uint8) // 11, (24, 1))] * 8)
    depth = write_depth(tmp_path / "depths", ramps(8, 32, 24))
    settings = {} if scale is None else {"depth_scale": scale}
    ingest(tmp_path, folder, labels=labels, depth=depth, num_labels=3, cuts="none", **settings)
    assert check(tmp_path) == []
    assert decode_image(show(tmp_path, "depth").read_bytes()).std() > 1
    metres = {} if scale is None else {"depth_near": 2.0, "depth_far": 50.0}
    info = train(tmp_path, domain="street", condition=("depth",), flip=True, **metres)
    assert info.conditioning.names == "labels+depth"
    wanted = DepthCondition() if scale is None else DepthCondition(metric=True, near=2, far=50)
    assert info.conditioning.conditions[1] == wanted
    out = tmp_path / "out.mp4"
    assert render(tmp_path, out, tmp_path, maps=True, compare=True) == []
    assert read_raw(out)[0][0].shape[1] == 3 * 32
    whole, from_folders = tmp_path / "whole", tmp_path / "from_folders"
    assert render(tmp_path, f"{whole}/", tmp_path, maps=True) == []
    assert render(labels, f"{from_folders}/", tmp_path, depth=str(depth), fps="25") == []
    names = sorted(path.name for path in whole.glob("*.png"))
    assert len(names) == 8
    for name in names:
        assert (whole / name).read_bytes() == (from_folders / name).read_bytes(), (
            "folders give what the workspace holds"
        )
    on_the_fly = list(conditioned(labels, info, beside={"depth": str(depth)}))
    assert np.unique(on_the_fly[0].s[-2]).size > 5
    assert evaluate(tmp_path) == []

    for source, given, code, hint in (
        (labels, {}, "maps-required", "--depth"),
        (labels, {"depth": str(depth), "densepose": str(depth)}, "setting-unused", "--densepose"),
        (labels, {"depth": str(labels)}, "pixel-format-unsupported", "16"),
        (write_file(tmp_path / "a.mp4", moving_frames(8)), {}, "maps-required", "--maps"),
    ):
        with raises(code, hint):
            render(source, out, tmp_path, **given)


def test_settings_of_depth_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8, 32, 24))
    ingest(tmp_path, folder, depth=write_depth(tmp_path / "depths", ramps(8, 32, 24)), picture=folder, cuts="none")
    for settings, code, told in (
        ({"domain": "frames", "depth_near": 2.0}, "setting-unused", "--condition depth"),
        ({"condition": ("depth",), "depth_near": 2.0}, "depth-scale-missing", "--depth-near"),
        ({"condition": ("depth",), "foreground": (1,)}, "setting-unused", "--foreground"),
    ):
        with raises(code, told):
            train(tmp_path, **settings)


def test_depth_of_a_renderer_in_exr(tmp_path: Path) -> None:
    exr = pytest.importorskip("OpenEXR")
    folder, maps = write_images(tmp_path / "images", moving_frames(8)), ramps(8)
    (tmp_path / "exr").mkdir()
    for number, depth in enumerate(maps):
        header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
        path = tmp_path / "exr" / f"frame{number}.exr"
        exr.File(header, {"Z": np.where(depth > 0, depth, np.float32(1e10))}).write(str(path))
    ingest(tmp_path / "work", folder, depth=tmp_path / "exr", depth_scale=1, cuts="none")
    for stored, known in zip(contents(tmp_path / "work", "depth").values(), maps, strict=True):
        assert np.abs(stored / 256 - known).max() <= 0.5 / 256 + 1e-6
