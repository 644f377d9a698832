"""Parts of videos, what cannot be a source for a model, and files from outside that lie about numbers."""

import json
import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import ValidationError

from tests.conditions import use_estimator
from tests.errors import raises
from tests.unit.fake_stage import SOURCE, SourceConfig
from tests.unit.rendering import render, save_untrained
from tests.unit.training_data import make_workspace
from tests.unit.video_files import moving_frames, read_packets, read_raw, write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import ClipInfo, Manifest, read_manifest, write_manifest
from v2vkit.checkpoint.model_file import MODEL, load_model, read_info, save_model
from v2vkit.config import make_config
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.render import RenderConfig
from v2vkit.video.container import open_video
from v2vkit.video.decode import decode
from v2vkit.video.limits import Limits, Part, find_part
from v2vkit.video.seeking import packet_stamps

pytest.importorskip("mediapipe")

VARIABLE = [*range(0, 1200, 100), *range(1200, 1440, 20)]
"""Milliseconds: 12 frames at 10 per second, then 12 at 50."""


def _variable(path: Path, stamps: Sequence[int] = VARIABLE, **settings: object) -> Path:
    return write_file(path, moving_frames(len(stamps)), stamps=stamps, time_base=Fraction(1, 1000), **settings)


def _sound(path: Path) -> list[tuple[float, bytes]]:
    """Time in seconds and content of every audio packet."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.dts is not None]
        return [(float(packet.dts * packet.time_base), bytes(packet)) for packet in packets]


@pytest.fixture
def faces_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image shows a face."""
    use_estimator(monkeypatch, "face", "mediapipe", "tests.faces:MiddleFace")


@pytest.mark.usefixtures("faces_everywhere")
@pytest.mark.parametrize(
    ("settings", "first", "count"),
    [
        ({"start": 0.5, "duration": 0.7}, 5, 7),
        ({"start": 1.3}, 17, 7),
        ({"duration": 0.35}, 0, 4),
        ({"start": 1.2, "duration": 100.0}, 12, 12),
    ],
)
def test_a_part_is_chosen_by_time_stamps(tmp_path: Path, settings: dict, first: int, count: int) -> None:
    save_untrained(tmp_path, "face")
    source = _variable(tmp_path / "in.mp4", audio="aac")
    problems = render(source, tmp_path / "out.mp4", tmp_path, **settings)
    times = [Fraction(stamp - VARIABLE[first], 1000) for stamp in VARIABLE[first : first + count]]
    assert read_raw(tmp_path / "out.mp4")[1] == times
    assert problems == []
    # The sound of those moments, in whole packets of 21 ms or so, in step with the pictures.
    begin = VARIABLE[first] / 1000
    end = VARIABLE[first + count] / 1000 if first + count < len(VARIABLE) else math.inf
    expected = [(time - begin, data) for time, data in _sound(source) if begin <= time < end]
    found = _sound(tmp_path / "out.mp4")
    assert len(expected) > 2 or begin > 1  # the sound lasts one second
    assert [data for _, data in found] == [data for _, data in expected]
    assert [time for time, _ in found] == pytest.approx([time for time, _ in expected], abs=0.03)


@pytest.mark.usefixtures("faces_everywhere")
def test_a_part_that_is_everything_keeps_its_sound(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    source = _variable(tmp_path / "in.mp4", audio="aac")
    assert render(source, tmp_path / "out.mp4", tmp_path, duration=100.0) == []
    assert read_packets(tmp_path / "out.mp4") == read_packets(source)
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 24


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "in.avi"])
def test_time_stamps_of_packets_are_those_of_frames(tmp_path: Path, name: str) -> None:
    if name == "in.avi":  # its packets tell nothing of the order of display: the frames are decoded
        path = write_file(tmp_path / name, moving_frames(30), codec="mpeg4")
    else:
        path = _variable(tmp_path / name, options={"bf": "2", "g": "8"})
    frames = list(decode(path))
    expected = [frame.pts for frame in frames]
    with open_video(path) as video:
        everything = packet_stamps(video)
    with open_video(path) as video:
        some = packet_stamps(video, Fraction(3, 10))
    if name == "in.avi":
        assert everything is some is None
        return
    assert sorted(everything or ()) == expected
    some = sorted(some or ())
    inside = [tick for tick in expected if (tick - expected[0]) * frames[0].time_base < Fraction(3, 10)]
    assert list(some[: len(inside)]) == inside
    assert len(inside) < len(some) < len(expected)


