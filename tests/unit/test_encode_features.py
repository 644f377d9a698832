"""The stage from frames and maps to the features of every region."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conditions import made_by, of_domain
from tests.errors import raises
from tests.faces import photo
from tests.unit.fake_stage import SOURCE
from tests.unit.fake_stage import SourceConfig as FramesConfig
from tests.unit.training_data import SMALL, begin
from tests.unit.video_files import write_file
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, read_manifest
from v2vkit.artifacts.shard import load_shard, sample_key
from v2vkit.checkpoint.model_file import ModelInfo, load_encoder, model_weights, save_model
from v2vkit.conditions.clips import ClipReader
from v2vkit.conditions.region_features import features_from_json
from v2vkit.models.encoder import FeatureEncoder, features_at
from v2vkit.models.generator import VideoGenerator
from v2vkit.models.presets import encoder_config, generator_config
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.encode_features import STAGE, EncodeConfig


def save_feature_model(work: str, *, domain: str = "street", seed: int = 0, **changes: object) -> ModelInfo:
    """An untrained model that takes features of three numbers, in a workspace of `fake_stage`."""
    torch.manual_seed(seed)
    channels = 12 + 1 + 3 if domain == "street" else 15 + 3
    config = generator_config("tiny", source_channels=channels, width=8, num_down=2, num_blocks=2)
    encoder = FeatureEncoder(encoder_config("tiny", dims=3))
    for parameter in encoder.layers[-2].parameters():  # so that regions differ visibly
        parameter.data *= 20
    values = {
        "stage": "spatial-1",
        "fingerprint": f"f{seed}",
        "network": config,
        "encoder": encoder.config,
        "conditioning": of_domain(domain),
        "origins": made_by("ingest" if domain == "street" else "make-sketches"),
        "width": 32,
        "height": 24,
        "first_frame": "self",
        "frames": {},
    }
    info = ModelInfo.model_validate(values | changes)
    save_model(Folder(f"{work}/checkpoints/{info.stage}"), model_weights(VideoGenerator(config), encoder), info)
    return info


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    run(SOURCE, FramesConfig(num_clips=2, clip_frames=3), options)
    return options


def _manifest(options: RunOptions) -> Manifest:
    manifest = read_manifest(Folder(options.work) / "features")
    assert manifest is not None
    return manifest


def test_every_region_of_every_frame_has_its_mean(options: RunOptions) -> None:
    info = save_feature_model(options.work)
    run(STAGE, EncodeConfig(), options)
    manifest = _manifest(options)
    assert manifest.inputs.keys() == {"frames", "labels", "model"}
    assert manifest.estimator["version"] == info.identity
    work = Folder(options.work)
    reader = ClipReader(work, {kind: m for kind in ("frames", "labels") if (m := read_manifest(work / kind))})
    encoder, _ = load_encoder(work / "checkpoints/spatial-1")
    for entry, clips in zip(manifest.shards, manifest.units, strict=True):
        shard = load_shard(work / "features", entry)
        for clip in clips:
            for t in range(clip.num_frames):
                data = shard.read(sample_key(clip.name, t), "features.json")
                assert json.loads(data)[0].keys() == {"id", "label", "area", "vector"}
                found = features_from_json(data, "x")
                regions = reader.regions(info.conditioning, clip.name, t)
                assert [f.label * 65536 + f.id for f in found] == np.unique(regions).tolist()
                assert sum(f.area for f in found) == pytest.approx(1)
                x = torch.from_numpy(reader.frame(clip.name, t)).permute(2, 0, 1)[None].float() / 127.5 - 1
                seen = features_at(encoder, x, (24, 32), downsamplings=0)[0].numpy()
                for feature in found:
                    inside = seen[:, regions == feature.label * 65536 + feature.id]
                    np.testing.assert_allclose(feature.vector, inside.mean(1), atol=1e-5)
                    assert feature.area == inside.shape[1] / (24 * 32)


def test_frames_are_halved_as_the_encoder_saw_them_in_training(options: RunOptions) -> None:
    info = save_feature_model(options.work, downsamplings=1)
    assert info.encoder_downsamplings == 1
    run(STAGE, EncodeConfig(), options)
    manifest, work = _manifest(options), Folder(options.work)
    reader = ClipReader(work, {kind: m for kind in ("frames", "labels") if (m := read_manifest(work / kind))})
    encoder, _ = load_encoder(work / "checkpoints/spatial-1")
    clip = manifest.clips[0].name
    data = load_shard(work / "features", manifest.shards[0]).read(sample_key(clip, 1), "features.json")
    found = features_from_json(data, "x")
    x = torch.from_numpy(reader.frame(clip, 1)).permute(2, 0, 1)[None].float() / 127.5 - 1
    regions = reader.regions(info.conditioning, clip, 1)
    halved, whole = (
        features_at(encoder, x, (24, 32), downsamplings=downsamplings)[0].numpy() for downsamplings in (1, 0)
    )
    for feature in found:
        inside = regions == feature.label * 65536 + feature.id
        np.testing.assert_allclose(feature.vector, halved[:, inside].mean(1), atol=1e-5)
        assert np.abs(feature.vector - whole[:, inside].mean(1)).max() > 1e-3


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(options: RunOptions, tmp_path: Path) -> None:
    save_feature_model(options.work)
    digests = []
    for workers in (1, 2):
        work = str(tmp_path / f"w{workers}")
        shutil.copytree(options.work, work)
        run(STAGE, EncodeConfig(), RunOptions(work=work, workers=workers))
        digests.append([entry.sha256 for entry in _manifest(RunOptions(work=work)).shards])
    assert digests[0] == digests[1]


def test_another_model_makes_features_stale(options: RunOptions) -> None:
    save_feature_model(options.work)
    run(STAGE, EncodeConfig(), options)
    assert status(STAGE, EncodeConfig(), options) == "done"
    assert "up to date" in run(STAGE, EncodeConfig(checkpoint="spatial-1"), options).message
    save_feature_model(options.work, seed=1)
    with raises("artifact-stale", "input model"):
        run(STAGE, EncodeConfig(), options)


@pytest.mark.parametrize(
    ("changes", "code", "names"),
    [
        ({"encoder": None}, "encoder-missing", ["--feature-dims"]),
        ({"width": 64}, "size-mismatch", ["32x24", "--size 64x24"]),
        ({"conditioning": of_domain("face")}, "artifact-missing", ["sketches"]),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_written(
    options: RunOptions, changes: dict[str, object], code: str, names: list[str]
) -> None:
    if "encoder" in changes:
        trainer = begin(SMALL, of_domain("street"), torch.device("cpu"))
        info = save_feature_model(options.work)
        generator = trainer.method.generator
        plain = info.model_copy(update={"encoder": None, "network": generator.config})
        save_model(Folder(f"{options.work}/checkpoints/spatial-1"), generator.state_dict(), plain)
    else:
        save_feature_model(options.work, **changes)
    with raises(code, *names):
        run(STAGE, EncodeConfig(), options)
    assert not (Path(options.work) / "features").exists()


def test_parts_of_faces_are_regions(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    from v2vkit.stages.ingest import STAGE as INGEST
    from v2vkit.stages.ingest import IngestConfig
    from v2vkit.stages.make_sketches import STAGE as SKETCHES
    from v2vkit.stages.make_sketches import SketchConfig

    source = write_file(tmp_path / "in.mp4", [photo(96, 112, dx=t) for t in range(4)])
    options = RunOptions(work=str(tmp_path / "work"), workers=1)
    run(INGEST, IngestConfig(sources=(str(source),), size="112x96", cuts="none", min_frames=1), options)
    run(SKETCHES, SketchConfig(), options)
    save_feature_model(options.work, domain="face", width=112, height=96)
    run(STAGE, EncodeConfig(), options)
    shard = load_shard(Folder(options.work) / "features", _manifest(options).shards[0])
    name = _manifest(options).clips[0].name
    found = features_from_json(shard.read(sample_key(name, 0), "features.json"), "x")
    assert {0, 1, 3, 4} <= {feature.label for feature in found} <= set(range(7))
    assert {feature.id for feature in found} == {0}


_ONE = b'[{"id":0,"label":1,"area":%s,"vector":[%s]}]'


@pytest.mark.parametrize("data", [b"", b"{}", _ONE % (b"0.5", b"NaN"), _ONE % (b"2", b"0"), _ONE % (b"0.5", b"7")])
def test_a_file_that_holds_no_features_is_named(data: bytes) -> None:
    with raises("features-damaged", "shard 3"):
        features_from_json(data, "shard 3")
