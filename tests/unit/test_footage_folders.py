"""Footage in folders as people have it: what is used, what is named, which maps belong to which frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.errors import raises
from tests.unit.ingesting import clips, contents, ingest, label_maps, write_images
from tests.unit.video_files import moving_frames, write_file
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND, CheckConfig
from v2vkit.video.images import read_image
from v2vkit.video.numbering import are_decimals, missing_numbers
from v2vkit.video.sources import find_sources, left_out, sequence_problems


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with videos of three containers and five files that are not used."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("a.mp4", "b.asf", "c.nut"):
        write_file(folder / name, moving_frames(8))
    (folder / "IMG_1.HEIC").write_bytes(b"picture")
    (folder / "lost.mp4").symlink_to("/nowhere/lost.mp4")
    (folder / "half.mp4.part").write_bytes(b"half")
    for quiet in ("notes.txt", "README", "a.srt", ".hidden", "song.mp3"):
        (folder / quiet).write_text("beside")
    return folder


def test_every_file_of_a_folder_is_used_or_named(tmp_path, mixed):
    outcome = ingest(tmp_path / "work", mixed)
    assert sorted(clips(tmp_path / "work")) == ["a-0000", "b-0000", "c-0000"]
    assert [problem.split(": ")[0] for problem in outcome.problems] == [
        f"{mixed}/{name}" for name in ("half.mp4.part", "IMG_1.HEIC", "lost.mp4")
    ]
    assert "a link to /nowhere/lost.mp4, which does not exist" in outcome.problems[2]
    checked = COMMAND.call(CheckConfig(sources=(str(mixed),)), RunOptions(work=str(tmp_path)))
    assert list(outcome.problems) == list(checked)


def test_many_unreadable_files_of_a_kind_are_one_problem(tmp_path):
    for number in range(5):
        (tmp_path / f"IMG_{number}.heic").write_bytes(b"picture")
    with raises("footage-missing", str(tmp_path), "*.heic", "5"):
        find_sources([str(tmp_path)])
    assert list(left_out([str(tmp_path)])) == [f"{tmp_path}/*.heic"]


@pytest.mark.parametrize("ending", ["jfif", "jpe", "ppm", "pgm", "tga", "jp2", "avif", "webp", "tif", "bmp"])
def test_images_of_all_kinds_are_read(tmp_path, ending):
    image = moving_frames(1)[0]
    grey = ending == "pgm"
    kind = {"jfif": "JPEG", "jpe": "JPEG", "pgm": "PPM"}.get(ending)
    Image.fromarray(image[:, :, 0] if grey else image).save(tmp_path / f"a.{ending}", format=kind)
    (source,) = find_sources([str(tmp_path)])
    read = read_image(source.image_path(0)).astype(int)
    assert abs(read - (image[:, :, :1] if grey else image)).mean() < 8


def test_a_picture_with_several_in_it_is_refused_but_not_one_with_a_thumbnail(tmp_path):
    first, second = (Image.fromarray(image) for image in moving_frames(2))
    for name in ("a.webp", "a.tif", "a.png"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        with raises("pages-unsupported", name, "2"):
            read_image(tmp_path / name)
    smaller = second.resize((8, 8))
    smaller.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "thumb.tif", save_all=True, append_images=[smaller])
    assert np.array_equal(read_image(tmp_path / "thumb.tif"), np.asarray(first))


def test_a_git_lfs_pointer_is_named_as_such(tmp_path):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    for name in ("a.mp4", "a.png"):
        (tmp_path / name).write_text(text)
        with raises("source-unusable", name, "LFS"):
            ingest(tmp_path / "work", tmp_path / name)


def test_urls_and_unsupported_formats_are_refused(tmp_path):
    with raises("url-unsupported", "v2v render -"):
        ingest(tmp_path / "work", "https://example.org/a.mp4")
    (tmp_path / "a.heic").write_bytes(b"picture")
    with raises("source-unusable", "a.heic", "PNG"):
        ingest(tmp_path / "work", tmp_path / "a.heic")
    (tmp_path / "a.rmvb").write_bytes(b".RMF")
    with raises("source-unusable", "a.rmvb"):
        ingest(tmp_path / "work", tmp_path / "a.rmvb")


def test_missing_numbers_are_reported(tmp_path):
    numbers = [*range(5), *range(505, 510)]
    folder = tmp_path / "imgs"
    folder.mkdir()
    for number, image in zip(numbers, moving_frames(10), strict=True):
        Image.fromarray(image).save(folder / f"{number:05d}.png")
    (problem,) = ingest(tmp_path / "work", folder, cuts="none").problems
    assert "missing between 00004.png and 00505.png" in problem
    assert [problem] == [f"{folder}: {text}" for text in sequence_problems(str(folder))]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["1.png", "2.png", "3.png"], False),
        (["f0002.png", "f0004.png", "f0006.png"], False),  # every second one
        (["f0002.png", "f0004.png", "f0006.png", "f0012.png"], True),
        (["a_1.png", "a_2.png", "b_7.png", "b_8.png"], False),  # two takes
        (["10.png", "13.png", "19.png", "40.png"], False),  # time stamps
        (["one.png", "two.png"], False),
    ],
)
def test_steps_of_the_numbering_are_no_gaps(names, told):
    assert (missing_numbers(names) is not None) == told


@pytest.mark.parametrize(
    ("names", "decimal"),
    [
        (["0.5.png", "0.25.png", "0.125.png"], True),
        (["t0.04.png", "t0.08.png", "t0.1.png"], True),
        ([f"scene1.{number}.png" for number in range(1, 12)], False),
        (["0.25.png", "0.50.png"], False),  # both orders are the same
        (["1.2.3.png", "1.2.10.png"], False),
        (["1.png", "0.5.png"], False),
    ],
)
def test_decimal_fractions_are_distinguished_from_counters(names, decimal):
    assert are_decimals(names) == decimal


def test_decimal_numbers_are_in_their_order(tmp_path):
    write_images(tmp_path / "imgs", moving_frames(4), pattern="{}.png")
    for number, name in enumerate(["0.5", "0.25", "1.0", "0.125"]):
        (tmp_path / f"imgs/{number}.png").rename(tmp_path / f"imgs/t{name}.png")
    (source,) = find_sources([str(tmp_path / "imgs")])
    assert source.images == ("t0.125.png", "t0.25.png", "t0.5.png", "t1.0.png")


@pytest.mark.parametrize("above", ["", "train"])
def test_cityscapes_is_ingested_as_downloaded(tmp_path, above):
    maps = label_maps(8)
    for city in ("aachen", "bochum"):
        frames = [np.full((48, 64, 3), 20 * number, np.uint8) for number in range(8)]
        write_images(tmp_path / "leftImg8bit/train" / city, frames, pattern=f"{city}_000_{{:06d}}_leftImg8bit.png")
        folder = write_images(
            tmp_path / "gtFine/train" / city, maps, pattern=f"{city}_000_{{:06d}}_gtFine_labelIds.png"
        )
        for number in range(8):
            stem = f"{city}_000_{number:06d}_gtFine"
            Image.fromarray(np.full((48, 64, 3), 7, np.uint8)).save(folder / f"{stem}_color.png")
            Image.fromarray(np.full((48, 64), 26001 + number, np.uint16)).save(folder / f"{stem}_instanceIds.png")
            (folder / f"{stem}_polygons.json").write_text("{}")
    images, root = tmp_path / "leftImg8bit" / above, tmp_path / "gtFine" / above
    outcome = ingest(tmp_path / "work", images, labels=root, instances=root, num_labels=35, cuts="none", lossless=True)
    assert not outcome.problems
    made = contents(tmp_path / "work", "labels")
    assert np.array_equal(made["bochum-0000/000003.label.png"], maps[3])
    assert made["aachen-0000/000007.inst.png"][0, 0] == 26008


def test_cityscapes_maps_without_label_ids_are_refused(tmp_path):
    frames = write_images(tmp_path / "a", moving_frames(8))
    maps = write_images(tmp_path / "b", label_maps(8), pattern="x_{}_gtFine_instanceIds.png")
    with raises("map-missing", "*_labelIds.png"):
        ingest(tmp_path / "work", frames, labels=maps)


def test_numbers_pair_maps_with_frames_where_names_differ(tmp_path):
    frames = write_images(tmp_path / "a", moving_frames(10), pattern="rgb_{:04d}.png")
    maps = write_images(tmp_path / "b", label_maps(10), pattern="{}_ids.png")
    ingest(tmp_path / "work", frames, labels=maps)
    for number in range(3):  # as many maps, of later frames
        (maps / f"{number}_ids.png").rename(maps / f"{number + 10}_ids.png")
    with raises("map-missing", "0.png"):
        ingest(tmp_path / "again", frames, labels=maps)


def test_maps_counted_from_one_belong_to_frames_counted_from_zero(tmp_path):
    frames = write_images(tmp_path / "a", moving_frames(8), pattern="rgb_{:04d}.png")
    maps = write_images(tmp_path / "b", label_maps(9), pattern="{}_ids.png")
    (maps / "0_ids.png").unlink()
    ingest(tmp_path / "work", frames, labels=maps, cuts="none")
    made = contents(tmp_path / "work", "labels")
    (name,) = [name for name in made if name.endswith("000000.label.png")]
    assert np.array_equal(made[name], label_maps(9)[1])


def test_a_raw_stream_of_jpegs_is_read_and_its_rate_is_reported(tmp_path, capsys):
    path = write_file(tmp_path / "a.mjpeg", moving_frames(8), codec="mjpeg", pix_fmt="yuvj420p")
    ingest(tmp_path / "work", path)
    assert clips(tmp_path / "work")["a-0000"]["num_frames"] == 8
    assert "a raw stream has no time stamps" in capsys.readouterr().err