def test_a_recording_that_begins_hours_into_its_clock_begins_at_zero(tmp_path: Path) -> None:
    stamps = [36000 * 90000 + 3600 * i for i in range(25)]
    times = {"stamps": stamps, "time_base": Fraction(1, 90000), "audio": "aac", "sound_from": 36000}
    path = write_file(tmp_path / "in.ts", moving_frames(25), **times)
    save_untrained(tmp_path, "face")
    render(path, tmp_path / "out.mp4", tmp_path)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(1, abs=0.15)
        assert container.streams.audio[0].start_time * container.streams.audio[0].time_base < Fraction(1, 5)
    assert len(read_raw(tmp_path / "out.mp4")[0]) == 25


def test_parts_of_a_video(tmp_path: Path) -> None:
    path = str(_variable(tmp_path / "in.mkv"))

    def part(start: float, duration: float | None) -> Part:
        with open_video(path) as video:
            found = find_part(path, video, Limits.typed(start, duration, None))
        assert found is not None
        return found

    assert part(0, 1.43).whole
    assert not part(0, 1.42).whole
    some = part(0.5, 0.7)
    assert (some.start, some.num_frames, some.start_pts, some.end) == (5, 7, 500, Fraction(12, 10))
    with raises("time-range-empty", "--start", "--duration"):
        part(1.5, None)


@pytest.mark.parametrize(("start", "duration", "seconds"), [(0.2, 0.6, 0.6), (0.0, 2.0, 2.0), (0.2, None, 2.8)])
def test_the_sound_of_a_part_ends_with_it(tmp_path: Path, start: float, duration: float | None, seconds: float) -> None:
    """Also where the picture ends before: a second of it, and three of sound."""
    path = write_file(tmp_path / "in.mp4", moving_frames(25), audio="aac", seconds=3.0)
    save_untrained(tmp_path, "face")
    duration_given = {} if duration is None else {"duration": duration}
    render(path, tmp_path / "out.mp4", tmp_path, start=start, **duration_given)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.audio[0]
        assert stream.duration is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(seconds, abs=0.15)


@pytest.mark.parametrize("settings", [{"start": math.inf}, {"duration": math.inf}, {"start": math.nan}])
def test_seconds_are_finite(settings: dict) -> None:
    with raises("setting-invalid", *settings, "finite"):
        make_config(RenderConfig, {"source": "a", "target": "b.mp4"} | settings, "test")


def _labels(folder: Path, count: int = 3) -> Path:
    folder.mkdir(parents=True)
    for t in range(count):
        (folder / f"{t}.png").write_bytes(encode_png(np.full((50, 70), t, np.uint8)))
    return folder


