"""The image generator as a stage, first frames made by it, and COVST: features carried along given flow."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conditions import of_domain
from tests.errors import raises
from tests.unit.fake_stage import SOURCE, SourceConfig
from tests.unit.training_data import SMALL, begin, make_workspace, open_dataset, same, train_chunk, train_into
from tests.unit.video_files import read_raw
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.find_model import find_model
from v2vkit.checkpoint.model_file import load_model, save_model
from v2vkit.inference.first_frames import find_first_frame_model
from v2vkit.inference.rollout import Rollout
from v2vkit.models.discriminator import image_input
from v2vkit.models.generator import advance, history_from_images
from v2vkit.models.image_generator import FrameGenerator
from v2vkit.models.losses import feature_matching, lsgan, pixel_l1
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.evaluate import COMMAND as EVALUATE
from v2vkit.stages.evaluate import EvaluateConfig
from v2vkit.stages.render import COMMAND as RENDER
from v2vkit.stages.render import RenderConfig
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import stack
from v2vkit.training.data.sampler import Window
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.plan import measure
from v2vkit.training.schedule import Phase
from v2vkit.training.window import begin_window

CPU = torch.device("cpu")
VIDEO = SMALL.model_copy(
    update={"foreground": (), "epochs": 1, "decay": 0.0, "max_frames": 3, "temporal_scales": 0, "threads": 1}
    | {"drop_history": 0.0}
)
UNUSED = {"first_frames": 4, "double_every": 5, "max_frames": 16, "chunk": 2}
"""Settings of sequences, at their defaults."""
SINGLE = VIDEO.model_copy(update={"temporal_scales": 2, "drop_history": 0.2})
IMAGE = SINGLE.model_copy(update={"method": "pix2pixhd", "num_enhancers": 1, "batch_size": 2} | UNUSED)
COVST = SINGLE.model_copy(update={"method": "covst"})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    """A workspace in which the image model, COVST and a video model that begins from images were trained."""
    options = make_workspace(tmp_path_factory.mktemp("images") / "work", num_clips=2, clip_frames=5)
    for config in (IMAGE, COVST, VIDEO.model_copy(update={"first_frame": "image"})):
        run(STAGE, config, options)
    return options


def test_covst_is_measured_at_the_end_of_long_sequences(work: RunOptions) -> None:
    """Where real frames stand in for those before, which are no memory of features."""
    config = COVST.model_copy(update={"chunk": 1})
    cost = measure(config, open_dataset(work.work, strides=(1,)), CPU, phase=Phase(0, 0, 5))
    assert cost.seconds_per_frame > 0


@pytest.mark.parametrize("covst", [False, True])
def test_images_learn_nothing_from_constant_maps(covst: bool) -> None:
    config = COVST.model_copy(update={"num_enhancers": 1}) if covst else IMAGE
    generator = begin(config, of_domain("pose"), CPU).method.generator
    source = torch.rand(2, 6 if covst else 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def gradients(images: slice) -> list[torch.Tensor]:
        generator.zero_grad()
        generator(source[images], None, first_frame=True)[-1].x_fake.square().sum().backward()
        return [p.grad for p in generator.parameters() if p.grad is not None and p.ndim == 4]

    source[1, :3] = 0.0
    for ours, alone in zip(gradients(slice(0, 2)), gradients(slice(0, 1)), strict=True):
        assert float((ours - alone).norm()) < 0.01 * float(alone.norm())


@pytest.mark.parametrize(("config", "stop_at"), [(IMAGE, 2), (COVST, 3)], ids=["pix2pixhd", "covst"])
def test_resumed_training_is_bit_equal(work: RunOptions, tmp_path: Path, config: TrainConfig, stop_at: int) -> None:
    config = config.model_copy(update={"epochs": 2, "flip": True})
    dataset = open_dataset(work.work, strides=method_spec(config.method).strides(config), flip=True)
    fresh = begin(config, dataset.source, CPU)
    whole = train_into(config, dataset, tmp_path / "whole")
    halted = train_into(config, dataset, tmp_path / "halves", stop_at=stop_at)
    assert 0 < halted.state.steps < whole.state.steps
    resumed = train_into(config, dataset, tmp_path / "halves")
    assert set(whole.state.modules) == {"generator", "image"}
    for name, module in whole.state.modules.items():
        assert same(module.state_dict(), resumed.state.modules[name].state_dict()), name
        assert not same(module.state_dict(), fresh.state.modules[name].state_dict()), name
    averaged = load_file(tmp_path / "whole/model.safetensors")
    assert same(averaged, load_file(tmp_path / "halves/model.safetensors"))
    assert not same(averaged, whole.method.generator.state_dict())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_one_judgement_of_each_image(work: RunOptions, checkpointing: bool) -> None:
    config = IMAGE.model_copy(update={"gradient_checkpointing": checkpointing})
    dataset = open_dataset(work.work, strides=())
    sequence = stack([dataset.load(Window(0, 1, 1)), dataset.load(Window(1, 3, 1))])
    shared, plain = begin(config, dataset.source, CPU), begin(config, dataset.source, CPU)
    for optimizer in shared.state.optimizers.values():  # keep the gradients, change nothing
        optimizer.param_groups[0]["lr"] = 0.0
    state = begin_window(sequence, shared.method.generator, from_nothing=False)
    values, _ = train_chunk(shared, sequence, state, [0])

    s, x, networks = sequence.s[:, 0], sequence.x[:, 0], plain.state.modules
    plain.method.generator.checkpointing = False
    image, weights = networks["image"], config.losses
    x_fake = plain.method.generator(s)[-1].x_fake
    fake, real = image(image_input(s, x_fake)), image(image_input(s, x))
    total = lsgan(fake, real=True) + weights.lambda_feature * feature_matching(fake, real)
    total = total + weights.lambda_l1 * pixel_l1(x_fake, x)
    d_total = (lsgan(real, real=True) + lsgan(image(image_input(s, x_fake.detach())), real=False)) / 2
    for name, loss in (("generator", total), ("image", d_total)):
        expected = torch.autograd.grad(loss, list(networks[name].parameters()), retain_graph=True)
        for parameter, gradient in zip(shared.state.modules[name].parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=2e-3, atol=2e-5)
    assert values["G_L1"] == pytest.approx(float(pixel_l1(x_fake, x).detach()), rel=1e-5)
    assert values["D_GAN_real"] == pytest.approx(float(lsgan(real, real=True).detach()), rel=1e-5)


def test_the_stage_needs_frames_and_maps_but_no_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = RunOptions(work=str(tmp_path))
    run(SOURCE, SourceConfig(num_clips=3, clip_frames=1), options)  # not even two frames of a clip
    run(STAGE, IMAGE, options)
    plan = capsys.readouterr().out
    assert "loss      GAN 1" in plan
    assert "flow" not in plan
    generator, info = load_model(find_model(Folder(options.work), None))
    assert isinstance(generator, FrameGenerator)
    assert (info.stage, len(generator.network.enhancers), info.output_size) == ("pix2pixhd", 1, (32, 24))
    assert "up to date" in run(STAGE, IMAGE, options).message
    with raises("artifact-missing", "flow", "v2v extract-flow"):
        run(STAGE, COVST, options)


def test_without_a_loss_of_the_flow_no_flow_is_read(tmp_path: Path) -> None:
    options = RunOptions(work=str(tmp_path))
    run(SOURCE, SourceConfig(num_clips=2, clip_frames=6), options)
    without = {"flow": False, "temporal_scales": 0, "lambda_warp": 0.0}
    run(STAGE, SMALL.model_copy(update=without | {"epochs": 1, "decay": 0.0}), options)
    assert not load_model(find_model(Folder(options.work), None))[0].config.flow
    for reads, value in (("temporal_scales", 1), ("lambda_warp", 10.0)):
        with raises("artifact-missing", "flow", "v2v extract-flow"):
            config = SMALL.model_copy(update=without | {reads: value})
            run(STAGE, config, RunOptions(work=str(tmp_path), overwrite=True))


def test_video_models_are_found_before_image_models(work: RunOptions) -> None:
    assert find_model(Folder(work.work), None).url.endswith("spatial-1")
    assert find_model(Folder(work.work), "covst").url.endswith("covst")


def test_frame_by_frame_no_frame_depends_on_another(work: RunOptions) -> None:
    generator, info = load_model(find_model(Folder(work.work), "pix2pixhd"))
    sources = np.random.default_rng(0).random((3, 13, 24, 32), dtype=np.float32)
    rollout = Rollout(generator, info.downsamplings)
    for s in sources:
        assert torch.equal(rollout.step(s).x_fake, Rollout(generator).step(s).x_fake)
    assert rollout.sources == []


def test_the_image_model_makes_the_first_frames_and_the_video_model_the_others(work: RunOptions) -> None:
    generator, info = load_model(find_model(Folder(work.work), None))
    first_frame_model = find_first_frame_model(Folder(work.work), None, info)
    assert first_frame_model is not None
    sources = np.random.default_rng(0).random((4, 13, 24, 32), dtype=np.float32)
    rollout = Rollout(generator, first_frame_model=first_frame_model)
    made = [rollout.step(s).x_fake for s in sources]
    s = torch.from_numpy(sources)
    with torch.no_grad():
        first = torch.cat([first_frame_model(s[t : t + 1])[-1].x_fake for t in range(2)])
        history = history_from_images(first[None], 1)
        for t in (2, 3):
            outputs = generator(s[t - 2 : t + 1].flatten(0, 1)[None], history)
            torch.testing.assert_close(made[t], outputs[-1].x_fake)
            history = advance(history, outputs)
    torch.testing.assert_close(torch.cat(made[:2]), first)


def _render(source: str, target: Path, work: str, **settings: object) -> list[np.ndarray]:
    config = RenderConfig(source=source, target=str(target), device="cpu", threads=1, maps=True, **settings)
    assert RENDER.call(config, RunOptions(work=work)) == []
    return read_raw(target)[0]


@pytest.mark.parametrize("checkpoint", ["spatial-1", "pix2pixhd", "covst"])
def test_as_many_frames_come_out_as_go_in(work: RunOptions, tmp_path: Path, checkpoint: str) -> None:
    assert len(_render(work.work, tmp_path / "out.mp4", work.work, checkpoint=checkpoint)) == 10


@pytest.mark.parametrize("checkpoint", ["spatial-1", "pix2pixhd", "covst"])
def test_every_kind_of_model_is_evaluated(work: RunOptions, tmp_path: Path, checkpoint: str) -> None:
    config = EvaluateConfig(data=work.work, checkpoint=checkpoint, out=str(tmp_path / "out"), device="cpu", threads=1)
    assert EVALUATE.call(config, work) == []
    found = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert found["model"]["checkpoint"].endswith(checkpoint)


def test_a_first_frame_model_of_another_place_is_used(work: RunOptions, tmp_path: Path) -> None:
    video, info = load_model(find_model(Folder(work.work), "spatial-1"))
    save_model(Folder(f"{tmp_path}/checkpoints/spatial-1"), video.state_dict(), info)
    with raises("model-missing", "--first-frame-model"):
        _render(work.work, tmp_path / "out.mp4", str(tmp_path))
    image = f"{work.work}/checkpoints/pix2pixhd"
    expected = _render(work.work, tmp_path / "a.mp4", work.work)
    found = _render(work.work, tmp_path / "b.mp4", str(tmp_path), first_frame_model=image)
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_a_model_without_past_takes_no_first_frames(work: RunOptions, tmp_path: Path) -> None:
    with raises("setting-unused", "--first-frames"):
        _render(work.work, tmp_path / "out.mp4", work.work, checkpoint="pix2pixhd", first_frames=str(tmp_path))


def _image_like(work: RunOptions, path: Path, **changes: object) -> str:
    generator, info = load_model(find_model(Folder(work.work), "pix2pixhd"))
    save_model(Folder(str(path)), generator.state_dict(), info.model_copy(update=changes))
    return str(path)


@pytest.mark.parametrize("kind", ["size", "source", "covst", "video", "not needed", "missing"])
def test_first_frame_models_that_do_not_fit_are_refused(work: RunOptions, tmp_path: Path, kind: str) -> None:
    _, info = load_model(find_model(Folder(work.work), "spatial-1"))
    folder, code, *names = {
        "size": (_image_like(work, tmp_path / "a", width=64), "size-mismatch", "64x24", "32x24"),
        "source": (
            _image_like(work, tmp_path / "b", conditioning=of_domain("street", 13)),
            "condition-mismatch",
            "13 labels",
            "12 labels",
        ),
        "covst": (f"{work.work}/checkpoints/covst", "model-mismatch", "covst"),
        "video": (f"{work.work}/checkpoints/spatial-1", "model-mismatch", "spatial-1"),
        "not needed": (f"{work.work}/checkpoints/pix2pixhd", "setting-unused", "--first-frame-model"),
        "missing": (str(tmp_path / "nowhere"), "model-missing", "nowhere"),
    }[kind]
    if kind == "not needed":
        info = info.model_copy(update={"first_frame": "self"})
    with raises(code, *names):
        find_first_frame_model(Folder(work.work), folder, info)


def test_covst_rolled_out_remembers_the_last_frame(work: RunOptions) -> None:
    generator, _ = load_model(find_model(Folder(work.work), "covst"))
    sources = np.random.default_rng(0).random((2, 16, 24, 32), dtype=np.float32)
    rollout = Rollout(generator)
    made = [rollout.step(s).x_fake for s in sources]
    assert torch.equal(made[0], Rollout(generator).step(sources[0]).x_fake)
    assert not torch.equal(made[1], Rollout(generator).step(sources[1]).x_fake)


def test_covst_is_rendered_from_maps_with_flow_only(work: RunOptions, tmp_path: Path) -> None:
    config = RenderConfig(source="in.mp4", target=str(tmp_path / "out.mp4"), checkpoint="covst", device="cpu")
    with raises("flow-required", "in.mp4", "--maps"):
        RENDER.call(config, work)
    run(SOURCE, SourceConfig(num_clips=1, clip_frames=3), RunOptions(work=str(tmp_path / "data")))
    with raises("artifact-missing", "flow"):
        _render(str(tmp_path / "data"), tmp_path / "out.mp4", work.work, checkpoint="covst")


@pytest.mark.parametrize(
    ("changes", "code", "names"),
    [
        ({"num_scales": 2}, "setting-unused", ["--num-scales", "pix2pixhd"]),
        ({"fix_epochs": 1, "foreground": (1,)}, "setting-unused", ["--fix-epochs", "--foreground"]),
        ({"temporal_scales": 1, "drop_history": 0.5}, "setting-unused", ["--drop-history", "--temporal-scales"]),
        ({"first_frame": "real"}, "setting-unused", ["--first-frame"]),
        ({"max_frames": 8}, "setting-unused", ["--max-frames"]),
        ({"method": "vid2vid"}, "setting-unused", ["--num-enhancers", "vid2vid"]),
        ({"covst_share": 0.5}, "setting-unused", ["--covst-share", "pix2pixhd"]),
        ({"num_enhancers": 5}, "setting-invalid", ["width"]),
        ({"start_from": "spatial-1"}, "model-mismatch", ["spatial-1"]),
        ({"start_from": "pix2pixhd", "num_blocks": 1}, "model-mismatch", ["num_blocks 2 (here 1)"]),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    work: RunOptions, changes: dict[str, object], code: str, names: list[str]
) -> None:
    if "start_from" in changes:
        changes = changes | {"start_from": f"{work.work}/checkpoints/{changes['start_from']}"}
    with raises(code, *names):
        run(STAGE, IMAGE.model_copy(update=changes), RunOptions(work=work.work, overwrite=True))
    load_model(find_model(Folder(work.work), "pix2pixhd"))  # nothing was thrown away


def test_an_image_model_is_no_beginning_of_a_video_model(work: RunOptions) -> None:
    config = VIDEO.model_copy(update={"start_from": f"{work.work}/checkpoints/pix2pixhd"})
    with raises("model-mismatch", "pix2pixhd", "spatial-1"):
        run(STAGE, config, RunOptions(work=work.work, overwrite=True))


def test_covst_goes_on_from_an_image_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = make_workspace(tmp_path / "work", num_clips=1, clip_frames=4)
    run(STAGE, IMAGE, options)
    start = f"{options.work}/checkpoints/pix2pixhd"
    run(STAGE, IMAGE.model_copy(update={"method": "covst", "start_from": start, "learning_rate": 1e-9}), options)
    assert "generator: from" in capsys.readouterr().out
    image, covst = (load_model(find_model(Folder(options.work), name))[0] for name in ("pix2pixhd", "covst"))
    for name, value in image.state_dict().items():
        torch.testing.assert_close(value, covst.state_dict()[name], rtol=0, atol=1e-5)
