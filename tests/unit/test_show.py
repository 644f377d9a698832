"""Contact sheets and videos of artifacts: what is shown is what is there, and mistakes are told in sentences."""

import errno
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.errors import raises
from tests.file_reads import count_file_reads
from tests.flow_scenes import moving_texture, write_frames
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_image, encode_png
from v2vkit.artifacts.manifest import PARTIAL, Manifest, read_manifest, write_manifest
from v2vkit.artifacts.shard import ShardWriter, sample_key, shard_name
from v2vkit.conditions.flow import flow_color
from v2vkit.conditions.flow_io import encode_kitti
from v2vkit.conditions.label_ids import colorize
from v2vkit.conditions.preview import BLANK, contact_sheet, open_layer, sort_layers
from v2vkit.conditions.region_features import RegionFeatures, features_to_json
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.extract_flow import STAGE, FlowConfig
from v2vkit.stages.show import ShowConfig, show
from v2vkit.video.decode import decode
from v2vkit.video.probe import probe

COLOURS = {"a": (200, 30, 30), "b": (20, 160, 40)}


def _plain(colour: tuple[int, int, int], num_frames: int, size: tuple[int, int] = (32, 48)) -> list[np.ndarray]:
    return [np.full((*size, 3), colour, np.uint8) for _ in range(num_frames)]


def _show(work: Path, artifact: str, out: str, **settings: object) -> np.ndarray:
    assert show(ShowConfig(artifact=artifact, out=str(work / out), **settings), RunOptions(work=str(work))) == []
    return decode_image((work / out).read_bytes())


