"""`v2v check` and `v2v doctor`."""

import importlib.metadata
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.bars import bars, watch_terminal
from tests.unit.training_data import make_workspace
from tests.unit.video_files import moving_frames, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import ClipInfo, Manifest, write_manifest
from v2vkit.artifacts.shard import ShardWriter, sample_key, shard_name
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages import doctor
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.ingest import STAGE as INGEST
from v2vkit.stages.ingest import IngestConfig


def test_a_sound_workspace_is_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = make_workspace(tmp_path)
    assert CHECK.call(CheckConfig(), options) == []
    output = capsys.readouterr().out
    assert "frames: 24 frames in 2 clips of 12, 2 shards, 32x24" in output
    assert "label     11:" in output
    assert "everything is in order" in output


@pytest.mark.parametrize("setting", [{"labels": "maps"}, {"depth": "maps"}, {"allow_palette": True}], ids=str)
def test_maps_beside_no_sources_are_refused(tmp_path: Path, setting: dict[str, object]) -> None:
    with raises("setting-unused", f"--{next(iter(setting)).replace('_', '-')}"):
        CHECK.call(CheckConfig(**setting), make_workspace(tmp_path))


def test_short_sources_are_named(tmp_path: Path) -> None:
    path = write_file(tmp_path / "in.mp4", moving_frames(5))
    (problem,) = CHECK.call(CheckConfig(sources=(str(path),), min_frames=8), RunOptions())
    assert "5 frames, fewer than 8 frames" in problem
    assert CHECK.call(CheckConfig(sources=(str(path),), min_frames=5), RunOptions()) == []


def test_artifacts_without_what_they_were_made_from_are_named(tmp_path: Path) -> None:
    options = make_workspace(tmp_path)
    (tmp_path / "frames/manifest.json").unlink()
    problems = CHECK.call(CheckConfig(), options)
    assert any("flow was made from frames, which is missing" in problem for problem in problems)


def test_damaged_manifests_are_problems_like_damaged_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = make_workspace(tmp_path)
    (tmp_path / "checkpoints/spatial-1").mkdir(parents=True)
    for name in ("frames", "checkpoints/spatial-1"):
        (tmp_path / name / "manifest.json").write_text("{")
    problems = CHECK.call(CheckConfig(), options)
    assert [name for name in ("frames", "spatial-1") if any(f"{name}/manifest.json" in text for text in problems)] == [
        "frames",
        "spatial-1",
    ]
    assert "labels: 24 frames" in capsys.readouterr().out


def test_free_space_is_that_of_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    usage = shutil.disk_usage

    def watched(path: Path) -> object:
        asked.append(Path(path))
        return usage(path)

    monkeypatch.setattr(shutil, "disk_usage", watched)
    doctor.COMMAND.call(doctor.DoctorConfig(), RunOptions(work=f"{tmp_path}/not/there"))
    assert asked == [tmp_path]


def _label_workspace(work: Path, maps: list[np.ndarray]) -> RunOptions:
    """A `labels` artifact of one clip."""
    folder, clip = Folder(f"{work}/labels"), ClipInfo(name="a", num_frames=len(maps), width=32, height=24)
    with ShardWriter(folder, shard_name(0)) as writer:
        for t, ids in enumerate(maps):
            writer.add(sample_key("a", t), "label.png", encode_png(ids))
        entry = writer.finish("x", (clip,)).entry
    about = Manifest(v2vkit="test", stage="segment", stage_version=1, config={}, inputs={}, fingerprint="x")
    write_manifest(folder, about.model_copy(update={"units": ((clip,),), "shards": (entry,)}))
    return RunOptions(work=str(work))


def test_the_pixels_of_label_maps_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = np.full((24, 32), 255, np.uint8)
    ids[:6], ids[6:9] = 0, 7
    options = _label_workspace(tmp_path, [ids, ids.astype(np.uint16) + 2])
    CHECK.call(CheckConfig(), options)
    output = capsys.readouterr().out
    shares = {"0": "12.50", "2": "12.50", "7": "6.25", "9": "6.25", "ignore": "31.25", "257": "31.25"}
    assert [line.split()[1:3] for line in output.splitlines() if line.startswith("  label")] == [
        [f"{name}:", share] for name, share in shares.items()
    ]


