"""`v2v make-rain`: one rainy frame per frame, the same for the same seed, and pairs that `ingest` accepts."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.errors import raises
from tests.unit.video_files import moving_frames, write_file
from v2vkit.artifacts.images import decode_image
from v2vkit.config import make_config
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.make_rain import COMMAND, RainConfig
from v2vkit.toyworld.rain import add_drops, add_streaks
from v2vkit.video.footage_source import open_video_source

GREY = np.full((96, 128, 3), 60, np.uint8)


def _make(source: Path, target: str, **more: object) -> list[str]:
    config = make_config(RainConfig, {"source": str(source), "target": target} | more, "test")
    return COMMAND.call(config, RunOptions())


def _pictures(folder: Path) -> list[NDArray[np.uint8]]:
    return [decode_image(path.read_bytes()) for path in sorted(folder.glob("*.png"))]


@pytest.mark.parametrize("add", [add_streaks, add_drops])
def test_a_frame_depends_on_seed_and_time_alone(add) -> None:
    photo = moving_frames(1, 128, 96)[0]
    before = photo.copy()
    frame = add(photo, 1.0, seed=3)
    assert (frame.shape, frame.dtype) == (photo.shape, np.uint8)
    add(photo, 7.0, seed=3)
    assert np.array_equal(add(photo, 1.0, seed=3), frame)
    assert np.array_equal(photo, before), "the frame given is not changed"
    for other in (add(photo, 1.0, seed=4), add(photo, 3.5, seed=3)):
        assert not np.array_equal(other, frame)


@pytest.mark.parametrize("add", [add_streaks, add_drops])
def test_no_rain_leaves_the_frame_unchanged_and_more_rain_changes_more(add) -> None:
    photo = moving_frames(1, 128, 96)[0]
    errors = [np.abs(add(photo, 1.0, amount=amount).astype(int) - photo).mean() for amount in (0, 0.5, 2)]
    assert errors[0] == 0 < errors[1] < errors[2]


def test_streaks_are_brighter_than_what_they_hide_and_longer_than_wide() -> None:
    rain = add_streaks(GREY, 0.5, veil=0.1).astype(int)[..., 0]
    veil = np.median(rain)
    assert rain.min() >= 60
    assert veil > 60, "distant rain adds light"
    streaks = np.where(rain > veil + 8, rain - veil, 0).astype(float)
    assert 0 < (streaks > 0).mean() < 0.4
    across, down = (np.abs(np.diff(streaks, axis=axis)).mean() for axis in (1, 0))
    assert across > 1.5 * down


def test_streaks_fall_and_drops_stay() -> None:
    photo = moving_frames(1, 128, 96)[0]

    def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
        return float((first & second).sum() / (first | second).sum())

    def streaks(time: float) -> NDArray[np.bool_]:
        rain = add_streaks(GREY, time)[..., 0].astype(int)
        return np.asarray(rain > np.median(rain) + 8)

    def drops(time: float) -> NDArray[np.bool_]:
        return np.asarray((add_drops(photo, time) != photo).any(-1))

    assert overlap(drops(2.0), drops(2.04)) > 0.7
    assert overlap(drops(2.0), drops(10.0)) < 0.5, "after the longest life of a drop all are others"
    assert overlap(streaks(2.0), streaks(2.04)) < 0.5


def test_a_drop_shows_the_scene_upside_down() -> None:
    scene = np.zeros((96, 128, 3), np.uint8)
    scene[:48] = 200  # the sky
    frame = add_drops(scene, 2.0).astype(int)[..., 0]
    sky, road = frame[:30], frame[66:]
    assert sky.min() < 120, "a drop before the sky shows the road"
    assert road.max() > 80, "a drop before the road shows the sky"


def test_pictures_are_lossless_and_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_file(tmp_path / "drive.mp4", moving_frames(5, 64, 48))
    for name in ("a", "b"):
        assert _make(source, f"{tmp_path}/new/{name}/", kind="both", seed=2) == []
    assert "5 frames" in capsys.readouterr().out
    assert [path.read_bytes() for path in sorted((tmp_path / "new/a").glob("*.png"))] == [
        path.read_bytes() for path in sorted((tmp_path / "new/b").glob("*.png"))
    ]
    clean = [frame.image for frame in open_video_source(str(source)).read()]
    rainy = _pictures(tmp_path / "new/a")
    for i, (image, found) in enumerate(zip(clean, rainy, strict=True)):
        assert image is not None
        assert np.array_equal(found, add_drops(add_streaks(image, i / 25, seed=2), i / 25, seed=2))


def test_a_video_keeps_its_time_stamps(tmp_path: Path) -> None:
    source = write_file(tmp_path / "drive.mp4", moving_frames(4), stamps=[0, 1, 5, 6])
    assert _make(source, str(tmp_path / "rain.mp4")) == []
    stamps = []
    for name in ("drive.mp4", "rain.mp4"):
        opened = open_video_source(str(tmp_path / name))
        assert opened.time_base is not None
        stamps.append([frame.pts * opened.time_base for frame in opened.read() if frame.pts is not None])
    assert stamps[0] == stamps[1]


def test_a_folder_of_pictures_has_the_rate_that_is_given(tmp_path: Path) -> None:
    source = write_file(tmp_path / "drive.mp4", moving_frames(3))
    _make(source, f"{tmp_path}/dry/", amount=0)
    _make(tmp_path / "dry", f"{tmp_path}/slow/", fps="2")
    _make(tmp_path / "dry", f"{tmp_path}/usual/")
    dry, slow, usual = (_pictures(tmp_path / name) for name in ("dry", "slow", "usual"))
    assert np.array_equal(slow[1], add_streaks(dry[1], 0.5))
    assert np.array_equal(usual[1], add_streaks(dry[1], 0.04))
    with raises("setting-unused", "--fps", "drive.mp4"):
        _make(source, f"{tmp_path}/other/", fps="2")


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    source = write_file(tmp_path / "drive.mp4", moving_frames(3))
    before = source.read_bytes()
    with raises("setting-unused", "--veil"):
        _make(source, f"{tmp_path}/rain/", kind="drops", veil=0.1)
    with raises("target-is-source", "drive.mp4"):
        _make(source, str(source))
    assert source.read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with raises("folder-not-empty", "notes.txt"):
        _make(source, str(tmp_path / "mine"))


def test_source_and_rain_are_a_pair_for_ingest(tmp_path: Path) -> None:
    import v2vkit

    source = write_file(tmp_path / "drive.mp4", moving_frames(8))
    v2vkit.make_rain(source=source, target=f"{tmp_path}/rain/", kind="drops")
    done = v2vkit.ingest(tmp_path / "work", sources=[source], picture=tmp_path / "rain", workers=1)
    assert done.problems == ()
    assert (tmp_path / "work/pictures/manifest.json").is_file()
