"""Coarse to fine: the second spatial stage on the model of the first."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.errors import raises
from tests.unit.training_data import SMALL, begin, make_workspace, open_dataset, same, train_chunk, windows_of
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import read_manifest
from v2vkit.checkpoint.find_model import describe_checkpoint, find_model
from v2vkit.checkpoint.model_file import load_model
from v2vkit.evaluation.metrics.contract import OURS, REAL, REAL_COARSE
from v2vkit.inference.rollout import Rollout
from v2vkit.models.blocks import downsample, pyramid, upsample_to
from v2vkit.models.generator import VideoGenerator, history_from_images
from v2vkit.models.presets import generator_config
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch, downsampled, stack
from v2vkit.training.data.sampler import Window
from v2vkit.training.schedule import Phase, Schedule, phases
from v2vkit.training.window import begin_window

SHORT = SMALL.model_copy(update={"epochs": 1, "decay": 0.0, "max_frames": 3, "temporal_scales": 1, "threads": 1})
TWO = SHORT.model_copy(update={"num_scales": 2, "discriminator_width": 64})


def stage(base: TrainConfig, name: str, **changes: object) -> TrainConfig:
    return base.model_copy(update={"stage": name, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    """A workspace in which `all` has trained two scales."""
    options = make_workspace(tmp_path_factory.mktemp("scales") / "work", clip_frames=6)
    run(STAGE, stage(TWO, "all", fix_epochs=1), options)
    return options


@pytest.fixture(scope="module")
def one_scale(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A workspace with a model of a single scale."""
    options = make_workspace(tmp_path_factory.mktemp("one") / "work", num_clips=1, clip_frames=6)
    run(STAGE, SHORT, options)
    return options.work


def test_all_trains_every_scale_from_the_one_before(trained: RunOptions) -> None:
    assert status(STAGE, stage(TWO, "all", fix_epochs=1), trained) == "done"
    coarse, coarse_info = load_model(find_model(Folder(trained.work), "spatial-1"))
    fine, fine_info = load_model(find_model(Folder(trained.work), None))
    assert (len(coarse.scales), len(fine.scales)) == (1, 2)
    assert coarse_info.output_size == (16, 12)
    assert fine_info.output_size == (32, 24)
    assert coarse.config.model_copy(update={"num_scales": 2}) == fine.config


def test_a_variant_lies_beside_the_plain_model_and_its_stages_follow_each_other(trained: RunOptions) -> None:
    before = {place: (Path(trained.work) / place).read_bytes() for place in _models("spatial-1", "spatial-2")}
    run(
        STAGE, stage(TWO, "all", fix_epochs=1, variant="no-flow", flow=False, lambda_flow=0.0, lambda_mask=0.0), trained
    )
    assert {place: (Path(trained.work) / place).read_bytes() for place in before} == before
    for name in ("spatial-1-no-flow", "spatial-2-no-flow"):
        assert not load_model(find_model(Folder(trained.work), name))[0].config.flow
    manifest = read_manifest(Folder(f"{trained.work}/checkpoints/spatial-2-no-flow"))
    assert manifest is not None
    assert "checkpoints/spatial-1-no-flow" in manifest.inputs
    assert find_model(Folder(trained.work), None).url.endswith("spatial-2"), "the plain model stays the default"


