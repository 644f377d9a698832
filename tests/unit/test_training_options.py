"""Switches of training: they change what they say and nothing else."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from tests.unit.training_data import SMALL, make_workspace, open_dataset
from v2vkit.artifacts.folder import Folder
from v2vkit.cli.main import cli
from v2vkit.errors import V2VError
from v2vkit.stages.base import RunOptions
from v2vkit.stages.runner import run
from v2vkit.stages.train import STAGE
from v2vkit.training.build import Trainer, build_trainer
from v2vkit.training.config import TrainConfig
from v2vkit.training.dataset import Sequence, SequenceDataset, draw_windows, stack
from v2vkit.training.schedule import Schedule, warm_up_factors
from v2vkit.training.step import train_chunk
from v2vkit.training.window import begin_window

CPU = torch.device("cpu")
ONE = SMALL.model_copy(
    update={"epochs": 1, "decay_epochs": 0, "max_frames": 3, "temporal_scales": 1, "threads": 1, "chunk": 3}
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_workspace(tmp_path_factory.mktemp("options") / "work").work


@pytest.fixture(scope="module")
def dataset(work: str) -> SequenceDataset:
    return open_dataset(work, strides=(1, 2))


def one_step(dataset: SequenceDataset, **changes: object) -> tuple[dict[str, float], Trainer]:
    """The losses of one step of freshly initialised networks, and the trainer with its gradients."""
    config = ONE.model_copy(update=changes)
    trainer = build_trainer(config, dataset.source, CPU)
    sequence = textured(dataset)
    state = begin_window(sequence, trainer.networks.generator, from_nothing=False)
    values, _ = train_chunk(config, trainer.networks, trainer.optimizers, sequence, state, [2, 3, 4])
    return values, trainer


def textured(dataset: SequenceDataset) -> Sequence:
    windows = draw_windows(dataset.reader.clips, num_frames=3, context=2, batch=1, seed=0, epoch=0)[0]
    loaded = stack([dataset.load(window) for window in windows])
    generator = torch.Generator().manual_seed(0)
    s = torch.rand(loaded.s.shape, generator=generator)
    return Sequence(loaded.x, s, loaded.flow, loaded.confidence)


def gradients(trainer: Trainer) -> list[torch.Tensor]:
    parameters = [p for module in trainer.networks.named().values() for p in module.parameters()]
    return [p.grad for p in parameters if p.grad is not None]


@pytest.mark.parametrize("switch", [{"checkpointing": True}, {"channels_last": True}])
def test_memory_switches_change_no_loss_and_no_gradient(dataset: SequenceDataset, switch: dict[str, bool]) -> None:
    expected, plain = one_step(dataset)
    found, switched = one_step(dataset, **switch)
    assert found == pytest.approx(expected, rel=1e-4)
    for a, b in zip(gradients(plain), gradients(switched), strict=True):
        if a.dim() == 4:  # other orders of summation, made large by fresh networks' steep gradients
            assert (a - b).norm() < 0.05 * a.norm()


def test_gradient_clipping_bounds_every_network(dataset: SequenceDataset) -> None:
    def norms(trainer: Trainer) -> dict[str, float]:
        return {
            name: float(
                torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None]))
            )
            for name, m in trainer.networks.named().items()
        }

    free, clipped = norms(one_step(dataset)[1]), norms(one_step(dataset, gradient_clip=0.01)[1])
    assert min(free.values()) > 0.02
    assert all(norm == pytest.approx(0.01, rel=1e-3) for norm in clipped.values())


def test_hinge_replaces_only_the_adversarial_terms(dataset: SequenceDataset) -> None:
    lsgan, _ = one_step(dataset)
    hinge, _ = one_step(dataset, gan="hinge")
    changed = {name for name in lsgan if lsgan[name] != pytest.approx(hinge[name], rel=1e-5)}
    assert changed == {"G_GAN", "G_T0", "D_GAN_real", "D_GAN_fake", "D_T0_real", "D_T0_fake"}


def test_two_frames_can_be_judged(dataset: SequenceDataset) -> None:
    values, trainer = one_step(dataset, video_frames=2, temporal_scales=2)
    assert trainer.networks.video[0].config.in_channels == 2 * 3 + 2
    assert "G_T1" in values


def test_sparse_windows_are_fewer(dataset: SequenceDataset) -> None:
    values, _ = one_step(dataset, sparse=True)
    assert "G_T0" in values
    config = ONE.model_copy(update={"sparse": True, "chunk": 2})
    trainer = build_trainer(config, dataset.source, CPU)
    sequence = textured(dataset)
    state = begin_window(sequence, trainer.networks.generator, from_nothing=False)
    first, _ = train_chunk(config, trainer.networks, trainer.optimizers, sequence, state, [2, 3])
    assert "G_T0" not in first


def test_ablations_leave_their_terms_out(dataset: SequenceDataset) -> None:
    assert not {"F_Flow", "F_Warp", "G_Warp", "W"} & one_step(dataset, flow=False)[0].keys()
    assert not {name for name in one_step(dataset, temporal_scales=0)[0] if "T0" in name}
    _, trainer = one_step(dataset, foreground=())
    assert not [name for name, _ in trainer.networks.generator.named_parameters() if "foreground" in name]


def test_losses_that_begin_later_warm_up() -> None:
    schedule = Schedule(8, 0, 3, 2, 12)  # 3 3 6 6 12 12 12 12 frames
    spans = (3, 7)

    def at(progress: float, warm_up: float = 2.0) -> tuple[float, ...]:
        return warm_up_factors(schedule, spans, progress=progress, warm_up=warm_up)

    assert at(0) == (1.0, 0.0)  # the first is there from the beginning; the second has no window yet
    assert at(4.0) == (1.0, 0.0)
    assert at(5.0) == (1.0, 0.5)
    assert at(6.5) == (1.0, 1.0)
    assert at(0, warm_up=0) == (1.0, 1.0)


def test_dry_run_prints_the_plan_and_writes_nothing(work: str) -> None:
    before = sorted(Folder(work).names())
    flags = ["--num-labels", "12", "--width", "8", "--num-down", "2", "--num-blocks", "2", "--discriminator-width", "8"]
    flags += ["--device", "cpu", "--no-tensorboard", "--temporal-scales", "1", "--num-scales", "2", "--fix-epochs", "0"]
    done = CliRunner().invoke(
        cli, ["train", "--stage", "all", "--dry-run", "--work", work, *flags], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    for text in ("s per step", "peak memory", "MiB of tensors per frame", "spatial-1: missing; nothing was done"):
        assert text in done.output
    assert "spatial-2: cannot be planned yet" in done.output
    assert sorted(Folder(work).names()) == before
    assert not Path(work, "checkpoints").exists()


def test_batches_must_be_shareable(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(V2VError, match="multiple of 2"):
        run(STAGE, ONE, RunOptions(work=work))


def train_command(work: Path, config: TrainConfig) -> list[str]:
    flags = ["--stage", "spatial-1", "--work", str(work), "--no-tensorboard"]
    for name in (
        "preset",
        "width",
        "num_down",
        "num_blocks",
        "discriminator_width",
        "epochs",
        "decay_epochs",
        "device",
    ):
        flags += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    for name in (
        "first_frames",
        "max_frames",
        "chunk",
        "domain",
        "num_labels",
        "temporal_scales",
        "threads",
        "precision",
    ):
        flags += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    return ["train", *flags, "--batch-size", "2", "--drop-history", "0", "--sample-every", "0"]


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    """Data parallel over gloo: the batch is shared out, gradients averaged, rank 0 writes."""
    pytest.importorskip("lightning")
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        make_workspace(path, clip_frames=3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "v2vkit", *train_command(one, ONE)], check=True, env=common, capture_output=True
    )
    pair = {**common, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    pair |= {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}  # what torchrun sets
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "v2vkit", *train_command(two, ONE)],
            env={**pair, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in ("0", "1")
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "plan:" in outputs[0]
    assert "plan:" not in outputs[1]
    alone, together = (load_file(path / "checkpoints/spatial-1/model.safetensors") for path in (one, two))
    begun = build_trainer(ONE.model_copy(update={"foreground": ()}), open_dataset(str(one)).source, CPU).average
    # One step: Adam makes every gradient equally large, those near zero too, and so rounding grows from step to step.
    # Convolution biases before a norm have no gradient but rounding.
    names = [name for name in alone if alone[name].dim() == 4]
    moved = sum(float((alone[name] - begun[name]).norm()) for name in names)
    apart = sum(float((alone[name] - together[name]).norm()) for name in names)
    assert apart < 0.1 * moved