def test_only_videos_have_parts(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    with raises("setting-unused", "--start", "labels"):
        render(_labels(tmp_path / "labels"), tmp_path / "out.mp4", tmp_path, start=1.0)
    with raises("setting-unused", "--duration"):
        render(tmp_path, tmp_path / "out.mp4", tmp_path, maps=True, duration=1.0)


def test_a_folder_of_folders_of_labels_names_one_to_give(tmp_path: Path) -> None:
    save_untrained(tmp_path, "street")
    for name in ("a", "b"):
        _labels(tmp_path / "labels" / name)
    with raises("source-ambiguous", "2", "labels/a"):
        render(tmp_path / "labels", tmp_path / "out.mp4", tmp_path)
    with raises("source-ambiguous", "2", "labels/a"):
        render(tmp_path / "labels/a", tmp_path / "out.mp4", tmp_path, first_frames=str(tmp_path / "labels"))
    (tmp_path / "videos").mkdir()
    write_file(tmp_path / "videos/a.mp4", moving_frames(2))
    with raises("footage-missing", "videos", "a.mp4"):
        render(tmp_path / "videos", tmp_path / "out.mp4", tmp_path)


def test_a_source_that_may_not_be_looked_at_is_a_sentence(tmp_path: Path) -> None:
    save_untrained(tmp_path, "face")
    with raises("file-unreadable"):
        render(tmp_path / f"{'a' * 300}.mp4", tmp_path / "out.mp4", tmp_path)


def _change(work: Path, kind: str, **changes: object) -> None:
    folder = Folder(f"{work}/{kind}")
    manifest = read_manifest(folder)
    assert manifest is not None
    write_manifest(folder, manifest.model_copy(update=changes))


def test_every_clip_of_the_maps_has_the_size_of_the_model(tmp_path: Path) -> None:
    make_workspace(tmp_path / "data", num_clips=2, clip_frames=5)
    save_untrained(tmp_path, "street", size=(32, 24))
    manifest = read_manifest(Folder(f"{tmp_path}/data/labels"))
    assert manifest is not None
    last = manifest.units[1][0].model_copy(update={"width": 48})
    for kind in ("frames", "labels"):
        _change(tmp_path / "data", kind, units=(manifest.units[0], (last,)))
    with raises("size-mismatch", last.name, "48x24", "32x24"):
        render(tmp_path / "data", tmp_path / "out.mp4", tmp_path, maps=True)


def test_a_workspace_without_frames_is_told(tmp_path: Path) -> None:
    make_workspace(tmp_path / "data", num_clips=1, clip_frames=5)
    save_untrained(tmp_path, "street", size=(32, 24))
    for kind in ("frames", "labels", "flow"):
        _change(tmp_path / "data", kind, units=(), shards=())
    with raises("frames-missing", "labels", "data"):
        render(tmp_path / "data", tmp_path / "out.mp4", tmp_path, maps=True)
    with raises("frames-missing", "data"):
        EVALUATE.call(EvaluateConfig(data=f"{tmp_path}/data", device="cpu"), RunOptions(work=str(tmp_path)))


def test_maps_and_flow_of_other_frames_are_refused(tmp_path: Path) -> None:
    make_workspace(tmp_path / "data", num_clips=1, clip_frames=5)
    save_untrained(tmp_path, "street", size=(32, 24))
    config = EvaluateConfig(data=f"{tmp_path}/data", device="cpu")
    _change(tmp_path / "data", "flow", inputs={"frames": "others"})
    with raises("artifact-stale", "flow"):
        EVALUATE.call(config, RunOptions(work=str(tmp_path)))
    _change(tmp_path / "data", "labels", inputs={"frames": "others"})
    with raises("artifact-stale", "labels"):
        EVALUATE.call(config, RunOptions(work=str(tmp_path)))
    with raises("artifact-stale", "labels"):
        render(tmp_path / "data", tmp_path / "out.mp4", tmp_path, maps=True)


def test_artifacts_of_other_clips_do_not_join(tmp_path: Path) -> None:
    make_workspace(tmp_path / "data", num_clips=1, clip_frames=5)
    save_untrained(tmp_path, "street", size=(32, 24))
    manifest = read_manifest(Folder(f"{tmp_path}/data/labels"))
    assert manifest is not None
    _change(tmp_path / "data", "labels", units=((manifest.units[0][0].model_copy(update={"name": "another"}),),))
    with raises("artifacts-mismatch", "labels", "data"):
        EVALUATE.call(EvaluateConfig(data=f"{tmp_path}/data", device="cpu"), RunOptions(work=str(tmp_path)))


def test_clips_too_short_to_measure_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_workspace(tmp_path / "data", num_clips=2, clip_frames=3)
    save_untrained(tmp_path, "street", size=(32, 24))
    info_path = Folder(f"{tmp_path}/checkpoints/spatial-1")
    generator, info = load_model(info_path)
    save_model(info_path, generator.state_dict(), info.model_copy(update={"first_frame": "real"}))
    config = EvaluateConfig(data=f"{tmp_path}/data", device="cpu", threads=1, out=f"{tmp_path}/report")
    options = RunOptions(work=str(tmp_path), overwrite=True)  # `_change` leaves the fingerprints
    assert EVALUATE.call(config, options) == []
    report = json.loads((tmp_path / "report/evaluation.json").read_text())
    assert report["notes"][0].startswith("The first 2 frames of every shot are left out")
    manifest = read_manifest(Folder(f"{tmp_path}/data/frames"))
    assert manifest is not None
    short = manifest.units[1][0].model_copy(update={"num_frames": 2})
    for kind in ("frames", "labels", "flow"):
        _change(tmp_path / "data", kind, units=(manifest.units[0], (short,)))

    def refuse(*_: object) -> bool:
        raise AssertionError("with thousands of clips, comparing each with each other takes minutes")

    with monkeypatch.context() as patch:
        patch.setattr(ClipInfo, "__eq__", refuse)
        assert EVALUATE.call(config, options) == [f"{short.name}: left out, it has 2 frames"]
    for kind in ("frames", "labels", "flow"):
        first = manifest.units[0][0].model_copy(update={"num_frames": 2})
        _change(tmp_path / "data", kind, units=((first,), (short,)))
    with raises("clip-too-short", "2 frames"):
        EVALUATE.call(config, options)


def test_a_file_in_the_place_of_the_report_is_told_first(tmp_path: Path) -> None:
    options = make_workspace(tmp_path / "data", num_clips=1, clip_frames=5)
    save_untrained(tmp_path, "street", size=(32, 24))
    (tmp_path / "report").write_text("precious")
    (tmp_path / "data/frames/shard-00000.tar").unlink()  # reading the clips would fail, too, and comes later
    config = EvaluateConfig(data=options.work, out=str(tmp_path / "report"), device="cpu")
    with raises("folder-required", "report", "--out"):
        EVALUATE.call(config, RunOptions(work=str(tmp_path)))


def _rewrite_header(path: Path, **changes: object) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["v2vkit"] = json.dumps(json.loads(header["__metadata__"]["v2vkit"]) | changes)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"width": 10**9}, ("width", "16384")),
        ({"height": 0}, ("height", "1")),
        ({"width": 16000, "height": 16000}, ("16000x16000",)),
        ({"downsamplings": 64}, ("downsamplings",)),
        ({"downsamplings": -1}, ("downsamplings",)),
        ({"frames": {"fps": "1/0"}}, ("frame rate",)),
        ({"frames": {"fps": "1e999999999"}}, ("frame rate",)),
        ({"frames": {"fps": [25]}}, ("frame rate",)),
    ],
)
def test_a_model_that_lies_about_numbers_is_refused(tmp_path: Path, changes: dict, names: tuple[str, ...]) -> None:
    save_untrained(tmp_path, "face")
    folder = Folder(f"{tmp_path}/checkpoints/spatial-1")
    _rewrite_header(tmp_path / "checkpoints/spatial-1" / MODEL, **changes)
    for read in (load_model, read_info):
        with raises("model-damaged", *names):
            read(folder)