def _share(sheet: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Pixels of exactly this colour."""
    return int((sheet == np.array(colour, np.uint8)).all(axis=2).sum())


def test_a_sheet_of_frames_shows_every_clip_evenly(tmp_path: Path) -> None:
    write_frames(tmp_path, {name: _plain(colour, 6) for name, colour in COLOURS.items()})
    sheet = _show(tmp_path, "frames", "sheet.png", frames=4, columns=2)
    for colour in COLOURS.values():
        assert _share(sheet, colour) == 2 * 32 * 48
    only = _show(tmp_path, "frames", "sheet.png", frames=4, clip="b")
    assert (_share(only, COLOURS["a"]), _share(only, COLOURS["b"])) == (0, 4 * 32 * 48)


def test_two_processes_may_write_one_sheet(tmp_path: Path) -> None:
    """Each has a temporary file of its own; that of a process that was killed is removed."""
    write_frames(tmp_path, {"a": _plain(COLOURS["a"], 2)})
    name = f".sheet.{os.getppid()}.part.png"
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    for process in (os.getppid(), killed.pid):
        (tmp_path / f".sheet.{process}.part.png").write_bytes(b"half")
    _show(tmp_path, "frames", "sheet.png")
    assert {path.name for path in tmp_path.glob(".*")} == {name}
    assert (tmp_path / name).read_bytes() == b"half"


def test_each_shard_is_read_once_for_a_sheet_and_once_more_for_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path, {name: _plain(colour, 6) for name, colour in COLOURS.items()})
    shards = [str(tmp_path / "frames" / shard_name(number)) for number in (0, 1)]
    counts = count_file_reads(monkeypatch)
    _show(tmp_path, "frames", "sheet.png")
    assert [counts[shard] for shard in shards] == [1, 1]
    counts.clear()
    show(ShowConfig(artifact="frames", out=str(tmp_path / "all.mp4")), RunOptions(work=str(tmp_path)))
    assert all(1 <= counts[shard] <= 2 for shard in shards)


def test_the_most_telling_layer_is_shown_wherever_it_turns_up(tmp_path: Path) -> None:
    """Clip a has parts alone, b has a sketch, too, and c a photograph: a and c stay grey."""
    write_frames(tmp_path, {name: _plain(COLOURS["a"], 1) for name in "abc"})
    manifest = read_manifest(Folder(f"{tmp_path}/frames"))
    assert manifest is not None
    folder, entries = Folder(f"{tmp_path}/mixed"), []
    for number, (clip, names) in enumerate(
        {"a": ["parts.png"], "b": ["parts.png", "sketch.png"], "c": ["png"]}.items()
    ):
        with ShardWriter(folder, shard_name(number)) as writer:
            for name in names:
                value = 77 if name == "sketch.png" else 5
                writer.add(sample_key(clip, 0), name, encode_png(np.full((32, 48), value, np.uint8)))
            entries.append(writer.finish("x", manifest.units[number]).entry)
    write_manifest(folder, manifest.model_copy(update={"shards": tuple(entries)}))
    sheet = _show(tmp_path, "mixed", "sheet.png")
    assert _share(sheet, (77,) * 3) >= 32 * 48
    assert _share(sheet, (BLANK,) * 3) >= 2 * 32 * 48
    parts = _show(tmp_path, "mixed", "parts.png", layer="parts.png")
    assert 32 * 48 <= _share(parts, (BLANK,) * 3) < 2 * 32 * 48
    assert _share(parts, tuple(colorize(np.full((1, 1), 5, np.uint8))[0, 0])) >= 2 * 32 * 48


def test_an_artifact_can_be_named_by_its_folder(tmp_path: Path) -> None:
    write_frames(tmp_path / "elsewhere", {"a": _plain(COLOURS["a"], 3)})
    config = ShowConfig(artifact=str(tmp_path / "elsewhere" / "frames"), out=str(tmp_path / "sheet.png"))
    show(config, RunOptions(work=str(tmp_path / "absent")))
    assert _share(decode_image((tmp_path / "sheet.png").read_bytes()), COLOURS["a"]) == 3 * 32 * 48


def test_flow_is_shown_on_one_scale_and_missing_frames_are_grey(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": moving_texture(48, 64, dx=3, dy=0, num_frames=4)})
    run(STAGE, FlowConfig(), RunOptions(work=str(tmp_path), workers=1))
    sheet = _show(tmp_path, "flow", "sheet.png", frames=4)
    # A few pixels of the captions' soft edges have that grey, too.
    assert 0 <= _share(sheet, (BLANK,) * 3) - 48 * 64 < 64, "frame 0 has no flow"
    to_the_left = flow_color(np.array([[[-3.0, 0.0]]], np.float32))[0, 0].astype(int)
    near = np.abs(sheet.astype(int) - to_the_left).max(axis=2) < 40
    assert near.sum() > 2 * 48 * 64
    third = _show(tmp_path, "flow", "sheet.png", frames=4, layer="flow3.png")
    assert 0 <= _share(third, (BLANK,) * 3) - 3 * 48 * 64 < 64


def test_a_video_has_every_frame_and_the_rate_of_the_clip(tmp_path: Path) -> None:
    write_frames(tmp_path, {name: _plain(colour, 5) for name, colour in COLOURS.items()})
    show(ShowConfig(artifact="frames", out=str(tmp_path / "all.mp4")), RunOptions(work=str(tmp_path)))
    frames = [frame.image for frame in decode(tmp_path / "all.mp4")]
    assert len(frames) == 10
    assert probe(tmp_path / "all.mp4").fps == Fraction(25)
    for image, name in ((frames[0], "a"), (frames[4], "a"), (frames[5], "b"), (frames[9], "b")):
        assert np.abs(image.mean(axis=(0, 1)) - COLOURS[name]).max() < 6


def test_a_video_of_flow_is_as_long_as_the_clip(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": moving_texture(48, 64, dx=2, dy=1, num_frames=6)})
    run(STAGE, FlowConfig(), RunOptions(work=str(tmp_path), workers=1))
    show(ShowConfig(artifact="flow", out=str(tmp_path / "flow.mp4")), RunOptions(work=str(tmp_path)))
    frames = [frame.image for frame in decode(tmp_path / "flow.mp4")]
    assert len(frames) == 6
    assert np.abs(frames[0].astype(int) - BLANK).max() < 6


def test_a_video_does_not_depend_on_how_many_frames_a_sheet_would_have(tmp_path: Path) -> None:
    """A sheet of one frame would take frame 2, which has no flow over three frames."""
    write_frames(tmp_path, {"a": moving_texture(48, 64, dx=2, dy=1, num_frames=4)})
    run(STAGE, FlowConfig(), RunOptions(work=str(tmp_path), workers=1))
    written = []
    for frames in (1, 24):
        out = tmp_path / f"flow{frames}.mp4"
        config = ShowConfig(artifact="flow", out=str(out), frames=frames, layer="flow3.png")
        show(config, RunOptions(work=str(tmp_path)))
        written.append(np.stack([frame.image for frame in decode(out)]))
    np.testing.assert_array_equal(*written)


def _built(work: Path, stage: str, kind: str) -> Folder:
    """An artifact without clips."""
    folder = Folder(f"{work}/{kind}")
    write_manifest(folder, Manifest(v2vkit="test", stage=stage, stage_version=1, config={}, inputs={}, fingerprint="x"))
    return folder


def test_of_styles_their_preview_is_shown(tmp_path: Path) -> None:
    folder = _built(tmp_path, "sample-style", "styles")
    with raises("artifact-damaged", "preview.png"):
        _show(tmp_path, "styles", "sheet.png")
    folder.write("preview.png", encode_png(_plain(COLOURS["a"], 1)[0]))
    np.testing.assert_array_equal(_show(tmp_path, "styles", "sheet.png"), _plain(COLOURS["a"], 1)[0])
    with raises("format-unsupported", ".png"):
        show(ShowConfig(artifact="styles", out=str(tmp_path / "x.mp4")), RunOptions(work=str(tmp_path)))


def test_features_are_shown_as_bands() -> None:
    """Two regions, one below the other: the label's colour on the left, the vector's on the right."""
    regions = (
        RegionFeatures(id=0, label=1, area=0.7, vector=(1.0, -1.0, 0.0, 0.5)),
        RegionFeatures(id=3, label=2, area=0.3, vector=(1.0,)),
    )
    picture = open_layer("features.json", []).render(features_to_json(regions), "x")
    height, width = picture.shape[:2]
    assert (picture[: height // 2, -width // 3 :] == (255, 0, 128)).all()
    assert (picture[height // 2 :, -width // 3 :] == 255).all()
    palette = colorize(np.array([1, 2]))
    np.testing.assert_array_equal(picture[[0, -1], 0], palette)
    with raises("features-damaged", "x "):
        open_layer("features.json", []).render(b"[{}]", "x")


def test_clips_of_different_sizes_do_not_fit_into_one_video(tmp_path: Path) -> None:
    clips = {"a": _plain(COLOURS["a"], 2), "b": _plain(COLOURS["b"], 2, size=(40, 40))}
    write_frames(tmp_path, clips)
    with raises("clips-mismatch", "--clip"):
        show(ShowConfig(artifact="frames", out=str(tmp_path / "x.mp4")), RunOptions(work=str(tmp_path)))
    assert not (tmp_path / "x.mp4").exists()
    config = ShowConfig(artifact="frames", out=str(tmp_path / "b.mp4"), clip="b")
    show(config, RunOptions(work=str(tmp_path)))
    assert len(list(decode(tmp_path / "b.mp4"))) == 2
    _show(tmp_path, "frames", "sheet.png")


def _checkpoint(work: Path, *, finished: bool) -> Folder:
    folder = Folder(f"{work}/checkpoints/spatial-1")
    manifest = Manifest(v2vkit="test", stage="train", stage_version=1, config={}, inputs={}, fingerprint="x")
    write_manifest(folder, manifest, "manifest.json" if finished else PARTIAL)
    return folder


@pytest.mark.parametrize("finished", [True, False])
def test_of_checkpoints_the_newest_strip_is_shown_also_during_training(tmp_path: Path, finished: bool) -> None:
    folder = _checkpoint(tmp_path, finished=finished)
    with raises("sample-grid-missing", "--sample-every"):
        _show(tmp_path, "checkpoints/spatial-1", "sheet.png")
    for step, name in ((200, "a"), (1000, "b")):
        folder.write(f"sample-{step:08d}.png", encode_png(_plain(COLOURS[name], 1)[0]))
    strip = _show(tmp_path, "checkpoints/spatial-1", "sheet.png")
    np.testing.assert_array_equal(strip, _plain(COLOURS["b"], 1)[0])
    with raises("format-unsupported", "checkpoint"):
        show(ShowConfig(artifact="checkpoints/spatial-1", out="x.mp4"), RunOptions(work=str(tmp_path)))


@pytest.mark.parametrize("out", ["sheet.png", "x.mp4"])
def test_an_imported_checkpoint_has_no_strip(tmp_path: Path, out: str) -> None:
    folder = _checkpoint(tmp_path, finished=True)
    manifest = read_manifest(folder)
    assert manifest is not None
    write_manifest(folder, manifest.model_copy(update={"stage": "import-checkpoint"}))
    with raises("sample-grid-missing", "v2v render"):
        _show(tmp_path, "checkpoints/spatial-1", out)


def test_an_artifact_elsewhere_can_be_named_by_its_url_or_absolute_path(tmp_path: Path) -> None:
    away = f"memory://{tmp_path.name}"
    source, copy = Folder(f"{tmp_path}/frames"), Folder(f"{away}/frames")
    write_frames(tmp_path, {"a": _plain(COLOURS["a"], 2)})
    for name in source.names():
        copy.write(name, source.read(name))
    assert _share(_show(tmp_path, f"{away}/frames", "sheet.png"), COLOURS["a"]) == 2 * 32 * 48
    for absent in (f"{away}/flow", str(tmp_path / "flow")):
        with raises("artifact-missing", absent):
            _show(tmp_path, absent, "sheet.png")


def test_mistakes_are_told(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": _plain(COLOURS["a"], 2)})
    _checkpoint(tmp_path, finished=True)
    (tmp_path / "stray.txt").write_text("not an artifact")
    (tmp_path / "folder.png").mkdir()
    for settings, code, name in (
        ({"artifact": "flow"}, "artifact-missing", "frames, checkpoints/spatial-1"),
        ({"artifact": str(tmp_path / "stray.txt")}, "artifact-missing", "stray.txt"),
        ({"artifact": "frames", "clip": "z"}, "clip-unknown", ": a."),
        ({"artifact": "frames", "layer": "flow1.png"}, "layer-unknown", ": png."),
        ({"artifact": "frames", "out": "memory://x/sheet.png"}, "url-unsupported", "memory://x/sheet.png"),
        ({"artifact": "frames", "out": "memory://x/sheet.mp4"}, "url-unsupported", "memory://x/sheet.mp4"),
        ({"artifact": "frames", "out": "sheet.gif"}, "format-unsupported", "sheet.gif"),
        ({"artifact": "frames", "out": str(tmp_path / "absent" / "sheet.png")}, "folder-missing", "absent"),
        ({"artifact": "frames", "out": str(tmp_path / "folder.png")}, "file-required", "folder.png"),
        ({"artifact": "frames", "out": str(tmp_path / "absent" / "sheet.mp4")}, "folder-missing", "absent"),
    ):
        with raises(code, name):
            show(ShowConfig(**{"out": str(tmp_path / "s.png"), **settings}), RunOptions(work=str(tmp_path)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "folder.png", "frames", "stray.txt"]


@pytest.mark.parametrize("ending", ["png", "mp4"])
def test_targets_that_the_file_system_refuses_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    write_frames(tmp_path, {"a": _plain(COLOURS["a"], 2)})
    for length in (248, 300):
        config = ShowConfig(artifact="frames", out=str(tmp_path / f"{'a' * length}.{ending}"))
        with raises("target-unwritable", f"a.{ending}"):
            show(config, RunOptions(work=str(tmp_path)))

    def refuse(*_: object, **__: object) -> None:
        """As for somebody who is not root, in a folder of mode 000."""
        raise PermissionError(errno.EACCES, "Permission denied")

    for method in ("stat", "write_bytes" if ending == "png" else "stat"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            config = ShowConfig(artifact="frames", out=str(tmp_path / f"sheet.{ending}"))
            with raises("target-unwritable", f"sheet.{ending}"):
                show(config, RunOptions(work=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_an_artifact_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(tmp_path, {"a": _plain(COLOURS["a"], 2)})
    folder = Folder(f"{tmp_path}/frames")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(type(folder.fs), "cat_file", refuse)
        with raises("file-unreadable", "frames/manifest.json"):
            read_manifest(folder)
    with monkeypatch.context() as patch:
        patch.setattr(type(folder.fs), "ls", refuse)
        with raises("file-unreadable", "frames"):
            folder.names()
    (tmp_path / "frames/manifest.json").rename(tmp_path / "manifest.json")
    (tmp_path / "frames/manifest.json").mkdir()
    with raises("file-required", "manifest.json"):
        read_manifest(folder)
    with raises("file-unreadable"):
        _show(tmp_path, "a" * 300, "sheet.png")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("side", [1, 4, 8, 9, 16])
def test_captions_of_tiny_pictures_end(side: int) -> None:
    pictures = _plain(COLOURS["a"], 2, (side, side))
    sheet = contact_sheet(pictures, ["clip-0000 0", "clip-0000 1"], columns=2, title="frames: png")
    assert _share(sheet, COLOURS["a"]) == 2 * side * side


def test_an_unfinished_artifact_is_told(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": _plain(COLOURS["a"], 2)})
    (tmp_path / "frames" / "manifest.json").rename(tmp_path / "frames" / PARTIAL)
    with raises("artifact-unfinished", "v2v ingest"):
        _show(tmp_path, "frames", "sheet.png")


def test_files_that_are_no_pictures_are_told(tmp_path: Path) -> None:
    write_frames(tmp_path, {"a": _plain(COLOURS["a"], 1)})
    manifest = read_manifest(Folder(f"{tmp_path}/frames"))
    assert manifest is not None
    folder = Folder(f"{tmp_path}/landmarks")
    with ShardWriter(folder, shard_name(0)) as writer:
        writer.add(sample_key("a", 0), "json", b"{}")
        entry = writer.finish("x", manifest.units[0]).entry
    write_manifest(folder, manifest.model_copy(update={"shards": (entry,)}))
    with raises("layer-missing", "json"):
        _show(tmp_path, "landmarks", "sheet.png")


def test_layers_are_sorted_by_what_they_tell() -> None:
    assert sort_layers({"json", "parts.png", "sketch.png"}) == ["sketch.png", "parts.png"]
    assert sort_layers({"flow3.png", "flow1.png"}) == ["flow1.png", "flow3.png"]
    assert sort_layers({"label.png", "inst.png", "jpg"}) == ["label.png", "inst.png", "jpg"]


def test_ids_and_strokes_become_colours() -> None:
    ids = np.array([[0, 3], [7, 255]], np.uint8)
    np.testing.assert_array_equal(open_layer("label.png", []).render(encode_png(ids), "x"), colorize(ids))
    instances = np.array([[0, 26001]], np.uint16)
    assert open_layer("inst.png", []).render(encode_png(instances), "x").shape == (1, 2, 3)
    strokes = np.array([[0, 255]], np.uint8)
    picture = open_layer("sketch.png", []).render(encode_png(strokes), "x")
    np.testing.assert_array_equal(picture, [[[0] * 3, [255] * 3]])


def test_flow_of_different_frames_has_one_scale() -> None:
    slow, fast = (encode_kitti(np.full((8, 8, 2), value, np.float32)) for value in (2, 8))
    layer = open_layer("flow1.png", [slow, fast])
    assert layer.render(slow, "x").min() > layer.render(fast, "x").min()
    assert "11.3 px" in layer.note
    unsure = encode_kitti(np.full((8, 8, 2), 300, np.float32), np.zeros((8, 8), np.float32))
    assert open_layer("flow1.png", [slow, fast, unsure]).note == layer.note, "what is not trusted sets no scale"


def test_large_pictures_are_reduced_and_long_captions_cut() -> None:
    picture = np.zeros((600, 1200, 3), np.uint8)
    sheet = contact_sheet([picture, None], ["x" * 500, "y"], columns=5, title="t" * 900)
    assert sheet.shape[1] < 600
    assert cv2.countNonZero((sheet == 0).all(axis=2).astype(np.uint8)) >= 256 * 128
