"""The condition `picture`: `ingest --picture`, training on pairs, rendering without an estimator."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.errors import raises
from tests.unit.ingesting import contents, ingest, manifest, write_images
from tests.unit.rendering import conditioned, render
from tests.unit.video_files import moving_frames, read_raw, write_file
from tests.whole_way import check, evaluate, show, train
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.conditions.augment import Change, draw_affine, warp_image
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.conditioning import Conditioning, to_unit
from v2vkit.conditions.picture import Picture, PictureCondition
from v2vkit.models.blocks import pyramid
from v2vkit.models.generator import VideoGenerator, history_from_images
from v2vkit.models.presets import generator_config
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.ingest import STAGE, IngestConfig
from v2vkit.video.framing import Window, scale_window


def pictures(work: Path) -> list[np.ndarray]:
    return list(contents(work, "pictures").values())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"start": 0.5, "duration": 1.0, "clip_frames": 8, "min_frames": 4},
        {"fps": "10", "min_frames": 4},
        {"crop": "center", "size": "32x32"},
    ],
    ids=["whole", "part", "subsampled", "cropped"],
)
def test_pictures_are_those_of_the_frames(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The same video as its own other look must give the same pixels in both artifacts, whatever is chosen of it."""
    video = write_file(tmp_path / "a.mp4", moving_frames(50))
    ingest(tmp_path / "work", video, picture=video, cuts="none", lossless=True, **settings)
    frames = contents(tmp_path / "work")
    found = contents(tmp_path / "work", "pictures")
    assert [name.replace(".picture.png", ".png") for name in found] == list(frames)
    for frame, picture in zip(frames.values(), found.values(), strict=True):
        np.testing.assert_array_equal(frame, picture)
    beside = manifest(tmp_path / "work", "pictures")
    assert beside["units"] == manifest(tmp_path / "work")["units"]
    assert beside["inputs"]["frames"] == manifest(tmp_path / "work")["fingerprint"]


def test_images_are_paired_by_name_with_images_and_by_order_with_a_video(tmp_path: Path) -> None:
    frames = moving_frames(12)
    looks = [np.full((48, 64, 3), 20 * t, np.uint8) for t in range(12)]
    video = write_file(tmp_path / "a.mp4", frames)
    folder = write_images(tmp_path / "images", frames, pattern="{}.png")
    named = write_images(tmp_path / "looks", reversed(looks), pattern="{}.jpg")
    ingest(tmp_path / "by-name", folder, picture=named, cuts="none")
    assert [int(p.mean()) for p in pictures(tmp_path / "by-name")] == pytest.approx(range(220, -1, -20), abs=1)
    ingest(tmp_path / "by-order", video, picture=named, cuts="none", start=0.16, min_frames=4)
    assert [int(p.mean()) for p in pictures(tmp_path / "by-order")] == pytest.approx(range(140, -1, -20), abs=1)
    ingest(tmp_path / "video", folder, picture=video, cuts="none", lossless=True)
    assert np.abs(np.stack(pictures(tmp_path / "video")).astype(int) - np.stack(frames)).mean() < 8


def test_each_of_several_sources_has_pictures_of_its_name(tmp_path: Path) -> None:
    for name, value in (("a", 10), ("b", 200)):
        write_images(tmp_path / "images" / name, moving_frames(8))
        looks = [np.full((48, 64, 3), value, np.uint8)] * 8
        if name == "a":
            write_images(tmp_path / "looks" / name, looks)
        else:
            write_file(tmp_path / "looks" / "b.mp4", looks)
    ingest(tmp_path / "work", tmp_path / "images", picture=tmp_path / "looks", cuts="none")
    found = contents(tmp_path / "work", "pictures")
    assert found["a-0000/000003.picture.png"].mean() == pytest.approx(10, abs=3)
    assert found["b-0000/000003.picture.png"].mean() == pytest.approx(200, abs=3)
    (tmp_path / "looks" / "b.mp4").unlink()
    with raises("source-ambiguous", "b.mp4"):
        ingest(tmp_path / "other", tmp_path / "images", picture=tmp_path / "looks")
    with raises("source-ambiguous"):
        ingest(tmp_path / "other", tmp_path / "images", picture=tmp_path / "looks" / "a" / "frame0.png")


