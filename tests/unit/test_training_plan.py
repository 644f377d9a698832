"""What the plan says before training starts: every loss, and what was measured."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from tests.errors import raises
from tests.file_reads import count_file_reads
from tests.hooks import before_forward
from tests.unit.training_data import SMALL, make_workspace, open_dataset
from v2vkit.artifacts.folder import Folder
from v2vkit.cli.main import cli
from v2vkit.config import settings_of
from v2vkit.models.generator import VideoGenerator
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.batch import VideoBatch
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.sampler import Window
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.plan import measure, measure_phases, plan_text
from v2vkit.training.terms import losses_text
from v2vkit.training.trainer import take_step

CPU = torch.device("cpu")
ONE = SMALL.model_copy(
    update={"epochs": 1, "decay": 0.0, "max_frames": 3, "temporal_scales": 1, "threads": 1, "chunk": 3}
)
_OTHERS = {"lambda_dned", "lambda_labels", "lambda_frames"}  # of losses that vid2vid has not
WEIGHTS = [name for name in settings_of(TrainConfig) if name.startswith("lambda_") and name not in _OTHERS]
EVERYTHING = ONE.model_copy(
    update={"domain": "pose", "perceptual": "vgg19", "perceptual_weights": "vgg.pth"} | dict.fromkeys(WEIGHTS, 3.0)
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_workspace(tmp_path_factory.mktemp("plan") / "work").work


@pytest.fixture(scope="module")
def dataset(work: str) -> VideoDataset:
    return open_dataset(work, strides=(1, 2))


def lines(config: TrainConfig, longest: int = 100) -> list[str]:
    """What the plan says of the losses."""
    spec = method_spec(config.method)
    return losses_text(spec.losses(config), config, spec.schedule(config), longest)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_loss_has_a_line_whether_it_is_on_or_off(weight: str) -> None:
    pairs = zip(lines(EVERYTHING), lines(EVERYTHING.model_copy(update={weight: 0.0})), strict=True)
    different = [pair for pair in pairs if pair[0] != pair[1]]
    assert different
    for with_it, without in different:
        assert " 3 (" in with_it
        assert without.endswith(f" OFF (--{weight.replace('_', '-')} 0)")


FLOW = ("predicted flow", "warped real frame")


@pytest.mark.parametrize(
    ("changes", "off"),
    [
        ({"flow": False}, dict.fromkeys((*FLOW, "mask"), "--no-flow")),
        ({"first_frame": "real"}, {"mask": "--first-frame real"}),
        ({"temporal_scales": 0}, {"video discriminator 0": "--temporal-scales 0"}),
        ({"domain": "face"}, {"face discriminator": "only for poses and DensePose"}),
        (
            {"perceptual": "off"},
            dict.fromkeys(("perceptual", "style"), "v2v weights fetch vgg19, or --perceptual lite0"),
        ),
    ],
    ids=str,
)
def test_a_loss_that_cannot_be_on_says_why(changes: dict[str, object], off: dict[str, str]) -> None:
    assert not [line for line in lines(EVERYTHING) if "OFF" in line]
    found = lines(EVERYTHING.model_copy(update=changes))
    assert [line for line in found if "OFF" in line] == [f"{name} OFF ({why})" for name, why in off.items()]


def test_a_loss_that_no_clip_is_long_enough_for_says_so() -> None:
    """Its discriminator would be built, and never trained."""
    config = EVERYTHING.model_copy(update={"temporal_scales": 2, "first_frames": 8, "max_frames": 16})
    found = {
        line[: len("video discriminator 0")]: line
        for line in lines(config, longest=6)
        if line.startswith("video discriminator")
    }
    assert "never" not in found["video discriminator 0"]
    why = "never: it needs sequences of 7 frames, and the longest clip has 6 beyond its first ones"
    assert why in found["video discriminator 1"]
    assert not [line for line in lines(config, longest=7) if "never" in line]


def test_the_flow_loss_of_pairs_that_never_come_names_their_setting() -> None:
    """A third of two epochs is none; --max-frames is no setting of s-flow."""
    config = TrainConfig(method="s-flow", domain="cg2real", epochs=2)
    (line,) = (line for line in lines(config) if line.startswith("optical flow"))
    assert "never: it needs sequences of 2 frames (--flow-epochs)" in line
    assert not [line for line in lines(config.model_copy(update={"flow_epochs": 1})) if "never" in line]


@pytest.mark.parametrize("method", ["pix2pixhd", "covst"])
def test_a_method_has_no_line_for_the_losses_of_others(method: str) -> None:
    found = lines(TrainConfig(method=method, domain="street"))
    assert [line.split(" 1")[0] for line in found][:2] == ["GAN", "feature matching"]
    assert not [line for line in found if "flow" in line or "mask" in line or "video" in line]


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
    assert "plan: spatial-2" in done.output
    assert f"start     {work}/checkpoints/spatial-1, which is not trained yet" in done.output
    assert "spatial-2: missing; nothing was done" in done.output
    assert done.output.count("s per step") >= 2
    assert sorted(Folder(work).names()) == before
    assert not Path(work, "checkpoints").exists()


def test_a_system_that_does_not_report_memory_has_a_plan_without_it(work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has neither the module `resource` nor `os.sysconf`."""
    config = SMALL.model_copy(update={"measure": True, "threads": 1})
    assert "peak memory" in run(STAGE, config, RunOptions(work=work, dry_run=True)).message
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.delattr(os, "sysconf")
    plan = run(STAGE, config, RunOptions(work=work, dry_run=True)).message
    assert "s per step" in plan
    assert "GiB" not in plan