@pytest.mark.parametrize("text", [b"[]", b'{"__metadata__": 3}', b'{"__metadata__": {"v2vkit": "[]"}}', b"\xff"])
def test_a_header_of_another_kind_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / MODEL).write_bytes(struct.pack("<Q", len(text)) + text)
    for read in (load_model, read_info):
        with raises("model-damaged", MODEL):
            read(Folder(str(tmp_path)))


@pytest.mark.parametrize("fps", ["0", "-1", "1/0", "nan", "inf", "fast", "1e999999999", "9" * 5000])
def test_the_rate_of_a_clip_is_a_positive_fraction(fps: str) -> None:
    assert ClipInfo(name="a", num_frames=1, width=1, height=1, fps="30000/1001").fps == "30000/1001"
    with pytest.raises(ValidationError, match="frame rate"):
        ClipInfo(name="a", num_frames=1, width=1, height=1, fps=fps)


def test_the_source_of_a_clip_keeps_unknown_keys_and_their_order() -> None:
    text = '{"name":"a","num_frames":1,"width":1,"height":1,"fps":"25","source":{"new":[1.5],"stop":1,"file":"a.mp4"}}'
    assert ClipInfo.model_validate_json(text).model_dump_json() == text


def test_a_manifest_has_a_shard_for_each_unit(tmp_path: Path) -> None:
    run(SOURCE, SourceConfig(num_clips=3), RunOptions(work=str(tmp_path), workers=1))
    folder = Folder(f"{tmp_path}/frames")
    manifest = read_manifest(folder)
    assert manifest is not None
    assert Manifest.model_validate(manifest.model_dump() | {"shards": ()}).units == manifest.units
    _change(tmp_path, "frames", shards=manifest.shards[:2])
    with raises("manifest-damaged", "2 shards", "3 units"):
        read_manifest(folder)
