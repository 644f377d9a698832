"""`v2v ingest`, from files on disk to shards: what is taken, how it is cut and framed, and what is refused."""

import errno
import io
import os
import tarfile
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.errors import raises
from tests.shared_data import SHARED, needs_shared
from tests.unit.bars import bars, watch_terminal
from tests.unit.ingesting import clips, contents, ingest, label_maps, manifest, shots, write_images
from tests.unit.video_files import moving_frames, set_display_matrix, solid_frames, write_audio, write_file
from v2vkit.config import make_config
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.ingest import STAGE, IngestConfig
from v2vkit.video.decode import decode


def test_one_video_becomes_clips_of_whole_shots(tmp_path):
    path = write_file(tmp_path / "film.mp4", shots("astronaut", "cat", "coffee"))
    outcome = ingest(tmp_path / "work", path, min_frames=4)
    assert outcome.problems == ()
    found = clips(tmp_path / "work")
    assert {name: (c["source"]["start"], c["source"]["stop"]) for name, c in found.items()} == {
        "film-0000": (0, 20),
        "film-0001": (20, 40),
        "film-0002": (40, 60),
    }
    assert all((c["width"], c["height"], c["fps"], c["num_frames"]) == (96, 64, "25", 20) for c in found.values())
    images = contents(tmp_path / "work")
    assert list(images) == [f"{name}/{t:06d}.jpg" for name in found for t in range(20)]
    for (_, image), frame in zip(images.items(), decode(path), strict=True):
        assert np.abs(image.astype(int) - frame.image).mean() < 3


def test_lossless_frames_are_the_decoded_ones(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(70), options={"bf": "3", "g": "12"}, rate=Fraction(30000, 1001))
    ingest(tmp_path / "work", path, lossless=True, cuts="none", clip_frames=16)
    images = contents(tmp_path / "work")
    for (name, image), frame in zip(images.items(), decode(path), strict=True):
        assert name.endswith(".png")
        assert np.array_equal(image, frame.image)
    assert {clip["fps"] for clip in clips(tmp_path / "work").values()} == {"30000/1001"}


def test_jpeg_keeps_full_chroma(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(10))
    ingest(tmp_path / "work", path)
    with tarfile.open(next((tmp_path / "work/frames").glob("*.tar"))) as tar:
        image = Image.open(io.BytesIO(tar.extractfile(tar.getmembers()[0]).read()))
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize(("count", "lengths"), [(64, [64]), (65, [32, 33]), (100, [50, 50]), (130, [43, 43, 44])])
def test_long_shots_are_split_evenly(tmp_path, count, lengths):
    path = write_file(tmp_path / "a.mp4", moving_frames(count, step=1))
    ingest(tmp_path / "work", path, cuts="none")
    assert [clip["num_frames"] for clip in clips(tmp_path / "work").values()] == lengths


def test_short_shots_are_left_out_and_named(tmp_path, capsys):
    frames = shots("astronaut") + shots("cat", length=5) + shots("coffee")
    path = write_file(tmp_path / "film.mp4", frames)
    ingest(tmp_path / "work", path)
    found = clips(tmp_path / "work")
    assert [(c["source"]["start"], c["source"]["stop"]) for c in found.values()] == [(0, 20), (25, 45)]
    assert found["film-0000"]["source"]["short_shots"] == [[20, 25]]
    assert "film.mp4" in (told := capsys.readouterr().err)
    assert "20-24" in told


def test_shards_hold_whole_clips_up_to_their_limit(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(90, step=1))
    ingest(tmp_path / "work", path, cuts="none", clip_frames=10, min_frames=4, shard_frames=25)
    units = manifest(tmp_path / "work")["units"]
    assert [sum(clip["num_frames"] for clip in unit) for unit in units] == [20, 20, 20, 20, 10]
    ingest(tmp_path / "one", path, cuts="none", shard_frames=1)
    assert [len(unit) for unit in manifest(tmp_path / "one")["units"]] == [1, 1]


