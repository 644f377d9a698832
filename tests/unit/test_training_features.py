"""Features in training: regions travel with the frames, E learns with G, and only G sees what E says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.errors import raises
from tests.unit.fake_stage import SOURCE, SourceConfig
from tests.unit.training_data import (
    SMALL,
    begin,
    files_read,
    make_workspace,
    open_dataset,
    same,
    train_chunk,
    train_into,
)
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.checkpoint.model_file import load_encoder, load_model, read_info
from v2vkit.conditions.augment import Change, draw_affine, warp_id_map
from v2vkit.conditions.face import FaceCondition, FaceLandmarks
from v2vkit.conditions.regions import label_and_instance, region_ids
from v2vkit.config import fingerprinted
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE
from v2vkit.training.check import check_settings
from v2vkit.training.data.batch import downsampled, mirrored, stack
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import load_batch
from v2vkit.training.data.sampler import BatchPlan, Window
from v2vkit.training.methods.frames import Chunk
from v2vkit.training.window import begin_window, source_stack

CPU = torch.device("cpu")
WITH = SMALL.model_copy(
    update={
        "feature_dims": 3,
        "epochs": 1,
        "decay": 0.0,
        "max_frames": 3,
        "temporal_scales": 1,
        "threads": 1,
        "foreground": (1,),
    }
)
TWO = WITH.model_copy(update={"num_scales": 2})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_workspace(tmp_path_factory.mktemp("work"), clip_frames=7).work


def dataset_with_regions(work: str, *, downsamplings: int = 0, flip: bool = False) -> VideoDataset:
    plain = open_dataset(work, strides=(1,), downsamplings=downsamplings, flip=flip)
    return VideoDataset(plain.reader, plain.source, strides=(1,), downsample=downsamplings, flip=flip, regions=True)


@pytest.fixture(scope="module")
def dataset(work: str) -> VideoDataset:
    return dataset_with_regions(work)


def test_a_region_knows_its_label_and_its_instance() -> None:
    labels, instances = np.array([[0, 26, 26], [255, 26, 7]], np.uint8), np.array([[0, 1, 2], [0, 2, 65535]], np.uint16)
    ids = region_ids(labels, instances)
    assert ids.dtype == np.int32
    pairs = [label_and_instance(int(region)) for region in ids.flat]
    assert pairs == [(0, 0), (26, 1), (26, 2), (255, 0), (26, 2), (7, 65535)]
    assert [label_and_instance(int(r)) for r in region_ids(labels)[0]] == [(0, 0), (26, 0), (26, 0)]
    face = FaceLandmarks(None, (2, 1), parts=np.array([[0, 4]], np.uint8))
    parts = FaceCondition().regions(face)
    assert [label_and_instance(int(r)) for r in parts[0]] == [(0, 0), (4, 0)]


def test_flips_and_moves_take_the_regions_along(work: str) -> None:
    dataset = dataset_with_regions(work)
    plain = dataset.load(Window(0, 1, 3))
    assert plain.regions is not None
    assert plain.regions.shape == (3, 1, 24, 32)
    assert torch.equal(plain.regions[:, 0] // 65536, plain.s[:, :12].argmax(1))
    flipped = mirrored(plain)
    assert flipped.regions is not None
    assert torch.equal(flipped.regions[:, 0] // 65536, flipped.s[:, :12].argmax(1))
    move = draw_affine(np.random.default_rng(1), 1.0, (32, 24))
    moved = dataset.load(Window(0, 1, 3), change=Change(move))
    assert moved.regions is not None
    assert not torch.equal(moved.regions, plain.regions)
    assert torch.equal(moved.regions[:, 0] // 65536, moved.s[:, :12].argmax(1))
    large = np.full((6, 8), (255 << 16) + 65535, np.int32)
    np.testing.assert_array_equal(warp_id_map(large, draw_affine(np.random.default_rng(1), 1.0, (8, 6))), large)
    plan = BatchPlan(0, (Window(0, 0, 4),) * 2, (0, 1))
    sequence = load_batch(WITH.model_copy(update={"augment": 1.0}), dataset, plan)
    assert sequence.regions is not None
    assert sequence.regions.shape == (2, 4, 1, 24, 32)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("downsamplings", [0, 1, 2])
@pytest.mark.parametrize("jitter", [0.0, 1.0])
def test_cached_batches_are_bit_equal_to_those_read(work: str, flip: bool, downsamplings: int, jitter: float) -> None:
    """Bit-equal: from the files, from memory, with no memory, and halved after loading; mirrored before halving."""
    dataset = dataset_with_regions(work, downsamplings=downsamplings)
    change = Change(draw_affine(np.random.default_rng(1), 1.0, (32, 24))) if jitter else None
    window = Window(0, 1, 3)
    dataset.load(window, flip=not flip, change=change)
    first, again = (dataset.load(window, flip=flip, change=change) for _ in range(2))
    forgetful = dataset_with_regions(work, downsamplings=downsamplings).empty(0).load(window, flip=flip, change=change)
    whole = dataset_with_regions(work).load(window, change=change)
    expected = downsampled(mirrored(whole) if flip else whole, downsamplings)
    assert expected.confidence[1].any()
    for found in (first, again, forgetful):
        for name in ("x", "s", "regions"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
        assert torch.equal(found.flow[1], expected.flow[1])
        assert torch.equal(found.confidence[1], expected.confidence[1])


def test_cached_frames_are_not_read_again(work: str) -> None:
    for downsamplings in (0, 2):
        dataset = dataset_with_regions(work, downsamplings=downsamplings)
        dataset.load(Window(0, 1, 3))
        assert files_read(dataset)
        files_read(dataset).clear()
        dataset.load(Window(0, 1, 3))
        assert files_read(dataset) == []


def test_features_are_constant_per_region_and_follow_their_source_map(dataset: VideoDataset) -> None:
    networks = begin(WITH, dataset.source, CPU).method
    sequence = stack([dataset.load(Window(0, 0, 5)), dataset.load(Window(1, 1, 5))])
    assert sequence.regions is not None
    state = begin_window(sequence, networks.generator, from_nothing=False)
    maps = networks.features(Chunk(sequence, state, [2, 3]))
    assert maps is not None
    assert list(maps) == [0, 1, 2, 3]
    for t, found in maps.items():
        assert found.shape == (2, 3, 24, 32)
        for image in range(2):
            for region in sequence.regions[image, t].unique():
                inside = found[image][:, sequence.regions[image, t, 0] == region]
                assert torch.equal(inside, inside[:, :1].expand_as(inside))
    source = source_stack(sequence, 2, 2, first=0, features=maps)
    assert source.shape[1] == 3 * (13 + 3) == 3 * networks.generator.config.source_channels
    assert torch.equal(source[:, 13:16], maps[0])
    assert torch.equal(source[:, 16:29], sequence.s[:, 1])
    alone = begin_window(sequence, networks.generator, from_nothing=True)
    assert list(networks.features(Chunk(sequence, alone, [2, 3])) or ()) == [2, 3]


def test_vectors_mean_the_same_in_every_spatial_stage(work: str) -> None:
    """The coarse stage and the fine one give their coarsest scale the same features for the same frame."""
    coarse, fine = (TWO.model_copy(update={"stage": f"spatial-{k}"}) for k in (1, 2))
    networks = [begin(config, dataset_with_regions(work).source, CPU).method for config in (coarse, fine)]
    assert networks[0].encoder is not None
    assert networks[1].encoder is not None
    networks[1].encoder.load_state_dict(networks[0].encoder.state_dict())
    found = []
    for config, owner in zip((coarse, fine), networks, strict=True):
        sequence = stack([dataset_with_regions(work, downsamplings=config.downsamplings).load(Window(0, 0, 3))])
        state = begin_window(sequence, owner.generator, from_nothing=False)
        maps = owner.features(Chunk(sequence, state, [2]))
        assert maps is not None
        found.append(maps[2])
    assert (found[0].shape[-2:], found[1].shape[-2:]) == ((12, 16), (24, 32))
    assert torch.equal(found[0], torch.nn.functional.avg_pool2d(found[1], 3, 2, 1, count_include_pad=False))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_e_learns_with_g_and_discriminators_never_see_features(dataset: VideoDataset, checkpointing: bool) -> None:
    config = WITH.model_copy(update={"gradient_checkpointing": checkpointing})
    trainer = begin(config, dataset.source, CPU)
    networks = trainer.method
    assert networks.encoder is not None
    assert set(trainer.state.optimizers) == {"generator", "image", "video0"}
    assert len(trainer.state.optimizers["generator"].param_groups[0]["params"]) == len(
        [*networks.generator.parameters(), *networks.encoder.parameters()]
    )
    assert networks.discriminators["image"].config.in_channels == 13 + 3
    seen: list[torch.Tensor] = []
    networks.discriminators["image"].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    sequence = stack([dataset.load(Window(0, 0, 4))])
    state = begin_window(sequence, networks.generator, from_nothing=False)
    train_chunk(trainer, sequence, state, [2, 3])
    for given in seen:
        repeated = torch.cat([sequence.s[:, t] for t in (2, 3)] * (len(given) // 2))
        assert torch.equal(given[:, :13], repeated)
    gradients = [parameter.grad for parameter in networks.encoder.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients if gradient is not None) > 0


def test_checkpointing_gives_the_same_gradients(dataset: VideoDataset) -> None:
    found = []
    for checkpointing in (False, True):
        config = WITH.model_copy(update={"gradient_checkpointing": checkpointing})
        trainer = begin(config, dataset.source, CPU)
        sequence = stack([dataset.load(Window(0, 0, 4))])
        state = begin_window(sequence, trainer.method.generator, from_nothing=False)
        train_chunk(trainer, sequence, state, [2, 3])
        found.append([parameter.grad for parameter in trainer.state.parameters("generator")])
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(plain, again, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_features_are_float32_in_any_precision(dataset: VideoDataset, precision: str) -> None:
    config = WITH.model_copy(update={"precision": precision})
    trainer = begin(config, dataset.source, CPU)
    sequence = stack([dataset.load(Window(0, 0, 4))])
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        maps = trainer.method.features(Chunk(sequence, state, [2]))
    assert maps is not None
    assert maps[2].dtype == torch.float32
    train_chunk(trainer, sequence, state, [2])


@pytest.mark.parametrize("stop_at", [1, 3])
def test_resumed_training_is_bit_equal(work: str, tmp_path: Path, stop_at: int) -> None:
    config = WITH.model_copy(update={"augment": 0.5, "flip": True, "foreground": ()})
    dataset = dataset_with_regions(work, flip=True)
    fresh = begin(config, dataset.source, CPU)
    whole = train_into(config, dataset, tmp_path / "whole")
    halted = train_into(config, dataset, tmp_path / "halves", stop_at=stop_at)
    assert 0 < halted.state.steps < whole.state.steps
    resumed = train_into(config, dataset, tmp_path / "halves")
    assert set(whole.state.modules) == {"generator", "image", "video0", "encoder"}
    for name, module in whole.state.modules.items():
        assert same(module.state_dict(), resumed.state.modules[name].state_dict()), name
        assert not same(module.state_dict(), fresh.state.modules[name].state_dict()), name
    assert same(whole.state.ema, resumed.state.ema)
    averaged = load_file(tmp_path / "whole/model.safetensors")
    assert same(averaged, load_file(tmp_path / "halves/model.safetensors"))
    assert {name.split(".")[0] for name in averaged} == {"scales", "encoder"}


def test_every_stage_goes_on_with_the_encoder_of_the_one_before(
    work: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = make_workspace(tmp_path / "work", num_clips=1, clip_frames=5)
    run(STAGE, TWO.model_copy(update={"stage": "all", "ema": 0.0}), options)
    text = capsys.readouterr().out
    assert "network   encoder: " in text
    assert "start     encoder: from " in text
    coarse, info = load_encoder(Folder(options.work) / "checkpoints/spatial-1")
    assert info.encoder == coarse.config
    assert info.generator.source_channels == 12 + 1 + 3
    fine, _ = load_encoder(Folder(options.work) / "checkpoints/spatial-2")
    assert not same(coarse.state_dict(), fine.state_dict())
    fixed = TWO.model_copy(update={"stage": "spatial-2", "fix_epochs": 1, "ema": 0.0})
    run(STAGE, fixed, RunOptions(work=options.work, overwrite=True))
    fine, _ = load_encoder(Folder(options.work) / "checkpoints/spatial-2")
    assert same(coarse.state_dict(), fine.state_dict()), "E stays while only the newest scale trains"
    other = {"preset": "small", "num_blocks_fine": 2}
    with raises("model-mismatch", "(width 8)", "(width 16)"):
        run(STAGE, fixed.model_copy(update=other), RunOptions(work=options.work, overwrite=True))
    with raises("model-mismatch", "features of 3 numbers", "no features"):
        run(STAGE, fixed.model_copy(update={"feature_dims": 0}), RunOptions(work=options.work, overwrite=True))


@pytest.mark.parametrize("method", ["pix2pixhd", "covst"])
def test_image_generators_take_features_too(work: str, tmp_path: Path, method: str) -> None:
    changes = {"first_frames": 4, "max_frames": 16, "double_every": 5, "temporal_scales": 2, "drop_history": 0.2}
    config = WITH.model_copy(update={"method": method, "foreground": ()} | changes)
    dataset = dataset_with_regions(work)
    trainer = train_into(config, dataset, tmp_path, stop_at=1)
    assert trainer.method.encoder is not None
    assert any(parameter.grad is not None for parameter in trainer.method.encoder.parameters())
    model, _ = load_model(Folder(str(tmp_path)))
    assert model.config.source_channels == 13 + 3 + (3 if method == "covst" else 0)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"domain": "pose", "num_labels": None}, "pose"),
        ({"first_frame": "image", "drop_history": 0.0}, "--first-frame image"),
    ],
)
def test_coarser_stages_without_fitting_features_are_refused(
    tmp_path: Path, changes: dict[str, object], name: str
) -> None:
    options = RunOptions(work=str(tmp_path), workers=1)
    run(SOURCE, SourceConfig(num_clips=1), options)
    base = WITH.model_copy(update={"foreground": (), "temporal_scales": 0, "flow": False})
    stage = base.model_copy(update=changes)
    frames = read_manifest(Folder(str(tmp_path)) / "frames")
    assert frames is not None
    with raises("setting-conflict", "--feature-dims", name):
        check_settings(stage, {"frames": frames, "flow": frames.model_copy(update={"config": {"strides": [1]}})})


def test_without_features_nothing_is_new(work: str, tmp_path: Path) -> None:
    config = WITH.model_copy(update={"feature_dims": 0})
    assert "feature_dims" not in fingerprinted(config)
    assert fingerprinted(WITH)["feature_dims"] == 3
    trainer = train_into(config, open_dataset(work, strides=(1,)), tmp_path, stop_at=1)
    assert set(trainer.state.modules) == {"generator", "image", "video0"}
    data = (tmp_path / "model.safetensors").read_bytes()
    assert b"encoder.layers" not in data
    assert b'\\"encoder\\":' not in data
    assert read_info(Folder(str(tmp_path))).encoder is None
    with raises("encoder-missing", "--feature-dims"):
        load_encoder(Folder(str(tmp_path)))
