"""The stage from label maps to tracks: ids over clip splits, two shots, with and without flow, resume, refusals."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.errors import raises
from tests.unit.tracking_scenes import CAR, SIZE, draw, exact_flow, ids_of, switches
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import decode_gray, encode_png
from v2vkit.artifacts.manifest import ClipInfo, Manifest, read_manifest, write_manifest
from v2vkit.artifacts.shard import load_shard
from v2vkit.cli.main import cli
from v2vkit.conditions.flow_io import encode_kitti
from v2vkit.config import StageConfig, make_config, setting
from v2vkit.errors import V2VError
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Plan, RunOptions, Sample, Stage
from v2vkit.stages.track import NO_INSTANCES, STAGE, TrackConfig

CLIP, NUM_CLIPS = 6, 4  # the first three clips are one shot


def _boxes(t: int) -> list:
    """Two cars that cross (the one behind is hidden around frame 9, beside a split at 6 and 12); see test_tracking."""
    return [(12, 4 + 4 * t, 8, 14), (10, 74 - 4 * t, 12, 18)]


class FramesConfig(StageConfig):
    """Stands for ingest."""

    instances: bool = setting(True, "With instance maps.")
    cut_instances: bool = setting(False, "Instance maps of 5x4 pixels.")
    num_labels: int | None = setting(None, "Number of labels.")


def _open_frames(config: FramesConfig) -> Opened:
    def function(clip: Clip):
        for t in range(clip.info.num_frames):
            labels, instances, _ = draw(_boxes(clip.info.source["start"] + t), shuffle=t)
            files = {"jpg": b"not looked at", "label.png": encode_png(labels)}
            if config.instances:
                files["inst.png"] = encode_png(instances[:4, :5] if config.cut_instances else instances)
            yield Sample(t, files)

    return Opened(function)


def _plan(config: FramesConfig) -> Plan:
    height, width = SIZE
    clips = []
    for number in range(NUM_CLIPS):
        start = CLIP * number if number < 3 else 0
        source = {"file": "a.mp4", "number": 1, "shot": int(number == 3), "start": start, "stop": start + CLIP}
        name = f"a-{number:04d}"
        clips.append(ClipInfo(name=name, num_frames=CLIP, width=width, height=height, fps="10", source=source))
    return Plan(((clips[0],), (clips[1],), (clips[2], clips[3])))


FRAMES = Stage(
    name="fake-frames",
    config=FramesConfig,
    version=1,
    output=lambda config: "frames",
    make=PerClip(_open_frames, _plan, lambda config: {"labels": ("label.png", "inst.png")}),
)


class FlowConfig(StageConfig):
    """Stands for extract-flow."""

    strides: tuple[int, ...] = setting((1,), "Strides.")


def _open_flow(config: FlowConfig) -> Opened:
    def function(clip: Clip):
        for t in range(clip.info.num_frames):
            at = clip.info.source["start"] + t
            yield Sample(t, {} if t == 0 else {"flow1.png": encode_kitti(exact_flow(_boxes(at - 1), _boxes(at)))})

    return Opened(function)


FLOW = Stage(
    name="fake-flow",
    config=FlowConfig,
    version=1,
    output=lambda config: "flow",
    make=PerClip(_open_flow),
    inputs=lambda config: ("frames",),
)


def _prepare(work: Path, *, flow: bool = False, workers: int = 1, **settings: object) -> RunOptions:
    options = RunOptions(work=str(work), workers=workers)
    run(FRAMES, FramesConfig(**settings), options)
    if flow:
        run(FLOW, FlowConfig(), options)
    return options


def _manifest(work: Path, kind: str = "tracks") -> Manifest:
    manifest = read_manifest(Folder(str(work)) / kind)
    assert manifest is not None
    return manifest


def _tracks(work: Path) -> dict[str, list[np.ndarray]]:
    """Clip -> its instance maps."""
    manifest, folder, maps = _manifest(work), Folder(str(work)) / "tracks", {}
    for entry, unit in zip(manifest.shards, manifest.units, strict=True):
        shard = load_shard(folder, entry)
        for clip in unit:
            files = [shard.read(f"{clip.name}/{t:06d}", "inst.png") for t in range(clip.num_frames)]
            maps[clip.name] = [decode_gray(data) for data in files]
    return maps


def _bytes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("flow", [True, False])
def test_ids_hold_through_the_splits_of_a_shot(flow: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(STAGE, TrackConfig(), _prepare(tmp_path, flow=flow))
    maps = _tracks(tmp_path)
    shot = [each for name in ("a-0000", "a-0001", "a-0002") for each in maps[name]]
    truth = [draw(_boxes(t))[2] for t in range(3 * CLIP)]
    assert switches(truth, shot) == 0
    assert set(np.unique(shot)) == {0, 1, 2}
    np.testing.assert_array_equal(maps["a-0003"], maps["a-0000"])
    assert shot[0].dtype == np.uint16
    assert _manifest(tmp_path).counts == {"objects": 4, "bridged gaps": 1}
    assert "objects: 4; bridged gaps: 1" in outcome.message
    assert ("No flow is used" in capsys.readouterr().err) is not flow
    assert set(_manifest(tmp_path).inputs) == ({"labels", "flow"} if flow else {"labels"})


def test_without_instances_connected_areas_of_things_are_tracked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = _prepare(tmp_path, instances=False)
    with raises("instances-missing", "--things"):
        run(STAGE, TrackConfig(), options)
    assert not (tmp_path / "tracks").exists()
    run(STAGE, TrackConfig(things=(CAR,)), options)
    assert "connected areas" in capsys.readouterr().err
    first = _tracks(tmp_path)["a-0000"][0]
    assert ids_of(draw(_boxes(0))[2], first) == {1: 2, 2: 1}


def test_frames_without_instances_are_counted(tmp_path: Path) -> None:
    options = _prepare(tmp_path)
    labels = Folder(str(tmp_path)) / "labels"
    manifest = _manifest(tmp_path, "labels")
    clip = manifest.units[1][0]
    other = tmp_path / "other"
    _prepare(other, instances=False)
    for name in ("shard-00001.tar", "shard-00001.index.json"):
        labels.write(name, (other / "labels" / name).read_bytes())
    entry = _manifest(other, "labels").shards[1]
    write_manifest(labels, manifest.model_copy(update={"shards": (manifest.shards[0], entry, manifest.shards[2])}))
    run(STAGE, TrackConfig(), options)
    assert _manifest(tmp_path).missing == {NO_INSTANCES: clip.num_frames}


def test_only_things_are_tracked(tmp_path: Path) -> None:
    options = _prepare(tmp_path)
    run(STAGE, TrackConfig(things=(CAR + 1,)), options)
    assert max(int(each.max()) for maps in _tracks(tmp_path).values() for each in maps) == 0
    assert _manifest(tmp_path).counts == {"objects": 0, "bridged gaps": 0}


def test_the_bridge_is_in_seconds(tmp_path: Path) -> None:
    """The car behind is hidden for some frames at 10 frames per second."""
    options = _prepare(tmp_path)
    run(STAGE, TrackConfig(bridge=0.0), options)
    assert _manifest(tmp_path).counts["objects"] > 4
    run(STAGE, TrackConfig(bridge=0.4), replace(options, overwrite=True))
    assert _manifest(tmp_path).counts == {"objects": 4, "bridged gaps": 1}


@pytest.mark.slow
def test_workers_do_not_change_a_byte_and_a_stopped_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(STAGE, TrackConfig(), _prepare(tmp_path / "one", flow=True))
    run(STAGE, TrackConfig(), _prepare(tmp_path / "two", flow=True, workers=2))
    whole = _bytes(tmp_path / "one/tracks")
    assert _bytes(tmp_path / "two/tracks") == whole

    options = _prepare(tmp_path / "three", flow=True)
    read = Clip.read

    def failing(clip: Clip, kind: str, extension: str, t: int) -> bytes:
        if (clip.info.name, t) == ("a-0002", 3):
            raise V2VError("disk-full", "The disk is full.", "Free some space.")
        return read(clip, kind, extension, t)

    with monkeypatch.context() as patch:
        patch.setattr(Clip, "read", failing)
        with raises("disk-full"):
            run(STAGE, TrackConfig(), options)
    assert status(STAGE, TrackConfig(), options) == "unfinished"
    run(STAGE, TrackConfig(), options)
    assert _bytes(tmp_path / "three/tracks") == whole
    assert "up to date" in run(STAGE, TrackConfig(), options).message


def test_new_flow_makes_tracks_stale_unless_it_is_not_wanted(tmp_path: Path) -> None:
    options = _prepare(tmp_path)
    run(STAGE, TrackConfig(), options)
    run(FLOW, FlowConfig(), options)
    assert status(STAGE, TrackConfig(), options).startswith("stale: changed flow")
    assert status(STAGE, TrackConfig(flow=False), options) == "done"


def test_flow_that_cannot_be_used(tmp_path: Path) -> None:
    options = _prepare(tmp_path)
    with raises("artifact-missing", "flow", "v2v extract-flow"):
        run(STAGE, TrackConfig(flow=True), options)
    run(FLOW, FlowConfig(strides=(3,)), options)
    with raises("flow-stride-missing", "--strides 1"):
        run(STAGE, TrackConfig(flow=True), options)
    run(STAGE, TrackConfig(), options)
    assert _manifest(tmp_path).config["flow"] is False
    run(FLOW, FlowConfig(), replace(options, overwrite=True))
    flow = _manifest(tmp_path, "flow")
    write_manifest(Folder(str(tmp_path)) / "flow", flow.model_copy(update={"inputs": {"frames": "of another day"}}))
    with raises("artifacts-mismatch", "labels", "flow"):
        run(STAGE, TrackConfig(), replace(options, overwrite=True))


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    for values in ({"things": [255]}, {"bridge": -1.0}, {"min_overlap": 0.0}, {"min_pixels": 0}):
        with raises("setting-invalid"):
            make_config(TrackConfig, values, "v2v track")
    options = _prepare(tmp_path, num_labels=8)
    with raises("label-id-out-of-range", "--things 8"):
        run(STAGE, TrackConfig(things=(8,)), options)


def test_a_map_of_another_size_is_named(tmp_path: Path) -> None:
    options = _prepare(tmp_path, cut_instances=True)
    with raises("size-mismatch", "frame 0 of a-0000", "5x4"):
        run(STAGE, TrackConfig(), options)


def test_on_the_command_line(tmp_path: Path) -> None:
    _prepare(tmp_path)
    done = CliRunner().invoke(cli, ["track", "--work", str(tmp_path), "--things", "6", "--bridge", "0.5"])
    assert done.exit_code == 0, done.output
    assert "tracks: 24 frames in 4 clips, 3 shards; objects: 4" in done.output