def test_start_duration_and_max_frames(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(100, step=1), rate=25)

    def ranges(name, **settings):
        ingest(tmp_path / name, path, cuts="none", **settings)
        return [(c["source"]["start"], c["source"]["stop"]) for c in clips(tmp_path / name).values()]

    assert ranges("a", duration=2.0) == [(0, 50)]
    assert ranges("b", start=2.0) == [(50, 100)]
    assert ranges("c", start=1.0, duration=1.0) == [(25, 50)]
    assert ranges("d", start=1.0, max_frames=10) == [(25, 35)]
    for setting in ({"start": 10.0}, {"max_frames": 1}, {"duration": 0.01}, {"stream": 5}):
        flag = f"--{next(iter(setting)).replace('_', '-')}"
        with raises("source-unusable") as caught:
            ingest(tmp_path / "e", path, **setting)
        assert flag in caught.error.hint


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 100 + 60),
        ({"start": 1.0}, 100 + 60),
        ({"duration": 2.0}, 48 + 50),
        ({"start": 1.5, "duration": 2.0}, 84 + 60),
        ({"max_frames": 70}, 70 + 60),
        ({"start": 1.0, "duration": 9.0, "max_frames": 10}, 34 + 35),
        ({"start": 1.0, "max_frames": 10, "labels": "maps"}, 34 + 60),
    ],
)
def test_the_bar_expects_the_frames_that_are_read(tmp_path, monkeypatch, settings, count):
    """At 23.976 frames per second frame 48 begins at 2.002 s. With maps the rest of the source is counted, too."""
    film = write_file(tmp_path / "film.mp4", moving_frames(100, step=1), rate=Fraction(24000, 1001))
    images = write_images(tmp_path / "images", moving_frames(60, step=1))
    if "labels" in settings:
        settings = settings | {"labels": write_images(tmp_path / "maps/images", label_maps(60)).parent}
        write_images(tmp_path / "maps/film", label_maps(100))
        count += 66
    terminal = watch_terminal(monkeypatch)
    ingest(tmp_path / "work", film, images, cuts="none", **settings)
    (reading,) = [bar for bar in bars(terminal) if bar.name == "reading"]
    assert (reading.expected, reading.done) == (count, count)


def test_held_out_parts_do_not_overlap(tmp_path):
    """Training on `--duration 2` and testing on `--start 2` shares no frame, also at a rate that is no whole number."""
    path = write_file(tmp_path / "a.mp4", moving_frames(100, step=1), rate=Fraction(24000, 1001))
    ingest(tmp_path / "train", path, cuts="none", duration=2.0)
    ingest(tmp_path / "test", path, cuts="none", start=2.0)
    train, test = ([c["source"] for c in clips(tmp_path / name).values()] for name in ("train", "test"))
    assert train[-1]["stop"] == test[0]["start"]
    assert test[-1]["stop"] == 100


def test_variable_rate_drops_and_doubles_nothing(tmp_path):
    stamps = [0, 40, 45, 200, 210, 1000, 1001, 1500, 1600, 1610, 1700, 2400]
    path = write_file(tmp_path / "vfr.mp4", moving_frames(12), stamps=stamps, time_base=Fraction(1, 1000))
    ingest(tmp_path / "work", path, cuts="none", lossless=True)
    images = list(contents(tmp_path / "work").values())
    assert len(images) == 12
    assert all(np.array_equal(a, f.image) for a, f in zip(images, decode(path), strict=True))


def test_rotated_video_is_upright(tmp_path):
    path = write_file(tmp_path / "phone.mp4", moving_frames(10))
    set_display_matrix(path, 0, 1, -1, 0)
    ingest(tmp_path / "work", path)
    clip = clips(tmp_path / "work")["phone-0000"]
    assert (clip["width"], clip["height"]) == (48, 64)
    assert {image.shape for image in contents(tmp_path / "work").values()} == {(64, 48, 3)}