def test_the_same_settings_give_the_same_model_whatever_the_variant_is_called(one_scale: str) -> None:
    run(STAGE, SHORT.model_copy(update={"variant": "again"}), RunOptions(work=one_scale))
    (plain, again) = ((Path(one_scale) / place) for place in _models("spatial-1", "spatial-1-again"))
    weights = [load_file(path) for path in (plain, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def _models(*names: str) -> tuple[str, ...]:
    return tuple(f"checkpoints/{name}/model.safetensors" for name in names)


def test_a_coarse_model_renders_at_the_size_of_the_frames(trained: RunOptions) -> None:
    model, info = load_model(find_model(Folder(trained.work), "spatial-1"))
    s = np.random.default_rng(0).random((13, 24, 32)).astype(np.float32)
    rollout = Rollout(model, info.downsamplings)
    assert rollout.image(s).shape == (24, 32, 3)
    inside = downsample(torch.from_numpy(s)[None]).repeat(1, 3, 1, 1)
    with torch.no_grad():
        small = model(inside, None, first_frame=True)[-1].x_fake
    assert torch.allclose(small, Rollout(model, info.downsamplings).step(s).x_fake, atol=1e-5)


def test_a_coarse_model_is_measured_beside_real_frames_at_its_size(trained: RunOptions, tmp_path: Path) -> None:
    def evaluated(scale: str) -> dict[str, Any]:
        config = EvaluateConfig(data=trained.work, checkpoint=scale, out=str(tmp_path / scale), device="cpu")
        EVALUATE.call(config, trained)
        return json.loads((tmp_path / scale / "evaluation.json").read_text())

    coarse, fine = evaluated("spatial-1"), evaluated("spatial-2")
    assert REAL_COARSE in coarse["summary"]
    assert REAL_COARSE not in fine["summary"]
    assert any("16x12, upsampled to 32x24" in note for note in coarse["notes"])
    best, sharp = coarse["summary"][REAL_COARSE], coarse["summary"][REAL]
    assert best["psnr"]["mean"] > coarse["summary"][OURS]["psnr"]["mean"]
    assert best["warp_error"]["mean"] < sharp["warp_error"]["mean"]  # of noise, little is left to move


def test_a_report_that_cannot_be_written_is_told_before_the_work(
    trained: RunOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    with raises("target-unwritable", "/proc/v2vkit"):
        EVALUATE.call(EvaluateConfig(data=trained.work, out="/proc/v2vkit", device="cpu"), trained)
    assert "model:" not in capsys.readouterr().out


def test_looking_whether_a_folder_can_be_written_touches_nothing_in_it(tmp_path: Path) -> None:
    for name in ("empty", "writable"):
        (tmp_path / name).write_text("of the user")
    Folder(str(tmp_path)).refuse_unwritable()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("empty", "writable"), "of the user"
    )


def test_a_dry_run_tells_of_a_finer_scale_made_with_other_settings(trained: RunOptions) -> None:
    told = run(STAGE, stage(TWO, "all"), replace(trained, dry_run=True)).message
    assert "spatial-1: up to date" in told
    assert "spatial-2: cannot be made now" in told
    assert "fix_epochs (was 1, now 0)" in told


def test_only_the_new_scale_trains_at_first(trained: RunOptions, tmp_path: Path) -> None:
    out = RunOptions(work=trained.work, overwrite=True)
    before, _ = load_model(find_model(Folder(trained.work), "spatial-1"))
    run(STAGE, stage(TWO, "spatial-2", fix_epochs=1, ema=0.0), out)
    after, _ = load_model(find_model(Folder(trained.work), "spatial-2"))
    assert same(before.scales[0].state_dict(), after.scales[0].state_dict())
    run(STAGE, stage(TWO, "spatial-2", fix_epochs=0, ema=0.0), out)
    after, _ = load_model(find_model(Folder(trained.work), "spatial-2"))
    assert not same(before.scales[0].state_dict(), after.scales[0].state_dict())


@pytest.mark.slow
def test_discriminators_go_on_from_the_coarser_stage(trained: RunOptions, capsys: pytest.CaptureFixture[str]) -> None:
    run(STAGE, stage(TWO, "spatial-2", seed=5), RunOptions(work=trained.work, overwrite=True))
    text = capsys.readouterr().out
    assert "generator: 1 of 2 scales" in text
    assert "image: 2 of 3 scales" in text
    assert "video0: 2 of 3 scales" in text


def test_a_frozen_scale_gets_no_gradient_and_a_free_one_does(trained: RunOptions) -> None:
    dataset = open_dataset(trained.work, strides=(1,))
    trainer = begin(stage(TWO, "spatial-2", fix_epochs=1), dataset.source, torch.device("cpu"))
    windows = windows_of(dataset, 3)
    sequence = stack([dataset.load(window) for window in windows])
    for epoch in (0, 1):
        state = begin_window(sequence, trainer.method.generator, from_nothing=False)
        train_chunk(trainer, sequence, state, [2, 3], epoch=epoch)
        coarse, fine = trainer.method.generator.scales
        assert all(p.grad is not None for p in fine.parameters())
        assert any(p.grad is not None for p in coarse.parameters()) == (epoch == 1)


def test_halving_keeps_flow_pointing_at_the_same_place(trained: RunOptions) -> None:
    full = open_dataset(trained.work, strides=(1,))
    half = open_dataset(trained.work, strides=(1,), downsamplings=1)
    a, b = full.load(Window(0, 0, 4)), half.load(Window(0, 0, 4))
    assert b.x.shape[-2:] == (12, 16)
    # Where everything is trusted it is the mean.
    sure = (downsample(a.confidence[1]) == 1).expand_as(b.flow[1])
    assert sure[1:].any()
    assert torch.allclose(b.flow[1][sure], downsample(a.flow[1])[sure] / 2, atol=1e-6)
    assert torch.equal(b.s, downsample(a.s))
    whole = downsampled(a, 1)  # frame by frame or all at once
    assert all(
        torch.equal(one, other)
        for one, other in ((b.x, whole.x), (b.flow[1], whole.flow[1]), (b.confidence[1], whole.confidence[1]))
    )


def test_untrusted_flow_does_not_spoil_the_flow_beside_it() -> None:
    flow, confidence = torch.full((1, 2, 8, 8), 4.0), torch.ones(1, 1, 8, 8)
    flow[..., 3:5], confidence[..., 3:5] = -40.0, 0.0
    x = torch.zeros(1, 3, 8, 8)
    half = downsampled(VideoBatch(x, x, {1: flow}, {1: confidence}), 1)
    trusted = half.confidence[1][:, 0] > 0
    assert trusted.all(dim=1).any()
    assert torch.allclose(half.flow[1][:, 0][trusted], torch.tensor(2.0))


def test_a_mirrored_window_is_halved_like_the_mirrored_frames(trained: RunOptions) -> None:
    full, half = open_dataset(trained.work, strides=(1,)), open_dataset(trained.work, strides=(1,), downsamplings=1)
    window = Window(0, 0, 4)
    assert torch.equal(half.load(window, flip=True).x, downsample(full.load(window, flip=True).x))


@pytest.mark.parametrize(("num_scales", "size"), [(2, (24, 32)), (2, (30, 41)), (3, (33, 47))])
def test_a_coarse_scale_sees_in_the_finer_generator_what_it_was_trained_on(
    num_scales: int, size: tuple[int, int]
) -> None:
    """The coarse path of a generator of several scales against the generator of one scale on downsampled maps."""
    torch.manual_seed(0)
    sizes = {"source_channels": 4, "width": 8, "num_down": 2, "num_blocks": 2, "foreground": (1,)}
    fine = VideoGenerator(generator_config("tiny", num_scales=num_scales, **sizes)).eval()
    coarse = VideoGenerator(generator_config("tiny", num_scales=1, **sizes | {"width": fine.config.width})).eval()
    coarse.scales[0].load_state_dict(fine.scales[0].state_dict())
    source, images = torch.rand(1, 12, *size), torch.rand(1, 2, 3, *size) * 2 - 1
    history = history_from_images(images, num_scales)
    with torch.no_grad():
        found = fine(source, history)[0].x_fake
        expected = coarse(pyramid(source, num_scales)[0], history[:1])[0].x_fake
    assert torch.equal(found, expected)


@pytest.mark.parametrize("downsamplings", [1, 2])
def test_an_enlarged_frame_stands_where_the_frame_stood(downsamplings: int) -> None:
    """A generator that gives back its downsampled source must not move the picture."""
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(160.0), indexing="ij")
    blob = torch.exp(-((x - 80) ** 2 + (y - 64) ** 2) / (2 * 12**2))[None, None]
    large = upsample_to(downsample(blob, downsamplings), (128, 160), downsamplings)[0, 0]
    assert large.shape == (128, 160)
    for along, expected in ((x, 80), (y, 64)):
        assert float((large * along).sum() / large.sum()) == pytest.approx(expected, abs=0.05)
    assert float((large - blob[0, 0]).abs().max()) < 0.03


def test_heads_compute_in_float32_under_autocast() -> None:
    """bfloat16's 8 bits are steps of a twelfth of a pixel where the flow is 20 pixels."""
    torch.manual_seed(0)
    generator = VideoGenerator(generator_config("tiny", source_channels=4, width=8, num_down=2, num_blocks=2))
    source, past = torch.rand(1, 12, 32, 48), [torch.rand(1, 6, 32, 48)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = generator(source, past)[-1]
    assert output.flow is not None
    assert output.flow.dtype == torch.float32
    assert not torch.equal(output.flow, (output.flow / 20).bfloat16().float() * 20)
    assert len(output.flow.unique()) > 0.9 * output.flow.numel()


@pytest.mark.parametrize(
    ("changes", "code", "names"),
    [
        ({"stage": "spatial-2"}, "size-mismatch", ["32x24", "16x12"]),
        ({"stage": "spatial-2", "num_scales": 1}, "setting-conflict", ["--num-scales", "1"]),
        ({"stage": "spatial-1", "fix_epochs": 1}, "setting-unused", ["--fix-epochs"]),
        ({"stage": "spatial-2", "width": 4}, "model-mismatch", ["width 8 (here 4)"]),
        ({"stage": "spatial-3"}, "artifact-missing", ["`v2v train --stage spatial-2 --num-scales 3`"]),
        (
            {"stage": "spatial-2", "num_scales": 3, "variant": "x"},
            "artifact-missing",
            ["`v2v train --stage spatial-1 --variant x --num-scales 3`"],
        ),
    ],
)
def test_stages_that_do_not_fit_are_refused(
    one_scale: str, tmp_path: Path, changes: dict[str, object], code: str, names: list[str]
) -> None:
    options = RunOptions(work=shutil.copytree(one_scale, str(tmp_path / "work")))
    with raises(code, *names):
        run(STAGE, SHORT.model_copy(update=changes), RunOptions(work=options.work, overwrite=True))
    load_model(find_model(Folder(options.work), "spatial-1"))  # nothing was thrown away


def test_a_checkpoint_is_described_with_its_steps(trained: RunOptions, tmp_path: Path) -> None:
    copy = tmp_path / "work"
    shutil.copytree(trained.work, copy)
    work, fine = Folder(str(copy)), Folder(f"{copy}/checkpoints/spatial-2")
    info = load_model(fine)[1]
    assert describe_checkpoint(work, fine, info) == f"model: {copy}/checkpoints/spatial-2, {info.steps} steps"
    run(STAGE, stage(TWO, "spatial-1", seed=9), RunOptions(work=str(copy), overwrite=True))
    assert "spatial-1 has been trained again since" in describe_checkpoint(work, fine, info)
    fine_manifest = copy / "checkpoints/spatial-2/manifest.json"
    fine_manifest.rename(fine_manifest.with_name("manifest.partial.json"))
    assert "training is not finished" in describe_checkpoint(work, fine, info)


def test_a_model_of_another_workspace_can_be_started_from(trained: RunOptions, tmp_path: Path) -> None:
    options = make_workspace(tmp_path / "work", num_clips=1, clip_frames=6)
    run(STAGE, SHORT.model_copy(update={"seed": 3}), options)
    with raises("size-mismatch", "16x12", "32x24"):
        run(STAGE, stage(SHORT, "spatial-2", start_from=f"{options.work}/checkpoints/spatial-1"), options)
    again = RunOptions(work=options.work, overwrite=True)
    outcome = run(STAGE, stage(SHORT, "spatial-2", start_from=f"{trained.work}/checkpoints/spatial-1"), again)
    assert "spatial-2" in outcome.message


def test_a_model_goes_on_at_another_size(trained: RunOptions, tmp_path: Path) -> None:
    """Networks are convolutional; only a finer scale on top needs the coarser one at half its size."""
    options = RunOptions(work=str(tmp_path / "large"), dry_run=True)
    large = make_workspace(tmp_path / "large", num_clips=1, clip_frames=6, enlarged=3)
    start = f"{trained.work}/checkpoints/spatial-1"  # at 16x12
    again = TWO.model_copy(update={"num_scales": None, "start_from": start})
    assert "trained at 16x12, continues at 96x72" in run(STAGE, again, options).message
    run(STAGE, again, large)
    assert load_model(find_model(Folder(large.work), "spatial-1"))[1].output_size == (96, 72)
    with raises("size-mismatch", "16x12", "48x36", "32x24"):
        run(STAGE, stage(TWO, "spatial-2", start_from=start), options)


def test_a_model_of_other_source_maps_is_not_built_upon(trained: RunOptions) -> None:
    """Thirteen labels have as many channels as twelve and their edges."""
    options = RunOptions(work=trained.work, dry_run=True)
    run(STAGE, stage(TWO, "spatial-2", start_from=f"{trained.work}/checkpoints/spatial-1"), options)
    other = {"start_from": f"{trained.work}/checkpoints/spatial-1", "num_labels": 13, "edges": False}
    with raises("condition-mismatch", "12 labels", "13 labels", "--num-labels 12"):
        run(STAGE, stage(TWO, "spatial-2", **other), options)
    with raises("condition-mismatch", "12 labels", "13 labels", "--num-labels 12"):
        run(STAGE, stage(TWO, "spatial-2", **other | {"edges": True}), options)


def test_all_stages_need_to_know_how_many(trained: RunOptions) -> None:
    with raises("setting-required", "--num-scales"):
        run(STAGE, stage(TWO, "all", num_scales=None), trained)


def test_phases_name_the_epochs_of_the_new_scale_alone() -> None:
    found = phases(Schedule(6, 0.33, 4, 2, 8, fix_epochs=3))
    assert found == [Phase(0, 1, 4, True), Phase(2, 2, 8, True), Phase(3, 5, 8, False)]


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_half_precision_computes_nearly_the_same(trained: RunOptions, half: str) -> None:
    """On textured frames: noise maps that are constant in space would divide by a variance of zero."""
    dataset = open_dataset(trained.work, strides=(1,))
    windows = windows_of(dataset, 3)
    loaded = stack([dataset.load(window) for window in windows])
    torch.manual_seed(0)
    sequence = replace(loaded, s=torch.rand_like(loaded.s))
    found = {}
    for precision in ("fp32", half):
        config = SHORT.model_copy(update={"precision": precision})
        trainer = begin(config, dataset.source, torch.device("cpu"))
        state = begin_window(sequence, trainer.method.generator, from_nothing=False)
        found[precision], outputs = train_chunk(trainer, sequence, state, [2, 3])
        assert all(output.x_fake.dtype == torch.float32 for output in outputs)
    assert found["fp32"] != found[half]
    for name, value in found["fp32"].items():
        assert found[half][name] == pytest.approx(value, rel=0.05, abs=0.02), name
