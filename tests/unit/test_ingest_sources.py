"""`v2v ingest`: which footage is the same as before, wherever it lies, and how many of its frames are taken."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.errors import raises
from tests.unit.ingesting import clips, contents, ingest, label_maps, manifest, shots, write_images
from tests.unit.video_files import moving_frames, write_file
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import fingerprint
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.video.decode import decode
from v2vkit.video.subsampling import subsample


def test_a_changed_source_or_setting_makes_the_artifact_stale(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(10))
    ingest(tmp_path / "work", path)
    assert "nothing to do" in ingest(tmp_path / "work", path).message
    with raises("artifact-stale", "lossless"):
        ingest(tmp_path / "work", path, lossless=True)
    write_file(path, moving_frames(11))
    with raises("artifact-stale", "a.mp4"):
        ingest(tmp_path / "work", path)


def test_the_same_files_by_another_path_are_up_to_date(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "here/street", moving_frames(8))
    labels = write_images(tmp_path / "here/labels", label_maps(8))
    video = write_file(tmp_path / "here/drive.mp4", moving_frames(8))
    monkeypatch.chdir(tmp_path / "here")
    ingest(tmp_path / "work", "street", labels="labels")
    ingest(tmp_path / "film", "drive.mp4")
    before = manifest(tmp_path / "work")["fingerprint"]
    assert "nothing to do" in ingest(tmp_path / "work", folder, labels=labels).message
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").rename(tmp_path / "there")
    assert "nothing to do" in ingest(tmp_path / "work", "there/street", labels="there/labels").message
    assert "nothing to do" in ingest(tmp_path / "film", tmp_path / "there" / video.name).message
    ingest(tmp_path / "again", "there/street", labels="there/labels")
    assert manifest(tmp_path / "again")["fingerprint"] == before
    Image.fromarray(label_maps(9)[8]).save("there/labels/frame6.png")
    with raises("artifact-stale", "the content of input labels of source 1 (street)."):
        ingest(tmp_path / "work", "there/street", labels="there/labels")
    with raises("artifact-stale", "input labels of source 1 (street) (gone)."):
        ingest(tmp_path / "work", "there/street")
    (tmp_path / "there/street").rename(tmp_path / "there/road")  # clips are named after it
    with raises("artifact-stale", "source 1 (road) (new), input source 1 (street) (gone)"):
        ingest(tmp_path / "work", "there/road", labels="there/labels")


def test_sources_of_one_name_and_their_order_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    a = write_file(tmp_path / "a/film.mp4", moving_frames(8))
    b = write_file(tmp_path / "b/film.mp4", moving_frames(9))
    ingest(tmp_path / "work", a, b)
    assert "nothing to do" in ingest(tmp_path / "work", a, b).message
    with raises("artifact-stale", "source 1 (film.mp4), the content of input source 2 (film.mp4)"):
        ingest(tmp_path / "work", b, a)


def test_many_changed_sources_are_counted_in_their_order(tmp_path):
    paths = [write_file(tmp_path / f"{number}.mp4", moving_frames(8)) for number in range(1, 12)]
    ingest(tmp_path / "work", *paths)
    for path in paths:
        write_file(path, moving_frames(9))
    with raises("artifact-stale", "(1.mp4)", "(2.mp4)", "7 more inputs") as caught:
        ingest(tmp_path / "work", *paths)
    assert "(11.mp4)" not in str(caught)


def test_adding_footage_says_how(tmp_path):
    a = write_file(tmp_path / "talk_a.mp4", moving_frames(8))
    b = write_file(tmp_path / "talk_b.mp4", moving_frames(9))
    ingest(tmp_path / "work", a)
    with raises("artifact-stale", "talk_b.mp4", "--overwrite"):
        ingest(tmp_path / "work", b)


def test_a_killed_run_goes_on_where_the_sources_lie_now(tmp_path):
    """The plan is that of the first run; what it reads is named by the second."""
    folder = write_images(tmp_path / "here/street", moving_frames(16))
    labels = write_images(tmp_path / "here/labels", label_maps(16))
    settings = {"cuts": "none", "clip_frames": 16, "shard_frames": 8, "min_frames": 8}
    for name in ("whole", "killed"):
        ingest(tmp_path / name, folder, labels=labels, **settings)
    for kind in ("frames", "labels"):
        done = tmp_path / "killed" / kind
        plan = json.loads((done / "manifest.json").read_text())
        (done / "manifest.partial.json").write_text(json.dumps({**plan, "shards": []}))
        for path in (done / "manifest.json", *done.glob("*.tar*"), *done.glob("*index*")):
            path.unlink(missing_ok=True)
    (tmp_path / "here").rename(tmp_path / "there")
    with raises("file-missing", "here/street"):
        ingest(tmp_path / "killed", folder, labels=labels, **settings)
    ingest(tmp_path / "killed", tmp_path / "there/street", labels=tmp_path / "there/labels", **settings)
    for kind in ("frames", "labels"):
        assert manifest(tmp_path / "killed", kind)["shards"] == manifest(tmp_path / "whole", kind)["shards"]
        assert manifest(tmp_path / "killed", kind)["units"] == manifest(tmp_path / "whole", kind)["units"]


def as_version_1(work: Path, fps: str) -> None:
    """Rewrites the manifest of one source with labels as version 1 of the stage wrote it: paths, always a rate."""
    old = manifest(work)
    config = {**old["config"], "fps": fps}
    file, maps = config["sources"][0], config["labels"]
    inputs = dict(zip((f"source {file}", f"labels {maps}"), old["inputs"].values(), strict=True))
    counting = {key: value for key, value in config.items() if key != "face_weights"}
    identity = fingerprint("ingest", 1, counting, inputs)
    new = {**old, "stage_version": 1, "config": config, "inputs": inputs, "fingerprint": identity}
    (work / "frames/manifest.json").write_text(json.dumps(new))
    side = {**manifest(work, "labels"), "inputs": {"frames": identity}}
    (work / "labels/manifest.json").write_text(json.dumps(side))


def test_artifacts_of_version_1_stay_valid_unless_they_ignored_a_rate(tmp_path):
    video = write_file(tmp_path / "drive.mp4", moving_frames(40), rate=50)
    labels = write_images(tmp_path / "labels", label_maps(40))
    ingest(tmp_path / "work", video, labels=labels)
    as_version_1(tmp_path / "work", "25")
    assert "nothing to do" in ingest(tmp_path / "work", video, labels=labels).message
    with raises("artifact-stale", "changed: lossless (was False, now True)."):
        ingest(tmp_path / "work", video, labels=labels, lossless=True)
    as_version_1(tmp_path / "work", "10")
    with raises("artifact-stale", "version 1, now 2"):
        ingest(tmp_path / "work", video, labels=labels, fps="10")


# Frame rates


@pytest.mark.parametrize(
    ("own", "rate", "kept"),
    [
        (60, 15, [0, 4, 8, 12, 16, 20]),
        (60, 25, [0, 2, 5, 7, 10, 12, 14, 17, 19, 22]),
        (Fraction(30000, 1001), "15000/1001", list(range(0, 24, 2))),
        (25, 25, list(range(24))),
    ],
)
def test_videos_are_subsampled_to_the_rate(tmp_path, own, rate, kept):
    frames = moving_frames(24)
    path = write_file(tmp_path / "a.mp4", frames, rate=own, options={"bf": "3", "g": "10"})
    labels = write_images(tmp_path / "labels", label_maps(24, num_labels=24))
    settings = {"cuts": "none", "lossless": True, "clip_frames": 5, "min_frames": 1, "labels": labels}
    ingest(tmp_path / "work", path, fps=str(rate), **settings)
    every = [frame.image for frame in decode(path)]
    images, ids = contents(tmp_path / "work"), contents(tmp_path / "work", "labels")
    assert all(np.array_equal(image, every[n]) for image, n in zip(images.values(), kept, strict=True))
    assert [int(image[0, 0]) for image in ids.values()] == kept
    found = list(clips(tmp_path / "work").values())
    assert {clip["fps"] for clip in found} == {str(rate)}
    assert all(a["source"]["stop"] == b["source"]["start"] for a, b in pairwise(found))  # one shot without a break
    assert manifest(tmp_path / "work")["config"]["fps"] == str(rate)


def test_thinning_keeps_to_the_limits_and_the_cuts(tmp_path):
    path = write_file(tmp_path / "film.mp4", shots("astronaut", "cat"), rate=50)
    ingest(tmp_path / "work", path, fps="25", min_frames=4)
    found = [clip["source"] for clip in clips(tmp_path / "work").values()]
    assert [clip["frames"] for clip in found] == [list(range(0, 20, 2)), list(range(20, 40, 2))]
    ingest(tmp_path / "part", path, fps="25", min_frames=4, start=0.1, max_frames=6, cuts="none")
    ingest(tmp_path / "rest", path, fps="25", min_frames=4, start=0.1, duration=0.24, cuts="none")
    for name in ("part", "rest"):
        ((only, *more),) = manifest(tmp_path / name)["units"]
        assert (only["source"]["frames"], more) == ([6, 8, 10, 12, 14, 16], [])


def test_rounded_time_stamps_are_thinned_evenly():
    stamps = [Fraction(round(1000 * n / 60), 1000) for n in range(60)]
    kept = [number for _, number in subsample(zip(stamps, range(60), strict=True), Fraction(15), Fraction(60))]
    assert kept == list(range(0, 60, 4))


def test_uneven_frames_are_never_doubled():
    stamps = [Fraction(ms, 1000) for ms in (0, 10, 20, 300, 310, 320, 400)]
    kept = [number for _, number in subsample(zip(stamps, range(7), strict=True), Fraction(20), Fraction(7, 1))]
    assert kept == [0, 2, 3, 5, 6]


def test_a_rate_above_that_of_a_video_is_refused(tmp_path):
    path = write_file(tmp_path / "a.mp4", moving_frames(10), rate=24)
    with raises("frame-rate-mismatch", "a.mp4", "24", "--fps 25"):
        ingest(tmp_path / "work", path, fps="25")
    assert not (tmp_path / "work").exists()


def test_without_a_rate_videos_keep_theirs_and_none_is_told(tmp_path):
    ingest(tmp_path / "work", write_file(tmp_path / "a.mp4", moving_frames(10), rate=24))
    assert (clips(tmp_path / "work")["a-0000"]["fps"], manifest(tmp_path / "work")["config"]["fps"]) == ("24", None)


def test_frame_rates_that_differ_are_told(tmp_path, capsys):
    a = write_file(tmp_path / "a.mp4", moving_frames(10), rate=30)
    b = write_file(tmp_path / "b.mp4", moving_frames(10), rate=25)
    c = write_file(tmp_path / "c.mp4", moving_frames(10), rate=Fraction(30000, 1001))
    ingest(tmp_path / "work", a, c)
    assert "rates" not in capsys.readouterr().err
    ingest(tmp_path / "work2", a, b)
    assert "Frame rates 25, 30: flow and motion differ between clips; --fps 25" in capsys.readouterr().err
    ingest(tmp_path / "work3", a, b, fps="25", min_frames=4)
    assert "rates" not in capsys.readouterr().err


def written(folder: Path, kind: str) -> Path:
    """A folder of 8 PNGs: photographs in colour or grey, label maps, or pictures of 16 bits."""
    folder.mkdir(parents=True)
    for number, image in enumerate(moving_frames(8)):
        pixels = image[..., 0] if kind.startswith("grey") else image
        if kind == "palette":
            Image.fromarray(pixels).quantize(8).save(folder / f"{number}.png")
        else:
            deep = kind.endswith("16")
            (folder / f"{number}.png").write_bytes(encode_png(pixels * np.uint16(257) if deep else pixels))
    return folder


@pytest.mark.parametrize(
    ("kinds", "suspicious"),
    [
        ("colour colour", ""),
        ("grey grey", ""),
        ("palette palette", ""),
        ("colour16", ""),
        ("grey16", "grey16"),
        ("colour grey", "grey"),
        ("colour palette", "palette"),
        ("colour grey grey16", "grey grey16"),
        ("colour colour16", "colour16"),
    ],
)
def test_maps_among_footage_are_a_problem(tmp_path: Path, kinds: str, suspicious: str) -> None:
    sources = [written(tmp_path / f"{kind}-{number}", kind) for number, kind in enumerate(kinds.split())]
    told = ingest(tmp_path / "work", *sources, size="64x48").problems
    assert [Path(problem.partition(":")[0]).name.partition("-")[0] for problem in told] == suspicious.split()
    assert len(clips(tmp_path / "work")) == len(sources)
    settings = CheckConfig(sources=tuple(map(str, sources)))
    assert CHECK.call(settings, RunOptions()) == list(told)


def test_many_folders_of_maps_are_one_problem(tmp_path: Path) -> None:
    written(tmp_path / "toy/images/a", "colour")
    for name in ("a", "b", "c"):
        written(tmp_path / "toy/labels" / name, "grey")
    (problem,) = ingest(tmp_path / "work", tmp_path / "toy").problems
    assert "2 other sources" in problem
