"""Training: exact resume, joint gradients, honest failures."""

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.errors import raises
from tests.unit.training_data import (
    SMALL,
    Begun,
    begin,
    files_read,
    make_workspace,
    open_dataset,
    same,
    train_chunk,
    train_into,
    windows_of,
)
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import load_model
from v2vkit.config import fingerprinted
from v2vkit.errors import V2VError
from v2vkit.models.discriminator import image_input, video_input
from v2vkit.models.losses import feature_matching, lsgan
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE as TRAIN
from v2vkit.training.data.batch import mirrored, stack
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.sampler import Window
from v2vkit.training.generated import GeneratedChunk
from v2vkit.training.reconstruction import reconstruction_losses
from v2vkit.training.window import begin_window, generate_chunk

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_workspace(tmp_path_factory.mktemp("work")).work


@pytest.fixture(scope="module")
def dataset(work: str) -> VideoDataset:
    return open_dataset(work)


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(dataset: VideoDataset, whole_folder: Path) -> Begun:
    """Training from the beginning to the end, which nobody changes."""
    return train_into(SMALL, dataset, whole_folder)


@pytest.mark.parametrize("stop_at", [1, 7, 13])
def test_resumed_training_is_bit_equal(
    whole: Begun,
    whole_folder: Path,
    dataset: VideoDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stop_at: int,
) -> None:
    halted = train_into(SMALL, dataset, tmp_path / "halves", stop_at=stop_at)
    assert 0 < halted.state.steps < whole.state.steps
    assert "resumed" not in capsys.readouterr().err
    resumed = train_into(SMALL, dataset, tmp_path / "halves")
    assert f"resumed after {halted.state.steps} steps" in capsys.readouterr().err
    assert resumed.state.steps == whole.state.steps
    for name, module in whole.state.modules.items():
        assert same(module.state_dict(), resumed.state.modules[name].state_dict()), name
    assert same(whole.state.ema, resumed.state.ema)
    assert same(load_file(whole_folder / "model.safetensors"), load_file(tmp_path / "halves/model.safetensors"))


def test_training_changes_every_network(dataset: VideoDataset, whole: Begun) -> None:
    before = begin(SMALL, dataset.source, CPU)
    for name, module in before.state.modules.items():
        assert not same(module.state_dict(), whole.state.modules[name].state_dict()), name


def test_the_average_follows_the_weights_by_its_decay(dataset: VideoDataset) -> None:
    trainer = begin(SMALL, dataset.source, CPU)
    name, weight = next(iter(trainer.method.generator.named_parameters()))
    average = trainer.state.ema[name].fill_(0.0)
    found = []
    for steps, value in ((0, 1.0), (8, 2.0), (1000, 4.0)):
        trainer.state.steps = steps
        with torch.no_grad():
            weight.fill_(value)
        trainer.state.update_ema(0.75)
        found.append(float(average.mean()))
        assert torch.equal(average, average.flatten()[0].expand_as(average))
    # A young average keeps (1 + n) / (10 + n): 1/10 after no step, 1/2 after 8; then the decay, 3/4.
    assert found == pytest.approx([0.9, 0.9 / 2 + 2 / 2, 1.45 * 3 / 4 + 4 / 4])
    trainer.state.update_ema(0.0)
    assert torch.equal(average, weight)


def _sequence(dataset: VideoDataset, frames: int = 12):
    windows = windows_of(dataset, frames - 2)
    return stack([dataset.load(window) for window in windows])