def ramp(width: int, height: int) -> np.ndarray:
    """Red grows with x, green with y: a pixel tells where it comes from."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns * 255 // (width - 1), rows * 255 // (height - 1), 0 * rows], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("crop", "size", "left_to_right", "top_to_bottom"),
    [
        ("none", "32x32", (0, 255), (0, 255)),
        ("center", "32x32", (64, 191), (0, 255)),
        ("center", "64x16", (0, 255), (64, 191)),
        ("center", "64x32", (0, 255), (0, 255)),
        ("center", "256x128", (0, 255), (0, 255)),
    ],
)
def test_crop_and_size(tmp_path, crop, size, left_to_right, top_to_bottom):
    folder = write_images(tmp_path / "ramp", [ramp(128, 64)] * 8)
    ingest(tmp_path / "work", folder, crop=crop, size=size, lossless=True)
    for image in contents(tmp_path / "work").values():
        assert f"{image.shape[1]}x{image.shape[0]}" == size
        assert np.abs(image[image.shape[0] // 2, [0, -1], 0] - np.array(left_to_right)).max() <= 5
        assert np.abs(image[[0, -1], image.shape[1] // 2, 1] - np.array(top_to_bottom)).max() <= 5


def test_folders_globs_and_names(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("take10.mp4", "take9.mp4", "a b.mkv", "a_b.mp4", "A_B.mov"):
        write_file(tmp_path / "videos" / name, moving_frames(8))
    (tmp_path / "videos" / "notes.txt").write_text("not for us")
    (tmp_path / "videos" / ".hidden.mp4").write_text("nor this")
    ingest(tmp_path / "folder", tmp_path / "videos")
    names = list(clips(tmp_path / "folder"))
    assert len(names) == 5
    assert names[-2:] == ["take9-0000", "take10-0000"]
    assert len({name.casefold() for name in names}) == 5
    ingest(tmp_path / "glob", tmp_path / "videos" / "take*.mp4")
    assert list(clips(tmp_path / "glob")) == ["take9-0000", "take10-0000"]
    ingest(tmp_path / "twice", tmp_path / "videos" / "take9.mp4", tmp_path / "videos" / "take?.mp4")
    assert list(clips(tmp_path / "twice")) == ["take9-0000"]


def test_sub_folders_beside_footage_are_told(tmp_path, capsys):
    for name in ("day/a.mp4", "day/night/b.mp4", "day/notes/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_file(tmp_path / name, moving_frames(8)) if name.endswith("mp4") else (tmp_path / name).write_text("")
    ingest(tmp_path / "work", tmp_path / "day")
    assert "its sub-folders are not entered: night;" in capsys.readouterr().err
    ingest(tmp_path / "work2", tmp_path / "day/night", tmp_path / "day/a.mp4")
    assert "not entered" not in capsys.readouterr().err


def test_same_stem_in_two_folders(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_file(tmp_path / folder / "talk.mp4", moving_frames(8))
    ingest(tmp_path / "work", tmp_path / "a", tmp_path / "b")
    assert list(clips(tmp_path / "work")) == ["talk-0000", "talk_2-0000"]


def test_numbered_images_come_in_number_order_at_the_given_rate(tmp_path):
    images = solid_frames((0, 0, 0), 12)
    for i, image in enumerate(images):
        image[:] = 20 * i
    folder = write_images(tmp_path / "walk", images)  # frame0 … frame11: alphabetical order would be wrong
    ingest(tmp_path / "work", folder, fps="30000/1001", cuts="none", lossless=True)
    assert [int(image[0, 0, 0]) for image in contents(tmp_path / "work").values()] == [20 * i for i in range(12)]
    assert clips(tmp_path / "work")["walk-0000"]["fps"] == "30000/1001"


def test_folders_of_image_folders_and_named_images(tmp_path):
    for name in ("one", "two"):
        write_images(tmp_path / "all" / name, moving_frames(8), pattern="{}.jpg")
    ingest(tmp_path / "work", tmp_path / "all")
    assert list(clips(tmp_path / "work")) == ["one-0000", "two-0000"]
    ingest(tmp_path / "named", *sorted((tmp_path / "all/one").glob("*.jpg")))
    assert list(clips(tmp_path / "named")) == ["one-0000"]
    assert len(contents(tmp_path / "named")) == 8


def test_grey_palette_16_bit_and_transparent_images(tmp_path):
    colour = ramp(64, 48)
    grey = colour[:, :, 0]
    deep = grey.astype(np.uint16) * 257
    expected = {"grey": grey, "deep": grey, "alpha": colour, "palette": None}
    for name in expected:
        folder = tmp_path / name
        folder.mkdir()
        for i in range(8):
            path = folder / f"{i}.png"
            if name == "alpha":
                Image.fromarray(np.dstack([colour, grey])).save(path)
            elif name == "palette":
                Image.fromarray(colour).quantize(64).save(path)
            else:
                Image.fromarray(grey if name == "grey" else deep).save(path)
        ingest(tmp_path / f"work-{name}", folder, lossless=True)
        image = next(iter(contents(tmp_path / f"work-{name}").values()))
        assert image.shape == (48, 64, 3)
        if name == "palette":
            assert np.abs(image.astype(int) - colour).mean() < 12
        elif name == "alpha":
            assert np.array_equal(image, colour)
        else:
            assert all(np.array_equal(image[:, :, c], grey) for c in range(3))


def _truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def bad_sources(folder: Path) -> dict[str, str]:
    """Makes one file of every kind that cannot be used; name -> a word that the reason must hold."""
    folder.mkdir()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "letter.mp4").write_text("no video")
    (folder / "garbage.mkv").write_bytes(np.random.default_rng(0).bytes(5000))
    write_audio(folder / "sound.mp4", "aac")
    _truncate(write_file(folder / "cut.mp4", moving_frames(40)))
    _truncate(write_file(folder / "cut.mkv", moving_frames(40)))
    write_file(folder / "short.mp4", moving_frames(3))
    write_images(folder / "pictures", moving_frames(9), pattern="{}.jpg")
    _truncate(folder / "pictures" / "5.jpg")
    write_images(folder / "sizes", [*moving_frames(8), *moving_frames(1, 32, 48)])
    return {
        "empty.mp4": "empty",
        "letter.mp4": "not a video",
        "garbage.mkv": "not a video",
        "sound.mp4": "only audio",
        "cut.mp4": "cut off",
        "cut.mkv": "cut off",
        "short.mp4": "--min-frames",
        "pictures": "5.jpg",
        "sizes": "32x48",
    }


def test_unusable_sources_are_named_and_the_rest_goes_on(tmp_path):
    reasons = bad_sources(tmp_path / "bad")
    good = write_file(tmp_path / "good.mp4", moving_frames(10))
    outcome = ingest(tmp_path / "work", *(tmp_path / "bad" / name for name in reasons), good)
    assert list(clips(tmp_path / "work")) == ["good-0000"]
    skipped = manifest(tmp_path / "work")["skipped"]
    assert {Path(path).name for path in skipped} == set(reasons)
    for path, reason in skipped.items():
        assert reasons[Path(path).name] in reason
    assert len(outcome.problems) == len(reasons)
    again = ingest(tmp_path / "work", *(tmp_path / "bad" / name for name in reasons), good)
    assert "nothing to do" in again.message
    assert again.problems == outcome.problems


def test_nothing_left_is_an_error_before_the_disk_is_touched(tmp_path):
    reasons = bad_sources(tmp_path / "bad")
    with raises("source-unusable", *reasons):
        ingest(tmp_path / "work", *(tmp_path / "bad" / name for name in reasons))
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("missing.mp4", "file-missing"),
        ("*.mp4", "file-missing"),
        ("nothing", "footage-missing"),
        ("both", "format-conflict"),
        ("workspace", "source-is-workspace"),
    ],
)
def test_sources_that_are_mistakes_stop_at_once(tmp_path, source, code):
    (tmp_path / "nothing").mkdir()
    write_images(tmp_path / "workspace" / "evaluation", moving_frames(2))
    (tmp_path / "workspace" / "frames").mkdir()
    (tmp_path / "workspace" / "frames" / "manifest.json").write_text("{}")
    (tmp_path / "workspace" / "report.html").touch()
    write_images(tmp_path / "both", moving_frames(2))
    write_file(tmp_path / "both" / "a.mp4", moving_frames(2))
    with raises(code, source):
        ingest(tmp_path / "work", tmp_path / source)
    assert not (tmp_path / "work").exists()


def test_names_that_are_not_utf8_are_named_and_the_rest_goes_on(tmp_path):
    bad = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    write_file(tmp_path / "a.mp4", moving_frames(10)).rename(bad)
    good = write_file(tmp_path / "good.mp4", moving_frames(10))
    folder = write_images(tmp_path / "pictures", moving_frames(9))
    (folder / "frame8.png").rename(folder / os.fsdecode(b"\xe98.png"))
    outcome = ingest(tmp_path / "work", bad, good, folder)
    assert list(clips(tmp_path / "work")) == ["good-0000"]
    assert manifest(tmp_path / "work")["skipped"] == {
        f"{tmp_path}/caf\ufffd.mp4": "its name is not valid UTF-8; rename it",
        str(folder): "the name of its image \ufffd8.png is not valid UTF-8; rename it",
    }
    assert len(outcome.problems) == 2
    assert "nothing to do" in ingest(tmp_path / "work", bad, good, folder).message


def test_a_map_whose_name_is_not_utf8_is_refused(tmp_path):
    folder = write_images(tmp_path / "street", moving_frames(8))
    labels = write_images(tmp_path / "labels", label_maps(8))
    (labels / "frame7.png").rename(labels / os.fsdecode(b"\xe9.png"))
    with raises("name-unsupported", "\ufffd.png"):
        ingest(tmp_path / "work", folder, labels=labels)


@pytest.mark.timeout(60)
def test_pipes_and_devices_are_named_and_the_rest_goes_on(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.png")
    good = write_file(tmp_path / "good.mp4", moving_frames(10))
    ingest(tmp_path / "work", tmp_path / "pipe.mp4", tmp_path / "pipe.png", "/dev/zero", good)
    assert list(clips(tmp_path / "work")) == ["good-0000"]
    skipped = manifest(tmp_path / "work")["skipped"]
    assert len(skipped) == 3
    assert all("not a regular file" in reason for reason in skipped.values())


def test_errors_of_the_file_system_are_user_errors(tmp_path, monkeypatch):
    with raises("file-unreadable"):
        ingest(tmp_path / "work", tmp_path / f"{'a' * 300}.mp4")
    street = write_images(tmp_path / "street", moving_frames(8))
    closed = tmp_path / "closed"
    look = Path.stat

    def refuse(self, **settings):
        """As for somebody who is not root, in a folder of mode 000."""
        if closed in self.parents or self == closed:
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(self, **settings)

    monkeypatch.setattr(Path, "stat", refuse)
    for sources, labels in (([closed / "a.mp4"], None), ([closed], None), ([street], closed)):
        with raises("file-unreadable", "closed"):
            ingest(tmp_path / "work", *sources, labels=labels)
    assert not (tmp_path / "work").exists()


def test_two_kinds_of_images_in_one_folder_are_refused(tmp_path):
    folder = write_images(tmp_path / "mixed", moving_frames(4))
    Image.fromarray(moving_frames(1)[0]).save(folder / "frame4.jpg")
    with raises("format-conflict", ".jpg, .png"):
        ingest(tmp_path / "work", folder)


def test_an_image_bomb_is_refused_from_its_header(tmp_path):
    folder = write_images(tmp_path / "bomb", moving_frames(8))
    content = bytearray((folder / "frame3.png").read_bytes())
    content[16:24] = (30000).to_bytes(4, "big") * 2
    (folder / "frame3.png").write_bytes(content)
    with raises("source-unusable", "frame3"):
        ingest(tmp_path / "work", folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"crop": "center"},
        {"crop": "face"},
        {"crop": "face", "size": "64x32"},
        {"clip_frames": 8, "min_frames": 8},
        {"fps": "fast"},
        {"fps": "0"},
        {"instances": "somewhere"},
        {"duration": -1.0},
        {"duration": float("inf")},
        {"start": float("nan")},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(tmp_path, settings):
    with raises("setting-invalid"):
        ingest(tmp_path / "work", "a.mp4", **settings)


# Shapes


def test_a_squeezed_shape_is_told_once(tmp_path, capsys):
    wide = [write_file(tmp_path / f"{name}.mp4", moving_frames(8, 160, 90)) for name in "ab"]
    outcome = ingest(tmp_path / "work", *wide, size="64x64")
    line = "160x90 is squeezed from aspect 1.78 to 1.00; --crop center or --crop face keeps the shape."
    assert capsys.readouterr().err.count(line) == 1
    assert outcome.problems == ()
    ingest(tmp_path / "work2", *wide, size="32x64")
    assert "squeezed from aspect 1.78 to 0.50; --crop center keeps" in capsys.readouterr().err
    ingest(tmp_path / "work3", *wide, size="64x36")
    ingest(tmp_path / "work4", *wide, size="64x64", crop="center")
    ingest(tmp_path / "work5", *wide)
    ingest(tmp_path / "work6", *wide, size="128x71")  # within 2 percent
    assert "squeezed" not in capsys.readouterr().err


def test_pictures_of_several_sizes_go_into_folders_of_their_own(tmp_path):
    for width in (64, 80):
        write_images(tmp_path / f"photos/{width}", moving_frames(3, width), pattern=f"{width}-{{}}.png")
    mixed = write_images(tmp_path / "mixed", [*moving_frames(1, 64), *moving_frames(1, 80)])
    settings = {"size": "32x32", "min_frames": 1, "crop": "center", "cuts": "none"}
    with raises("source-unusable", "frame1.png", "80x48", "64x48"):
        ingest(tmp_path / "work", mixed, **settings)
    ingest(tmp_path / "work", tmp_path / "photos", **settings)
    assert [image.shape for image in contents(tmp_path / "work").values()] == [(32, 32, 3)] * 6


def test_two_workers_give_the_same_bytes(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(60, step=1), options={"bf": "3", "g": "25"})
    for name, workers in (("one", 1), ("two", 2)):
        config = make_config(IngestConfig, {"sources": (str(path),), "clip_frames": 20, "cuts": "none"}, "test")
        run(STAGE, config, RunOptions(work=str(tmp_path / name), workers=workers))
    for file in (tmp_path / "one/frames").iterdir():
        assert file.read_bytes() == (tmp_path / "two/frames" / file.name).read_bytes()


# Faces


def test_face_crop_follows_the_first_frame_of_each_clip(tmp_path):
    pytest.importorskip("mediapipe")
    astronaut, nobody = data.astronaut()[:300, 60:460], np.full((300, 400, 3), 90, np.uint8)
    moved = np.roll(astronaut, 60, axis=1)
    frames = [nobody] * 3 + [astronaut] * 12 + [moved] * 12
    folder = write_images(tmp_path / "anna", frames)
    # No cuts are asked for, so the two clips are 13 and 14 frames long: the first begins without a face.
    ingest(tmp_path / "work", folder, crop="face", size="64x64", cuts="none", clip_frames=15)
    first, second = clips(tmp_path / "work").values()
    assert (first["source"]["start"], first["source"]["face"]["frame"]) == (0, 3)
    assert (second["source"]["start"], second["source"]["face"]["frame"]) == (13, 13)
    x, y, width, height = first["source"]["crop"]
    assert width == height
    assert {image.shape for image in contents(tmp_path / "work").values()} == {(64, 64, 3)}
    # The astronaut's nose is near (225 - 60, 130) of the cut-out photograph.
    assert x < 165 < x + width
    assert y < 130 < y + height


def test_clips_without_a_face_are_named(tmp_path):
    pytest.importorskip("mediapipe")
    astronaut, nobody = data.astronaut()[:300, 60:460], data.coffee()[:300, :400]
    folder = write_images(tmp_path / "anna", [astronaut] * 8 + [nobody] * 8)
    outcome = ingest(tmp_path / "work", folder, crop="face", size="64x64", cuts="content")
    assert list(clips(tmp_path / "work")) == ["anna-0000"]
    assert len(outcome.problems) == 1
    assert "no face" in outcome.problems[0]
    assert "frames 8 to 15" in outcome.problems[0]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"face_weights": "shape.dat", "crop": "face", "size": "64x64"}, ("mediapipe", "--face-weights")),
        ({"face_weights": "shape.dat"}, ("mediapipe", "--face-weights")),
        ({"face": "dlib", "face_weights": "shape.dat"}, ("--face", "--crop face")),
    ],
)
def test_settings_of_faces_that_mean_nothing_are_refused(settings, names):
    with raises("setting-invalid", *names):
        make_config(IngestConfig, {"sources": ["a"], **settings}, "here")


def test_a_missing_shape_predictor_is_told_before_any_work(tmp_path):
    pytest.importorskip("dlib")
    folder = write_images(tmp_path / "anna", moving_frames(8))
    with raises("weights-missing", "--face-weights"):
        ingest(tmp_path / "work", folder, crop="face", size="64x64", face="dlib")
    assert not (tmp_path / "work").exists()


@needs_shared
def test_real_street_with_human_labels(tmp_path):
    camvid = SHARED / "real/street/camvid_0016E5_15hz"
    ingest(
        tmp_path / "work",
        camvid / "images",
        labels=camvid / "labels",
        num_labels=12,
        size="160x120",
        fps="15",
        max_frames=20,
    )
    frames, ids = contents(tmp_path / "work"), contents(tmp_path / "work", "labels")
    assert len(frames) == len(ids) == 20
    name = sorted(path.name for path in (camvid / "labels").iterdir())[13]
    original = cv2.imread(str(camvid / "labels" / name), cv2.IMREAD_UNCHANGED)
    label = list(ids.values())[13]
    assert label.shape == (120, 160)
    assert np.array_equal(label, original[1::3, 1::3])


@needs_shared
def test_real_talk_with_its_end_held_out(tmp_path):
    talk = SHARED / "real/face/talk_a.mp4"
    ingest(tmp_path / "work", talk, size="64x64", start=8.0, duration=2.0)
    assert [clip["source"]["start"] for clip in clips(tmp_path / "work").values()] == [240]
    assert len(contents(tmp_path / "work")) == 60