LABEL_IDS = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
"""Of Cityscapes' labelIds, those that have trainIds 0 to 18."""


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (LABEL_IDS, "Cityscapes' labelIds"),
        ((0, 1, 3, 4, *LABEL_IDS[:12], 255), "Cityscapes' labelIds"),
        ((26,), "The highest label id is 26, but only 1 id occurs"),
        ((3, 40), "The highest label id is 40, but only 2 ids occur:"),
    ],
)
def test_ids_of_another_convention_are_told_unless_they_are_said_to_be_meant(
    tmp_path: Path, ids: tuple[int, ...], words: str
) -> None:
    options = _label_workspace(tmp_path, [np.resize(np.uint8(ids), (24, 32))])
    (problem,) = CHECK.call(CheckConfig(), options)
    assert words in problem
    assert CHECK.call(CheckConfig(num_labels=41), options) == []


@pytest.mark.parametrize(
    "ids", [range(19), range(34), (*range(34), 255), range(10, 25), range(5, 40), (0, 1, 2), (1, 2, 255), (0, 255)]
)
def test_ordinary_ids_are_in_order(tmp_path: Path, ids: Sequence[int]) -> None:
    options = _label_workspace(tmp_path, [np.resize(np.uint8(list(ids)), (24, 32))])
    assert CHECK.call(CheckConfig(), options) == []


def test_label_maps_of_a_network_that_saw_nothing_are_a_problem(tmp_path: Path) -> None:
    options = _label_workspace(tmp_path, [np.full((24, 32), 255, np.uint8)])
    assert CHECK.call(CheckConfig(), options) == ["No frame has a label: every pixel is 255, which is ignored."]


def test_one_is_told_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = _label_workspace(tmp_path, [np.zeros((24, 32), np.uint8)])
    CHECK.call(CheckConfig(), options)
    assert "labels: 1 frame in 1 clip, 1 shard, 32x24\n" in capsys.readouterr().out


def test_the_bar_counts_every_frame_of_every_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of a damaged shard."""
    options = make_workspace(tmp_path)
    (tmp_path / "labels/shard-00001.tar").unlink()
    terminal = watch_terminal(monkeypatch)
    assert CHECK.call(CheckConfig(), options)
    assert [(bar.name, bar.expected, bar.done) for bar in bars(terminal)] == [
        (f"checking {kind}", 24, 24) for kind in ("frames", "labels", "flow")
    ]


def test_the_advice_for_old_labels_is_what_mends_them(tmp_path: Path) -> None:
    """`ingest` without --labels leaves those of an earlier run alone."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    for folder, shape in ((images, (24, 32, 3)), (labels, (24, 32))):
        folder.mkdir()
        for t in range(9):
            (folder / f"{t:03}.png").write_bytes(encode_png(np.full(shape, t, np.uint8)))
    again = RunOptions(work=str(tmp_path / "work"), workers=1, overwrite=True)
    config = IngestConfig(sources=(str(images),), labels=str(labels), cuts="none")
    run(INGEST, config, again)
    run(INGEST, config.model_copy(update={"labels": None, "max_frames": 8}), again)
    advice = "run `v2v ingest --overwrite` with --labels and its other settings; or remove that folder."
    assert CHECK.call(CheckConfig(), again) == [f"labels was made from another version of frames; {advice}"]
    run(INGEST, config.model_copy(update={"max_frames": 8}), again)
    assert CHECK.call(CheckConfig(), again) == []


def test_damage_ids_and_short_clips_are_told(tmp_path: Path) -> None:
    options = make_workspace(tmp_path)
    shard = tmp_path / "frames/shard-00001.tar"
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    problems = CHECK.call(CheckConfig(num_labels=5, min_frames=20), options)
    text = "\n".join(problems)
    assert "shard-00001.tar is corrupt" in text
    assert "Label ids [5, 6, 7, 8, 9, 10, 11] are not below 5" in text
    assert "2 clips have fewer than 20 frames" in text