@pytest.mark.parametrize("from_nothing", [False, True])
def test_shared_passes_give_the_gradients_of_the_plain_formulation(dataset: VideoDataset, from_nothing: bool) -> None:
    """One forward pass per network input gives the gradients of one pass per loss term, as published."""
    config = SMALL.model_copy(update={"temporal_scales": 1})
    sequence, frames = _sequence(dataset), [2, 3, 4]
    shared, plain = begin(config, dataset.source, CPU), begin(config, dataset.source, CPU)
    for optimizer in shared.state.optimizers.values():  # keep the gradients, change nothing
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    state = begin_window(sequence, shared.method.generator, from_nothing=from_nothing)
    values, _ = train_chunk(shared, sequence, state, frames)

    generator, discriminators = plain.method.generator, plain.method.discriminators
    image, video = discriminators["image"], discriminators["video0"]
    state = begin_window(sequence, generator, from_nothing=from_nothing)
    outputs = generate_chunk(generator, sequence, state, frames)
    weights = {term: term.factor(config) for term in plain.method.losses()}
    direct = reconstruction_losses(weights, GeneratedChunk(sequence, state, frames, outputs))
    s, x = (torch.cat([t[:, i] for i in frames]) for t in (sequence.s, sequence.x))
    x_fake, h = torch.cat([o.x_fake for o in outputs]), torch.cat([o.h for o in outputs])
    real = image(image_input(s, x))
    lambda_feature = config.losses.lambda_feature
    total, d_total = direct.total, torch.zeros(())
    for fake in (x_fake, h):
        of_fake = image(image_input(s, fake))
        total = total + lsgan(of_fake, real=True) + lambda_feature * feature_matching(of_fake, real)
        d_total = d_total + lsgan(real, real=True) / 2
        d_total = d_total + lsgan(image(image_input(s, fake.detach())), real=False) / 2
    flows = sequence.flow[1][:, [3, 4]]
    t_real = video(video_input(sequence.x[:, frames], flows))
    t_fake = video(video_input(torch.stack([o.x_fake for o in outputs], 1), flows))
    total = total + lsgan(t_fake, real=True) + lambda_feature * feature_matching(t_fake, t_real)
    detached = video_input(torch.stack([o.x_fake.detach() for o in outputs], 1), flows)
    t_total = lsgan(t_real, real=True) / 2 + lsgan(video(detached), real=False) / 2
    expected = {
        "generator": torch.autograd.grad(total, list(generator.parameters()), retain_graph=True),
        "image": torch.autograd.grad(d_total, list(image.parameters())),
        "video0": torch.autograd.grad(t_total, list(video.parameters())),
    }
    for name, gradients in expected.items():
        found = [parameter.grad for parameter in shared.state.modules[name].parameters()]
        for a, b in zip(found, gradients, strict=True):
            assert a is not None
            torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-5)
    assert values["G_T0"] == pytest.approx(float(lsgan(t_fake, real=True).detach()), rel=1e-5)
    assert "F_Flow" in values
    assert len([o for o in outputs if o.flow is None]) == int(from_nothing)


def test_history_carries_no_gradient(dataset: VideoDataset) -> None:
    trainer = begin(SMALL, dataset.source, CPU)
    sequence = _sequence(dataset)
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    generate_chunk(trainer.method.generator, sequence, state, [2, 3])
    assert state.history is not None
    assert not any(tensor.requires_grad for tensor in [*state.history, *state.x_fake])


@pytest.mark.parametrize("term", ["F_Flow", "G_GAN"])
def test_a_term_that_is_not_finite_is_named_and_nothing_is_updated(dataset: VideoDataset, term: str) -> None:
    trainer = begin(SMALL, dataset.source, CPU)
    sequence = _sequence(dataset)
    if term == "F_Flow":
        sequence.flow[1][:, 3] = float("nan")
        sequence.confidence[1][:, 3] = 1.0
    else:
        with torch.no_grad():
            next(trainer.method.discriminators["image"].parameters()).fill_(float("nan"))
    before = {name: value.clone() for name, value in trainer.method.generator.state_dict().items()}
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    with raises("training-diverged", term):
        train_chunk(trainer, sequence, state, [2, 3])
    assert same(before, trainer.method.generator.state_dict())


@pytest.mark.parametrize("gradient_clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_is_named_and_nothing_is_updated(
    dataset: VideoDataset, gradient_clip: float
) -> None:
    """A finite term with a weight that makes it more than float32 can hold."""
    config = SMALL.model_copy(update={"lambda_l1": 1e39, "gradient_clip": gradient_clip})
    trainer = begin(config, dataset.source, CPU)
    sequence = _sequence(dataset)
    before = [copy.deepcopy(network.state_dict()) for network in trainer.state.modules.values()]
    state = begin_window(sequence, trainer.method.generator, from_nothing=False)
    with raises("training-diverged", "generator"):
        train_chunk(trainer, sequence, state, [2, 3])
    after = [network.state_dict() for network in trainer.state.modules.values()]
    assert all(same(old, new) for old, new in zip(before, after, strict=True))


def test_a_step_takes_every_other_frame_and_the_flow_between_them(work: str) -> None:
    stepping = open_dataset(work, strides=(1,))
    plain = open_dataset(work, strides=(1, 3))
    found, every = stepping.load(Window(0, 2, 3, stride=3)), plain.load(Window(0, 2, 7))
    assert torch.equal(found.x, every.x[::3])
    assert torch.equal(found.s, every.s[::3])
    assert torch.equal(found.flow[1][1:], every.flow[3][3::3])
    assert torch.equal(found.confidence[1][1:], every.confidence[3][3::3])
    assert found.confidence[1][1:].any()


def test_only_flow_between_frames_of_the_window_is_read(work: str) -> None:
    dataset = open_dataset(work, strides=(1, 3))
    dataset.load(Window(0, 2, 5))
    read = [(t, extension.removesuffix(".png")) for kind, _, t, extension in files_read(dataset) if kind == "flow"]
    of_one, of_three = ([(t, name) for t in range(first, 7)] for first, name in ((3, "flow1"), (5, "flow3")))
    assert sorted(read) == sorted(of_one + of_three)
    files_read(dataset).clear()
    dataset.load(Window(0, 2, 5))  # from memory
    assert files_read(dataset) == []