def test_the_plan_says_which_losses_are_never_reached() -> None:
    config = ONE.model_copy(update={"temporal_scales": 2, "first_frames": 3, "max_frames": 6, "double_every": 1})
    (line,) = [line for line in lines(config) if line.startswith("video discriminator 1")]
    assert "never: it needs sequences of 7 frames (--max-frames)" in line
    assert "never" not in "".join(lines(config.model_copy(update={"max_frames": 12, "epochs": 3})))


def test_the_plan_says_that_the_beginning_is_not_trained(work: str) -> None:
    for drop_history, told in ((0.0, True), (0.5, False)):
        config = ONE.model_copy(update={"drop_history": drop_history})
        plan = run(STAGE, config, RunOptions(work=work, dry_run=True)).message
        assert ("no sequence begins without past frames" in plan) == told


@pytest.mark.parametrize(("clip_frames", "chunk", "steps"), [(6, 4, 1), (6, 2, 1), (12, 2, 2)])
def test_the_plan_says_how_many_steps_were_measured(tmp_path: Path, clip_frames: int, chunk: int, steps: int) -> None:
    """One step warms up where there are several; a short clip has no room for two more."""
    options = make_workspace(tmp_path, num_clips=1, clip_frames=clip_frames)
    config = ONE.model_copy(update={"chunk": chunk, "temporal_scales": 0, "measure": True})
    plan = run(STAGE, config, RunOptions(work=options.work, dry_run=True)).message
    assert f"(measured on {steps} step{'s' * (steps > 1)})" in plan


class Counting(VideoDataset):
    """Knows how many windows were loaded, and how long the longest was."""

    loaded = longest = 0

    def load(self, window: Window, **changes: Any) -> VideoBatch:
        self.loaded += 1
        self.longest = max(self.longest, window.num_frames)
        return super().load(window, **changes)


class Slow(Counting):
    """Takes long to read and to change."""

    changes = 0

    def load(self, window: Window, **changes: Any) -> VideoBatch:
        time.sleep(0.3 * window.num_frames)
        self.changes += changes.get("change") is not None
        return super().load(window, **changes)


