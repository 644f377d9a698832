"""Folders as sources, and folders that are rendered to; what joins into one rendering of a workspace."""

import errno
import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.conditions import of_domain, remade, use_estimator
from tests.errors import raises
from tests.unit.rendering import conditioned, render, save_untrained
from tests.unit.training_data import make_workspace
from tests.unit.video_files import moving_frames, read_raw, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import ClipInfo, Manifest, read_manifest, write_manifest
from v2vkit.checkpoint.model_file import load_model
from v2vkit.conditions.clips import ClipReader
from v2vkit.inference.framing import squeezed
from v2vkit.inference.sources import open_source, source_kind
from v2vkit.inference.workspace import count_missing_instances, maps_warning, shots_of
from v2vkit.stages.render import COMMAND, RenderConfig
from v2vkit.video.footage_source import open_picture_source
from v2vkit.video.framing import Window, reframe
from v2vkit.video.pictures import PictureWriter
from v2vkit.video.probe import probe
from v2vkit.video.stream import Source


@pytest.fixture(autouse=True)
def _faces_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image shows a face."""
    use_estimator(monkeypatch, "face", "mediapipe", "tests.faces:MiddleFace")


def _pictures(folder: Path, images: list[np.ndarray], *, names: list[str] | None = None) -> Path:
    folder.mkdir()
    for t, image in enumerate(images):
        (folder / (names[t] if names else f"{t}.png")).write_bytes(encode_png(image))
    return folder


def _labels(folder: Path, count: int = 3, size: tuple[int, int] = (64, 48)) -> Path:
    return _pictures(folder, [np.full((size[1], size[0]), t % 12, np.uint8) for t in range(count)])


def test_a_folder_of_pictures_is_a_source_as_a_video_is(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "face")
    images = moving_frames(12)
    folder = _pictures(tmp_path / "images", images)  # 10.png comes after 9.png
    frames = list(conditioned(folder, info, cuts="none"))
    assert len(frames) == 12
    assert {frame.frame.shot for frame in frames} == {0}
    for frame, image in zip(frames, images, strict=True):
        window = Window(0, 0, image.shape[1], image.shape[0])
        np.testing.assert_array_equal(frame.frame.image, reframe(image, window, (64, 48)))
    assert render(folder, tmp_path / "out.mp4", tmp_path, fps="12.5") == []
    assert probe(tmp_path / "out.mp4").fps == Fraction(25, 2)
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 12
    assert open_source(str(folder), info).fps == 25


def test_shots_of_a_folder_of_pictures_begin_anew(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "face")
    images = [*moving_frames(12), *(255 - image for image in moving_frames(12))]
    folder = _pictures(tmp_path / "images", images)
    frames = conditioned(folder, info, cuts="content")
    assert [frame.frame.shot for frame in frames] == [0] * 12 + [1] * 12


def test_a_picture_is_rendered_to_one_frame(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    folder = _pictures(tmp_path / "images", moving_frames(3), names=["a.png", "b.png", "c.png"])
    render(folder / "b.png", tmp_path / "out.mp4", tmp_path)
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 1


def test_the_first_picture_tells_labels_from_what_is_to_be_segmented(tmp_path: Path) -> None:
    info = save_untrained(tmp_path, "street")
    labels, pictures = _labels(tmp_path / "labels"), _pictures(tmp_path / "images", moving_frames(2))
    assert source_kind(str(labels), info) == source_kind(str(pictures), info) == "labels", "it came with its labels"
    segmented = remade(info, stage="segment")
    assert source_kind(str(labels), segmented) == "labels"
    assert source_kind(str(pictures), segmented) == "pictures"
    assert source_kind(str(tmp_path / "in.mp4"), segmented) == "video"
    with raises("file-missing", "x.jpg"):
        render(tmp_path / "x.jpg", tmp_path / "out.mp4", tmp_path)


def test_label_maps_come_at_the_rate_that_is_given(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street", frames={"fps": "15"})
    labels = _labels(tmp_path / "labels")
    for settings, rate in (({}, 15), ({"fps": "30000/1001"}, Fraction(30000, 1001))):
        render(labels, tmp_path / "out.mp4", tmp_path, **settings)
        assert probe(tmp_path / "out.mp4").fps == rate
    with pytest.raises(ValueError, match="frame rate"):
        render(labels, tmp_path / "out.mp4", tmp_path, fps="fast")


def test_files_that_tell_their_rate_take_none(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    source = write_file(tmp_path / "in.mp4", moving_frames(3))
    for driver, maps in ((source, False), (tmp_path, True)):
        with raises("setting-unused", "--fps", str(driver)):
            render(driver, tmp_path / "out.mp4", tmp_path, fps="10", maps=maps)


def test_instances_that_the_model_knows_are_missed(tmp_path: Path) -> None:
    labels, instances = _labels(tmp_path / "labels"), _labels(tmp_path / "instances")
    save_untrained(tmp_path, "street", maps={"labels": "l", "instances": "i"}, maps_stage="ingest")
    (problem,) = render(labels, tmp_path / "out.mp4", tmp_path)
    assert problem == f"no instance map, with which the model was trained (--instances): 3 frames of {labels}"
    assert render(labels, tmp_path / "out.mp4", tmp_path, instances=str(instances)) == []
    info = save_untrained(tmp_path, "street", maps={"labels": "l", "instances": None}, maps_stage="ingest")
    assert render(labels, tmp_path / "out.mp4", tmp_path) == []
    of_yolo = remade(info, stage="segment", settings={"segment": "yolo"})
    assert open_source(str(labels), of_yolo).missing
    unseen = of_yolo.model_copy(update={"conditioning": of_domain("street", edges=False)})
    assert not open_source(str(labels), unseen).missing


def test_another_aspect_is_told_where_the_footage_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = save_untrained(tmp_path, "street", frames={"crop": "none", "size": None})
    same, near, tall = (
        Source("a.mp4", *size, fps=Fraction(25), read=lambda: iter(())) for size in ((640, 480), (650, 480), (480, 640))
    )
    assert squeezed(info, same) is squeezed(info, near) is None
    assert "a.mp4 is 480x640 and is squeezed to 64x48" in str(squeezed(info, tall))
    for frames in ({"crop": "center", "size": None}, {"crop": "none", "size": "64x48"}, {}):
        assert squeezed(info.model_copy(update={"frames": frames}), tall) is None
    render(_labels(tmp_path / "tall", size=(48, 64)), tmp_path / "out.mp4", tmp_path)
    assert "tall is 48x64 and is squeezed" in capsys.readouterr().out
    render(_labels(tmp_path / "wide", size=(128, 96)), tmp_path / "out.mp4", tmp_path)
    assert "squeezed" not in capsys.readouterr().out


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_rendered_to_as_numbered_pictures(
    tmp_path: Path, there: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    save_untrained(tmp_path, "face")
    source = write_file(tmp_path / "in.mp4", moving_frames(4), audio="aac")
    target = tmp_path / "out"
    if there:
        target.mkdir()
    name = str(target) if there else f"{target}/"
    render(source, name, tmp_path)
    assert "4 pictures. The sound is left out" in capsys.readouterr().out
    assert _visible(target) == [f"00000{t}.png" for t in range(4)]
    render(source, name, tmp_path, duration=0.08)
    assert _visible(target) == ["000000.png", "000001.png"], "nothing of the earlier rendering is left"
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "out", "checkpoints"}
    picture = np.asarray(PillowImage.open(io.BytesIO((target / "000000.png").read_bytes())))
    assert picture.shape == (48, 64, 3)
    with raises("target-is-source", str(target)):
        render(target, target, tmp_path)
    render(target, tmp_path / "again.mp4", tmp_path, cuts="none")  # a rendering can drive
    assert len(read_raw(tmp_path / "again.mp4")[0]) == 2


def _visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_pictures_are_what_was_written(tmp_path: Path) -> None:
    images = moving_frames(3)
    with PictureWriter(tmp_path / "out") as writer:
        for image in images:
            writer.write(image)
            assert not (tmp_path / "out").exists()
    for t, image in enumerate(images):
        np.testing.assert_array_equal(np.asarray(PillowImage.open(tmp_path / f"out/00000{t}.png")), image)


def test_a_folder_with_anything_else_in_it_is_left_alone(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    labels = _labels(tmp_path / "labels")
    mine = _pictures(tmp_path / "mine", moving_frames(1), names=["000000.png"])
    with raises("folder-not-empty", "mine", "000000.png"):
        render(labels, mine, tmp_path)
    target = tmp_path / "out"
    render(labels, f"{target}/", tmp_path)
    (target / "notes.txt").write_text("precious")
    with raises("folder-not-empty", "out", "notes.txt"):
        render(labels, target, tmp_path)
    assert len(_visible(mine)) == 1
    assert (target / "notes.txt").read_text() == "precious"
    with raises("setting-unused", "--crf"):
        render(labels, f"{tmp_path}/other/", tmp_path, crf=10)
    for name, code, text in (
        (f"{tmp_path}/no/out/", "folder-missing", "mkdir -p"),
        (f"{mine}/000000.png/", "folder-required", "000000.png"),
    ):
        with raises(code, text):
            render(labels, name, tmp_path)


def test_leftovers_of_killed_writers_of_the_same_folder_are_removed(tmp_path: Path) -> None:
    alive, dead = tmp_path / ".out.1.part", tmp_path / ".out.999999999.part"
    for left in (alive, dead, tmp_path / ".other.999999999.part"):
        left.mkdir()
        (left / "000000.png").touch()
    with PictureWriter(tmp_path / "out") as writer:
        writer.write(moving_frames(1)[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.999999999.part", ".out.1.part", "out"]


def test_a_video_may_be_written_into_the_folder_of_its_source(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    labels = _labels(tmp_path / "labels")
    assert render(labels, labels / "out.mp4", tmp_path) == []
    pictures = open_picture_source(str(_pictures(tmp_path / "pictures", moving_frames(2))), fps=Fraction(25))
    write_file(tmp_path / "pictures/out.mp4", moving_frames(2))
    assert pictures.problems() == []


def test_missing_folders_of_pictures_are_told_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with raises("folder-missing", "no") as caught:
        PictureWriter("no/out/")
    assert str(tmp_path) not in str(caught)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with raises("disk-full", "out"), PictureWriter(tmp_path / "out") as writer:
        writer.write(moving_frames(1)[0])
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_learns_at_once_that_pictures_cannot_be_written(tmp_path: Path) -> None:
    mine = _pictures(tmp_path / "mine", moving_frames(1))
    assert COMMAND.check is not None
    for target, code in ((str(mine), "folder-not-empty"), ("memory://out/", "url-unsupported")):
        with raises(code, target):
            COMMAND.check(RenderConfig(source="labels", target=target))
    COMMAND.check(RenderConfig(source="labels", target=f"{tmp_path}/still/to/be/made/"))


def test_a_rendering_that_fails_leaves_the_earlier_one(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    labels, target = _labels(tmp_path / "labels"), tmp_path / "out"
    render(labels, f"{target}/", tmp_path)
    before = (target / "000001.png").read_bytes()
    (labels / "2.png").write_bytes(encode_png(np.full((48, 64), 77, np.uint8)))
    with raises("label-id-out-of-range", "77"):
        render(labels, target, tmp_path)
    assert (target / "000001.png").read_bytes() == before
    assert len(_visible(target)) == 3
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def _clip(name: str, **source: object) -> ClipInfo:
    whole = {"file": "a.mp4", "shot": 0, "start": 0, "stop": 5, "crop": [0, 0, 9, 9]} | source
    return ClipInfo(name=name, num_frames=5, width=32, height=24, source=whole)


@pytest.mark.parametrize(
    ("second", "joined"),
    [
        ({}, True),
        ({"crop": [1, 0, 9, 9]}, False),
        ({"shot": 1}, False),
        ({"file": "b.mp4"}, False),
        ({"start": 6}, False),
    ],
)
def test_clips_of_one_shot_that_are_framed_alike_go_on(second: dict, joined: bool) -> None:
    clips = [_clip("a"), _clip("b", **({"start": 5, "stop": 10} | second))]
    assert shots_of(clips) == ([clips] if joined else [[clip] for clip in clips])


def test_maps_of_several_frame_rates_are_not_one_video(tmp_path: Path) -> None:
    make_workspace(tmp_path / "data", num_clips=2, clip_frames=5)
    save_untrained(tmp_path, "street", size=(32, 24))
    for kind in ("frames", "labels", "flow"):
        folder = Folder(f"{tmp_path}/data/{kind}")
        manifest = read_manifest(folder)
        assert manifest is not None
        first, (last,) = manifest.units
        write_manifest(folder, manifest.model_copy(update={"units": (first, (last.model_copy(update={"fps": "30"}),))}))
    (tmp_path / "data/labels/shard-00000.tar").unlink()  # reading would fail, too, and comes later
    with raises("clips-mismatch"):
        render(tmp_path / "data", tmp_path / "out.mp4", tmp_path, maps=True)


def test_the_folder_that_one_is_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for target in (".", f"{tmp_path}/here/"):
        with raises("target-irreplaceable", target):
            PictureWriter(target)


def test_maps_of_another_making_are_told(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    info = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))[1]
    info = remade(info, stage="make-sketches", settings={"smooth": 3, "canny": True, "weights": "a"})
    about = Manifest(v2vkit="t", stage="make-sketches", stage_version=1, config={}, inputs={}, fingerprint="x")
    same = about.model_copy(update={"config": {"smooth": 3, "canny": True, "weights": "b"}})
    assert maps_warning(info, {"sketches": same}) is None
    told = maps_warning(info, {"sketches": about.model_copy(update={"config": {"smooth": 0, "canny": True}})})
    assert told is not None
    assert "smooth 0 (the model's: 3)" in told
    assert "canny" not in told
    assert "made by segment" in str(maps_warning(info, {"sketches": about.model_copy(update={"stage": "segment"})}))


def test_missing_instances_of_a_workspace_are_counted(tmp_path: Path) -> None:
    work = make_workspace(tmp_path / "data", num_clips=1, clip_frames=4).work
    save_untrained(tmp_path, "street")
    info = load_model(Folder(f"{tmp_path}/checkpoints/spatial-1"))[1]
    labels = read_manifest(Folder(work) / "labels")
    assert labels is not None
    reader = ClipReader(Folder(work), {"labels": labels})
    assert count_missing_instances(info, reader) == {}
    with_instances = remade(info, settings={"instances": "somewhere"})
    assert list(count_missing_instances(with_instances, reader).values()) == [4]


def test_pictures_keep_the_names_of_the_label_maps(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    names = [f"a_000000_00000{t}_gtFine_labelIds.png" for t in range(3)]
    maps = _pictures(tmp_path / "labels", [np.full((48, 64), t, np.uint8) for t in range(3)], names=names)
    for _ in range(2):  # an earlier rendering is replaced
        render(maps, f"{tmp_path}/out/", tmp_path, keep_names=True)
        assert _visible(tmp_path / "out") == [f"a_000000_00000{t}.png" for t in range(3)]
    with raises("setting-unused", "--keep-names"):
        render(maps, tmp_path / "out.mp4", tmp_path, keep_names=True)
    video = write_file(tmp_path / "drive.mp4", moving_frames(3))
    save_untrained(tmp_path / "face", "face")
    with raises("setting-unused", "--keep-names"):
        render(video, f"{tmp_path}/other/", tmp_path / "face", keep_names=True)