def test_smaller_pictures_are_cropped_where_their_frames_are(tmp_path: Path) -> None:
    """A preview at half the size, cut to the middle: the edge between black and white stays where it was."""
    big = np.zeros((48, 96, 3), np.uint8)
    big[:, 40:] = 255
    folder = write_images(tmp_path / "images", [big] * 8)
    looks = write_images(tmp_path / "looks", [big[::2, ::2]] * 8)
    ingest(tmp_path / "work", folder, picture=looks, crop="center", size="48x48", lossless=True, cuts="none")
    frame, picture = contents(tmp_path / "work")["images-0000/000000.png"], pictures(tmp_path / "work")[0]
    assert picture.shape == frame.shape == (48, 48, 3)
    assert (frame[0, :16].max(), frame[0, 16:].min()) == (0, 255)
    assert (picture[0, :14].max(), picture[0, 18:].min()) == (0, 255)


def test_windows_are_scaled_and_stay_inside() -> None:
    assert scale_window(Window(3, 5, 7, 9), (64, 48), (64, 48)) == Window(3, 5, 7, 9)
    assert scale_window(Window(16, 0, 32, 48), (64, 48), (32, 24)) == Window(8, 0, 16, 24)
    tiny = scale_window(Window(63, 47, 1, 1), (64, 48), (4, 3))
    assert tiny == Window(3, 2, 1, 1)


def test_pairs_that_do_not_fit_are_named_before_any_work(tmp_path: Path) -> None:
    video = write_file(tmp_path / "a.mp4", moving_frames(20))
    folder = write_images(tmp_path / "images", moving_frames(20), pattern="{}.png")
    shorter = write_file(tmp_path / "shorter.mp4", moving_frames(19))
    slower = write_file(tmp_path / "slower.mp4", moving_frames(20), rate=20)
    square = write_file(tmp_path / "square.mp4", moving_frames(20, 48, 48))
    few = write_images(tmp_path / "few", moving_frames(19), pattern="{}.png")
    two = write_images(tmp_path / "two" / "x", moving_frames(20)).parent
    write_images(two / "y", moving_frames(20))
    cases = [
        (video, shorter, "frame-count-mismatch", ["20 frames", "shorter.mp4", "19"]),
        (folder, shorter, "frame-count-mismatch", ["20 frames", "shorter.mp4", "19"]),
        (video, slower, "frame-rate-mismatch", ["25", "slower.mp4", "20"]),
        (video, square, "aspect-mismatch", ["64x48", "square.mp4", "48x48"]),
        (folder, few, "map-missing", ["frame 19", "19.png"]),
        (video, few, "frame-count-mismatch", ["20 frames", "19 pictures"]),
        (video, two, "source-ambiguous", ["two"]),
        (video, tmp_path / "nothing", "file-missing", ["nothing"]),
    ]
    for source, picture, code, told in cases:
        with raises(code, *told):
            ingest(tmp_path / "work", source, picture=picture, cuts="none")
    assert not (tmp_path / "work").exists()
    told_of = CHECK.call(CheckConfig(sources=(str(video),), picture=str(shorter)), RunOptions())
    assert len(told_of) == 1
    assert "has 20 frames, but" in told_of[0]
    assert CHECK.call(CheckConfig(sources=(str(video),), picture=str(video)), RunOptions()) == []


def test_a_changed_picture_makes_the_artifacts_stale(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8))
    looks = write_images(tmp_path / "looks", moving_frames(8))
    ingest(tmp_path / "work", folder, picture=looks, cuts="none")
    assert "up to date" in ingest(tmp_path / "work", folder, picture=looks, cuts="none").message
    write_images(tmp_path / "other", moving_frames(1, step=9))
    (looks / "frame3.png").write_bytes((tmp_path / "other" / "frame0.png").read_bytes())
    with raises("artifact-stale"):
        ingest(tmp_path / "work", folder, picture=looks, cuts="none")


def test_augmentation_moves_the_picture_as_its_frame() -> None:
    image, condition = moving_frames(1)[0], Conditioning.of(PictureCondition())
    move = draw_affine(np.random.default_rng(3), 1.0, (64, 48))
    channels = condition.channels(condition.augment((Picture(image),), Change(move, drop=0.5, seed=(1,))))
    np.testing.assert_array_equal(channels.transpose(1, 2, 0), warp_image(image, move))
    assert not np.array_equal(channels.transpose(1, 2, 0), image)


