"""Tracks of a workspace reach features, training and evaluation, and are noticed by fingerprints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.errors import raises
from tests.unit.test_encode_features import save_feature_model
from tests.unit.tracking_scenes import CAR, SIZE, draw
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.artifacts.manifest import ClipInfo, Manifest, read_manifest
from v2vkit.artifacts.shard import load_shard
from v2vkit.conditions.clips import ClipReader, tracks_beside
from v2vkit.conditions.labels import LabelsCondition
from v2vkit.conditions.region_features import features_from_json
from v2vkit.config import StageConfig
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import Clip, Opened, PerClip, Plan, RunOptions, Sample, Stage, load_inputs
from v2vkit.stages.check import COMMAND as CHECK
from v2vkit.stages.check import CheckConfig
from v2vkit.stages.encode_features import STAGE as ENCODE
from v2vkit.stages.encode_features import EncodeConfig
from v2vkit.stages.evaluate_plan import _inputs
from v2vkit.stages.track import STAGE as TRACK
from v2vkit.stages.track import TrackConfig
from v2vkit.stages.train_plan import training_inputs
from v2vkit.stages.train_settings import resolve
from v2vkit.training.config import TrainConfig

HEIGHT, WIDTH = SIZE
FRAMES = 4


def _frames(clip: Clip) -> list[Sample]:
    """Two cars that are numbered anew in every frame."""
    samples = []
    for t in range(clip.info.num_frames):
        labels, instances, _ = draw([(4, 10 + 3 * t, 10, 20), (24, 50 - 3 * t, 10, 20)], shuffle=t)
        files = {"png": encode_png(np.full((*SIZE, 3), 9 * t, np.uint8)), "label.png": encode_png(labels)}
        samples.append(Sample(t, files | {"inst.png": encode_png(instances)}))
    return samples


def _open(config: StageConfig) -> Opened:
    return Opened(_frames)


def _plan(config: StageConfig) -> Plan:
    clip = ClipInfo(name="a-0000", num_frames=FRAMES, width=WIDTH, height=HEIGHT, fps="10", source={})
    return Plan(((clip,),))


SOURCE = Stage(
    name="fake-frames",
    config=StageConfig,
    version=1,
    output=lambda config: "frames",
    make=PerClip(_open, _plan, lambda config: {"labels": ("label.png", "inst.png")}),
)


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    run(SOURCE, StageConfig(), options)
    return options


def _manifest(options: RunOptions, kind: str) -> Manifest:
    manifest = read_manifest(Folder(options.work) / kind)
    assert manifest is not None
    return manifest


def _ids(options: RunOptions) -> list[set[int]]:
    """The object ids in the features of every frame."""
    folder, manifest = Folder(options.work) / "features", _manifest(options, "features")
    shard = load_shard(folder, manifest.shards[0])
    frames = [features_from_json(shard.read(f"a-0000/{t:06d}", "features.json"), "") for t in range(FRAMES)]
    return [{of.id for of in frame if of.label == CAR} for frame in frames]


def test_features_carry_the_ids_of_tracks_and_are_stale_with_them(options: RunOptions) -> None:
    save_feature_model(options.work, width=WIDTH, height=HEIGHT)
    run(ENCODE, EncodeConfig(), options)
    assert _ids(options) == [{11, 22}] * FRAMES
    run(TRACK, TrackConfig(things=(CAR,)), options)
    assert "tracks" in status(ENCODE, EncodeConfig(), options)
    assert status(ENCODE, EncodeConfig(tracks=False), options) != "missing"
    again = RunOptions(work=options.work, workers=1, overwrite=True)
    run(ENCODE, EncodeConfig(), again)
    assert _ids(options) == [{1, 2}] * FRAMES
    assert "tracks" in _manifest(options, "features").inputs
    run(TRACK, TrackConfig(things=(CAR,), bridge=2.0), again)
    assert "tracks" in status(ENCODE, EncodeConfig(), options)
    assert any("tracks" in problem for problem in CHECK.call(CheckConfig(), options))


def test_a_reader_takes_instance_maps_from_tracks(options: RunOptions) -> None:
    run(TRACK, TrackConfig(things=(CAR,)), options)
    work, labels = Folder(options.work), LabelsCondition(num_labels=8)
    assert tracks_beside(work, ("frames", "labels")) == ("tracks",)
    assert tracks_beside(work, ("frames", "sketches")) == ()
    plain, tracked = (ClipReader(work, load_inputs(work, ("labels", *more))) for more in ((), ("tracks",)))
    maps = [[reader.annotation(labels, "a-0000", t, "channels") for t in range(FRAMES)] for reader in (plain, tracked)]
    for before, after in zip(*maps, strict=True):
        np.testing.assert_array_equal(before.labels, after.labels)
        assert set(np.unique(after.instances)) == {0, 1, 2}
    assert {int(map_.instances[8, 20 + 3 * t]) for t, map_ in enumerate(maps[1])} == {1}, "one id through the shot"
    assert len({int(map_.instances[8, 20 + 3 * t]) for t, map_ in enumerate(maps[0])}) == 2


def _resolved(options: RunOptions, **settings: Any) -> TrainConfig:
    return resolve(TrainConfig(preset="tiny", perceptual="off", num_labels=8, **settings), Folder(options.work))


def test_training_reads_tracks_where_there_are_some(options: RunOptions) -> None:
    assert "tracks" not in training_inputs(_resolved(options, domain="street"))
    with raises("artifact-missing", "v2v track"):
        load_inputs(Folder(options.work), training_inputs(_resolved(options, domain="street", tracks=True))[:3])
    run(TRACK, TrackConfig(things=(CAR,)), options)
    assert "tracks" in training_inputs(_resolved(options, domain="street"))
    assert "tracks" not in training_inputs(_resolved(options, domain="street", tracks=False))
    with raises("setting-unused", "--tracks"):
        _resolved(options, domain="face", tracks=True)


def test_evaluation_reads_tracks_where_there_are_some(options: RunOptions) -> None:
    info = save_feature_model(options.work, width=WIDTH, height=HEIGHT)
    assert "tracks" not in _inputs(Folder(options.work), info, paired=True, real_flow=False)
    run(TRACK, TrackConfig(things=(CAR,)), options)
    assert "tracks" in _inputs(Folder(options.work), info, paired=True, real_flow=False)