def test_a_step_needs_its_flow(work: str) -> None:
    with raises("flow-stride-missing", "--max-frame-stride 2", "[1, 2]", "--strides 1 --strides 2"):
        run(TRAIN, SMALL.model_copy(update={"max_frame_stride": 2, "temporal_scales": 1}), RunOptions(work=work))


def test_flow_in_the_window_pairs_with_frames_of_the_window(dataset: VideoDataset) -> None:
    sequence = _sequence(dataset)
    assert not sequence.confidence[3][:, :3].any()
    assert sequence.confidence[3][:, 3:].any()
    assert not sequence.confidence[1][:, 0].any()
    assert sequence.confidence[1][:, 1:].any()


def test_mirroring_turns_the_flow_around(dataset: VideoDataset) -> None:
    windows = windows_of(dataset, 4)
    plain = dataset.load(windows[0])
    flipped = mirrored(plain)
    torch.testing.assert_close(flipped.flow[1][..., 0], plain.flow[1][..., -1] * torch.tensor([-1.0, 1.0])[:, None])
    assert torch.equal(mirrored(flipped).x, plain.x)


def test_stage_writes_a_model_that_loads_and_a_second_run_does_nothing(work: str, tmp_path: Path) -> None:
    options = make_workspace(tmp_path)
    config = SMALL.model_copy(update={"domain": None, "num_labels": None, "sample_every": 3})
    run(TRAIN, config, options)
    generator, info = load_model(Folder(f"{options.work}/checkpoints/spatial-1"))
    assert (info.conditioning.num_labels, info.conditioning.names, info.width, info.height) == (12, "labels", 32, 24)
    assert info.epochs == 3
    assert info.frames["fps"] == "25"  # that of the clips, whatever was or was not typed
    assert not generator.training
    assert list((tmp_path / "checkpoints/spatial-1").glob("sample-*.png"))
    assert "up to date" in run(TRAIN, config.model_copy(update={"save_every": 1.0}), options).message
    assert status(TRAIN, config, options) == "done"
    with raises("artifact-stale", "learning_rate (was 0.0002, now 0.001)"):
        run(TRAIN, config.model_copy(update={"learning_rate": 1e-3}), options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint's folder."""
    options = make_workspace(tmp_path_factory.mktemp("trained"), num_clips=1, clip_frames=6)
    run(TRAIN, SMALL.model_copy(update={"epochs": 1, "decay": 0.0}), options)
    return Path(options.work, "checkpoints/spatial-1")


@pytest.mark.parametrize("damage", ["truncate", "flip", "other"])
def test_damaged_models_are_refused(trained: Path, tmp_path: Path, damage: str) -> None:
    path = shutil.copytree(trained, tmp_path / "spatial-1") / "model.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        data = data[: len(data) // 2]
    elif damage == "flip":
        data[12] ^= 0xFF
    else:
        data = bytearray(data.replace(b'width\\":8', b'width\\":9'))
    path.write_bytes(data)
    with raises("artifact-damaged", path.name):
        load_model(Folder(str(path.parent)))
    alone = tmp_path / "alone" / path.name
    alone.parent.mkdir()
    alone.write_bytes(data)
    with raises("model-damaged", path.name):
        load_model(Folder(str(alone.parent)))


@pytest.mark.parametrize("damage", ["flipped", "gone", "state.json"])
def test_a_damaged_snapshot_is_named_and_left_behind_with_overwrite(
    work: str, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = make_workspace(tmp_path / "work", num_clips=1, clip_frames=6)
    config = SMALL.model_copy(update={"epochs": 2, "decay": 0.0, "temporal_scales": 1, "save_every": 0.0})
    snapshots = []

    def killed(*args: object) -> None:
        snapshots.append(args)
        if len(snapshots) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("v2vkit.checkpoint.model_file.save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            run(TRAIN, config, options)
    folder = Path(options.work, "checkpoints", "spatial-1")
    (state,) = folder.glob("state-*.safetensors")
    if damage == "flipped":
        content = bytearray(state.read_bytes())
        content[-5] ^= 0xFF
        state.write_bytes(content)
    elif damage == "gone":
        state.unlink()
    else:
        (folder / "state.json").write_text("{")
    with raises("snapshot-damaged", {"state.json": "(state.json is damaged)"}.get(damage, "("), "--overwrite"):
        run(TRAIN, config, options)
    capsys.readouterr()
    run(TRAIN, config, RunOptions(work=options.work, overwrite=True))
    assert "starts over" in capsys.readouterr().out
    assert status(TRAIN, config, options) == "done"


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _unreadable(*args: object, **kwargs: object) -> None:
    raise V2VError("shard-damaged", "It cannot be read.", "Make it again.")


def test_a_refused_training_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong option is found out before the model of an earlier training is thrown away, and leaves nothing behind."""
    options = make_workspace(tmp_path / "work", num_clips=1, clip_frames=6)
    config = SMALL.model_copy(update={"epochs": 1, "decay": 0.0, "temporal_scales": 1})
    wrong = config.model_copy(update={"foreground": (99,)})
    with raises("foreground-missing", "--foreground 99"):
        run(TRAIN, wrong, options)
    run(TRAIN, config, options)  # asks for no --overwrite
    again = RunOptions(work=options.work, overwrite=True)
    model = Path(options.work, "checkpoints/spatial-1/model.safetensors")
    before = model.read_bytes()
    with raises("foreground-missing", "--foreground 99"):
        run(TRAIN, wrong, again)
    with raises("target-is-source", "--start-from"):
        run(TRAIN, config.model_copy(update={"start_from": str(model.parent), "seed": 2}), again)
    for dry_run in (True, False):
        with raises("label-id-out-of-range", "id 5", "5 labels", "--num-labels"):
            run(TRAIN, config.model_copy(update={"num_labels": 5}), replace(again, dry_run=dry_run))
    with monkeypatch.context() as patch, raises("shard-damaged"):
        patch.setattr("v2vkit.training.data.dataset.VideoDataset.load", _unreadable)
        run(TRAIN, config.model_copy(update={"seed": 2}), again)
    _flip_a_byte(next(Path(options.work, "flow").glob("*.tar")))
    with raises("shard-damaged", "flow"):
        run(TRAIN, config.model_copy(update={"seed": 2}), again)
    assert model.read_bytes() == before
    assert status(TRAIN, config, options) == "done"


def test_training_a_finished_model_on_as_the_refusal_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = make_workspace(tmp_path / "work", num_clips=1, clip_frames=6)
    config = SMALL.model_copy(update={"epochs": 1, "decay": 0.0, "temporal_scales": 1})
    run(TRAIN, config, options)
    longer = config.model_copy(update={"epochs": 2, "seed": 5})
    with raises("artifact-stale", "epochs (was 1, now 2)", "--start-from COPY --overwrite"):
        run(TRAIN, longer, options)
    copy = tmp_path / "copy"
    shutil.copytree(Path(options.work, "checkpoints/spatial-1"), copy)
    longer = longer.model_copy(update={"start_from": str(copy)})
    with raises("artifact-stale", "--overwrite") as refused:
        run(TRAIN, longer, options)
    assert "COPY" not in refused.error.hint
    planned = run(TRAIN, longer, RunOptions(work=options.work, dry_run=True)).message
    assert f"generator: 1 of 1 scales from {copy}" in planned
    assert "cannot be made now" in planned
    assert "Add --overwrite" in planned
    run(TRAIN, longer, RunOptions(work=options.work, overwrite=True))
    text = capsys.readouterr().out
    for name in ("generator", "image", "video0"):
        assert f"{name}: from scratch" not in text
    assert f"generator: 1 of 1 scales from {copy}" in text
    with raises("model-missing", "--start-from", "nowhere"):
        run(TRAIN, longer.model_copy(update={"start_from": str(tmp_path / "nowhere")}), options)


def test_perceptual_weights_count_by_their_content(tmp_path: Path) -> None:
    assert TRAIN.sources is not None
    sums = []
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
        sums.append(TRAIN.sources(SMALL.model_copy(update={"perceptual_weights": str(tmp_path / name)})))
    assert sums[0] == sums[1] != sums[2]
    assert sums[0] != TRAIN.sources(SMALL)
    assert "perceptual_weights" not in fingerprinted(SMALL)


def test_training_needs_maps(tmp_path: Path) -> None:
    with raises("artifact-missing", "v2v make-sketches"):
        run(TRAIN, SMALL.model_copy(update={"domain": None}), RunOptions(work=str(tmp_path)))


def test_foreground_must_be_a_label(tmp_path: Path) -> None:
    options = make_workspace(tmp_path)
    with raises("foreground-missing", "--foreground 40"):
        run(TRAIN, SMALL.model_copy(update={"foreground": (40,)}), options)
    with raises("label-duplicate", "--foreground"):
        run(TRAIN, SMALL.model_copy(update={"foreground": (1, 2, 1)}), options)


def test_dataset_values_are_in_range(dataset: VideoDataset) -> None:
    sequence = _sequence(dataset)
    assert sequence.x.min() >= -1
    assert sequence.x.max() <= 1
    assert set(np.unique(sequence.s.numpy())) <= {0.0, 1.0}
    assert sequence.s.shape[2] == 13