def test_a_file_that_training_reads_is_missed(tmp_path: Path) -> None:
    folder, clip = Folder(f"{tmp_path}/sketches"), ClipInfo(name="a", num_frames=2, width=32, height=24)
    with ShardWriter(folder, shard_name(0)) as writer:
        for t, extensions in enumerate((("sketch.png", "json"), ("sketch.png",))):
            for extension in extensions:
                writer.add(sample_key("a", t), extension, b"something")
        entry = writer.finish("x", (clip,)).entry
    about = Manifest(v2vkit="test", stage="make-sketches", stage_version=2, config={}, inputs={}, fingerprint="x")
    write_manifest(folder, about.model_copy(update={"units": ((clip,),), "shards": (entry,)}))
    (problem,) = CHECK.call(CheckConfig(), RunOptions(work=str(tmp_path)))
    assert "shard-00000.tar lacks json for 1 of 2 frames of a: a/000001" in problem


def test_sources_are_checked_before_they_are_ingested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_file(tmp_path / "good.mp4", moving_frames(7))
    (tmp_path / "bad.mp4").write_bytes(b"not a video at all" * 10)
    sources = (str(tmp_path / "good.mp4"), str(tmp_path / "bad.mp4"))
    problems = CHECK.call(CheckConfig(sources=sources), RunOptions(work=str(tmp_path / "none")))
    assert len(problems) == 1
    assert "bad.mp4" in problems[0]
    assert "good.mp4: 7 frames, 64x48, 25 frames per second" in capsys.readouterr().out


def test_a_video_is_played_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write_file(tmp_path / "whole.mkv", moving_frames(40))
    content = whole.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 2 // 3])
    config = CheckConfig(sources=(str(whole), str(tmp_path / "cut.mkv")))
    (problem,) = CHECK.call(config, RunOptions(work=str(tmp_path / "none")))
    assert "cut.mkv" in problem
    assert "cut off" in problem
    assert "whole.mkv: 40 frames" in capsys.readouterr().out  # which its header does not tell


def test_every_image_of_a_sequence_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    for t, image in enumerate(moving_frames(9)):
        data = encode_png(image if t < 8 else image[:40])
        (tmp_path / f"images/{t}.png").write_bytes(data[: len(data) // 2] if t in (3, 5) else data)
    (problem,) = CHECK.call(CheckConfig(sources=(str(tmp_path / "images"),)), RunOptions(work=str(tmp_path / "none")))
    assert "images: 3 of 9 images cannot be used" in problem
    assert "3.png is damaged or cut off" in problem
    assert "5.png is damaged or cut off" in problem
    assert "8.png is 64x40, not 64x48" in problem


def test_label_maps_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    for folder, count in (("images", 4), ("labels", 3)):
        (tmp_path / folder).mkdir()
        for t in range(count):
            image = np.zeros((24, 32, 3) if folder == "images" else (24, 32), np.uint8)
            (tmp_path / folder / f"{t:03d}.png").write_bytes(encode_png(image))
    config = CheckConfig(sources=(str(tmp_path / "images"),), labels=str(tmp_path / "labels"))
    (problem,) = CHECK.call(config, RunOptions())
    assert re.search(r"images: .*(003|3 label)", problem)


def test_nothing_to_check(tmp_path: Path) -> None:
    with raises("artifact-missing", "v2v ingest"):
        CHECK.call(CheckConfig(), RunOptions(work=str(tmp_path)))


def test_doctor_names_versions_and_the_pip_line_for_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.diagnose("work", lambda name: None if name == "ptlflow" else doctor.version_of(name)) == []
    output = capsys.readouterr().out
    assert importlib.metadata.version("torch") in output
    assert "pip install 'v2vkit[flow]'" in output
    assert "cpu: " in output


def test_doctor_advises_no_package_without_a_wheel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    doctor.diagnose("work", lambda name: None if name in ("mediapipe", "dlib-bin") else "1.0")
    printed = capsys.readouterr().out
    assert "v2vkit[mediapipe]" not in printed
    assert "use Python 3.12" in printed
    assert "v2vkit[dlib]" in printed


def test_doctor_finds_two_opencvs_that_differ() -> None:
    versions = {"opencv-python": "4.11.0.86", "opencv-contrib-python": "4.10.0.84"}
    problems = doctor.diagnose("work", lambda name: versions.get(name, "1.0"))
    assert any("share one folder and differ" in problem for problem in problems)