def test_a_look_goes_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Negative -> real: train on pairs, then render the other look's video itself, without any estimator."""
    real, look = (
        write_file(tmp_path / name, frames, options={"crf": "0"}, pix_fmt="yuv444p")
        for name, frames in (("real.mp4", moving_frames(12)), ("look.mp4", [255 - f for f in moving_frames(12)]))
    )
    ingest(tmp_path, real, picture=look, size="32x24", cuts="none")
    assert check(tmp_path) == []
    assert "pictures: 12 frames in 1 clip" in capsys.readouterr().out
    assert decode_image(show(tmp_path, "pictures").read_bytes()).std() > 1
    info = train(tmp_path, flip=True)
    assert "picture" in capsys.readouterr().out
    assert info.conditioning == Conditioning.of(PictureCondition())
    found = read_manifest(Folder(f"{tmp_path}/pictures"))
    assert found is not None
    reader = ClipReader(Folder(str(tmp_path)), {"pictures": found})
    streamed = list(conditioned(look, info, cuts="none"))
    assert len(streamed) == 12
    for t, frame in enumerate(streamed):
        np.testing.assert_array_equal(frame.s, to_unit(reader.channels(info.conditioning, "real-0000", t)))
    for source, maps, parts in ((look, False, 3), (tmp_path, True, 3)):
        target = tmp_path / "out.mp4"
        assert render(source, target, tmp_path, maps=maps, compare=True) == []
        frames, _ = read_raw(target)
        assert len(frames) == 12
        assert frames[0].shape[1] == parts * 32
    assert evaluate(tmp_path) == []


def test_a_workspace_of_two_domains_asks_which(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8))
    labels = write_images(tmp_path / "labels", [np.zeros((48, 64), np.uint8)] * 8)
    ingest(tmp_path / "work", folder, picture=folder, labels=labels, cuts="none")
    with raises("setting-required", "labels, pictures", "--domain street or frames"):
        train(tmp_path / "work")


def test_pictures_of_other_frames_are_refused(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8))
    ingest(tmp_path / "work", folder, picture=folder, cuts="none")
    again = IngestConfig(sources=(str(folder),), cuts="none", size="32x32")
    run(STAGE, again, RunOptions(work=str(tmp_path / "work"), workers=1, overwrite=True))
    with raises("artifact-stale", "pictures", "--picture"):
        train(tmp_path / "work", domain="frames")


@pytest.mark.parametrize("num_scales", [1, 2])
def test_a_generator_adds_to_the_picture_of_the_current_frame(num_scales: int) -> None:
    """Where the head gives nothing, every scale hallucinates the picture itself, and not that of an earlier frame."""
    config = generator_config(
        "tiny", source_channels=5, width=8, num_down=2, num_blocks=2, picture=2, num_scales=num_scales
    )
    generator = VideoGenerator(config).eval()
    for scale in generator.scales:
        for parameter in scale.image_head.parameters():
            torch.nn.init.zeros_(parameter)
    source = torch.rand(1, 15, 24, 32)
    history = history_from_images(torch.rand(1, 2, 3, 24, 32), num_scales)
    with torch.no_grad():
        outputs = generator(source, history)
    for output, level in zip(outputs, pyramid(source[:, 12:15], num_scales), strict=True):
        torch.testing.assert_close(output.h, (2 * level - 1).clamp(-0.98, 0.98), atol=1e-5, rtol=0)
    with raises("setting-invalid", "3"):
        generator_config("tiny", source_channels=5, picture=3)


def test_the_generator_is_told_where_the_picture_is(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "images", moving_frames(8, 32, 24))
    labels = write_images(tmp_path / "ids", [np.zeros((24, 32), np.uint8)] * 8)
    ingest(tmp_path, folder, picture=folder, labels=labels, num_labels=2, cuts="none")
    with raises("setting-unused", "--no-picture-skip", "--condition picture"):
        train(tmp_path, domain="street", picture_skip=False)
    info = train(tmp_path, condition=("labels", "picture"))
    assert (info.conditioning.names, info.generator.picture) == ("labels+picture", 3)  # two labels and their edges


def test_an_untrained_generator_begins_near_the_picture() -> None:
    torch.manual_seed(0)
    sizes = {"source_channels": 3, "width": 16, "num_down": 2, "num_blocks": 2}
    source, history = torch.rand(1, 9, 24, 32), [torch.rand(1, 6, 24, 32)]
    errors = []
    for picture in (0, None):
        with torch.no_grad():
            output = VideoGenerator(generator_config("tiny", picture=picture, **sizes)).eval()(source, history)[-1]
        assert output.mask is not None
        errors.append(float((output.x_fake - (2 * source[:, 6:] - 1)).abs().mean()))
    assert errors[0] < 0.15 < errors[1]