def test_the_plan_counts_what_loading_takes(dataset: VideoDataset) -> None:
    """On a CPU training waits for it; beside a GPU the slower of the two counts."""
    config = ONE.model_copy(
        update={"max_frames": 1, "first_frames": 1, "temporal_scales": 0, "chunk": 1, "augment": 1.0}
    )
    slow = Slow(dataset.reader, dataset.source, strides=(1,))
    costs = measure_phases(config, slow, CPU)
    (cost,) = costs.values()
    assert cost.seconds_to_load >= 0.3
    assert slow.changes == slow.loaded > 0
    # An epoch has 24 windows of one frame, each with two frames of context.
    as_fast = {kind: replace(cost, seconds_per_frame=2.0) for kind, cost in costs.items()}
    exact = {kind: replace(cost, seconds_to_load=1.0) for kind, cost in as_fast.items()}
    assert "5.000 s per frame in fp32, loading included" in plan_text(config, dataset, CPU, exact, [])
    assert "2 min 00 s in all" in plan_text(config, dataset, CPU, exact, [])


def test_memory_is_measured_with_the_longest_sequences_of_every_kind(dataset: VideoDataset) -> None:
    """A window is loaded whole, however small the chunks are."""
    config = ONE.model_copy(update={"first_frames": 2, "max_frames": 8, "double_every": 1, "epochs": 4, "chunk": 1})
    counting = Counting(dataset.reader, dataset.source, strides=(1,))
    (cost,) = measure_phases(config.model_copy(update={"temporal_scales": 0}), counting, CPU).values()
    assert counting.longest == 2 + 8
    assert cost.num_steps == 2


def test_too_little_memory_is_a_sentence(dataset: VideoDataset) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    with before_forward(VideoGenerator, full), raises("memory-too-small", "cpu", "--gradient-checkpointing"):
        measure_phases(ONE, dataset, CPU)


def test_a_process_is_measured_on_its_share_of_a_batch(dataset: VideoDataset) -> None:
    for processes, share in ((1, 4), (4, 1)):
        counting = Counting(dataset.reader, dataset.source, strides=(1,))
        measure(ONE.model_copy(update={"batch_size": 4}), counting, CPU, processes=processes)
        assert counting.loaded == share


def test_every_video_discriminator_is_measured_at_work(dataset: VideoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ONE.model_copy(update={"temporal_scales": 2, "video_frames": 2, "max_frames": 6, "double_every": 1})
    config = config.model_copy(update={"epochs": 2, "chunk": 1, "first_frames": 2})
    terms: list[set[str]] = []

    def spy(*args: Any, **kwargs: Any) -> object:
        values = take_step(*args, **kwargs)
        terms.append({name for name in values if name.startswith("D_T")})
        return values

    monkeypatch.setattr("v2vkit.training.plan.take_step", spy)
    costs = measure_phases(config, dataset, CPU)
    (newest, few), (_, more) = costs  # sequences of 2 and of 4 frames; spans of 2 and 3
    assert (newest, more - few) == (False, 1)
    half = len(terms) // 2
    assert all(found == {"D_T0_real", "D_T0_fake"} for found in terms[:half])
    assert all("D_T1_real" in found for found in terms[half:])


@pytest.mark.parametrize("compiled", [False, True])
def test_the_plan_says_that_compiling_takes_time(work: str, compiled: bool) -> None:
    plan = run(STAGE, ONE.model_copy(update={"compile": compiled, "measure": False}), RunOptions(work, dry_run=True))
    assert ("compile   the networks" in plan.message) == compiled
    assert "for 1 epoch\n" in plan.message


def test_labels_are_counted_once_whatever_the_number_of_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage reads its shards through readers of its own; the labels are read whole for their number alone."""
    options = make_workspace(tmp_path / "work", num_clips=1, clip_frames=6)
    counts = count_file_reads(monkeypatch)
    config = ONE.model_copy(update={"stage": "all", "num_scales": 2, "num_labels": None, "discriminator_width": 64})
    plan = run(STAGE, config, replace(options, dry_run=True)).message
    assert "plan: spatial-2" in plan
    assert counts[f"{options.work}/labels/shard-00000.tar"] == 1
