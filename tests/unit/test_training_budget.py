"""`train --budget`: the schedule is shortened to a time, the number of epochs is kept, a resumed run has the same."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.errors import raises
from tests.unit.training_data import SMALL, make_workspace
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.model_file import load_model
from v2vkit.pipeline.runner import run, status
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE
from v2vkit.training.budget import epochs_within, planned_and_took
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.schedule import (
    Schedule,
    frames_at,
    full_epoch,
    full_progress,
    learning_rate_factor,
    least_epochs,
    phases,
    ramp_factor,
    shortened,
)
from v2vkit.training.terms import losses_text

FULL = Schedule(40, decay=0.5, first_frames=4, double_every=10, max_frames=32, fix_epochs=8)
SHORT: dict[str, Any] = {"epochs": 30, "decay": 0.5, "temporal_scales": 0, "max_frames": 3, "measure": True}


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL.model_dump(mode="json"), **SHORT, **changes})


@pytest.mark.parametrize(
    ("typed", "seconds", "shown"),
    [("90 s", 90, "90 s"), ("4min", 240, "4 min"), ("120 min", 7200, "2 h"), ("1.5 h", 5400, "90 min")],
)
def test_a_budget_is_a_number_and_a_unit(typed: str, seconds: float, shown: str) -> None:
    budget = TrainConfig(budget=typed).schedule.budget
    assert budget is not None
    assert budget.seconds == seconds
    assert str(budget) == shown
    assert TrainConfig(budget=budget).model_dump(mode="json")["budget"] == shown


@pytest.mark.parametrize("typed", ["1000001 s", "123456.789 s"])
def test_a_long_budget_keeps_its_digits(typed: str) -> None:
    assert str(TrainConfig(budget=typed).schedule.budget) == typed


@pytest.mark.parametrize("typed", ["4", "min", "-1 s", "0 h", "1 day", 240, "4 min 3 s"])
def test_anything_else_is_no_budget(typed: object) -> None:
    with pytest.raises(ValidationError):
        TrainConfig(budget=typed)


@pytest.mark.parametrize("epochs", [4, 10, 20, 39])
def test_a_shortened_schedule_keeps_its_proportions(epochs: int) -> None:
    schedule = shortened(FULL, epochs)
    assert [frames_at(schedule, epoch) for epoch in range(epochs)] == [
        frames_at(FULL, epoch * 40 // epochs) for epoch in range(epochs)
    ]
    assert {phase.num_frames for phase in phases(schedule)} == {4, 8, 16, 32}
    assert sum(phase.newest_only for phase in phases(schedule)) >= 1
    assert abs(schedule.decay_epochs - epochs / 2) <= 0.5
    assert learning_rate_factor(schedule, epochs - 1) < 2 / schedule.decay_epochs
    assert full_epoch(schedule, 0) == 0
    assert full_progress(schedule, epochs) == 40


def test_a_loss_ramp_takes_the_same_share_of_a_shortened_schedule() -> None:
    schedule = shortened(FULL, 10)  # sequences of 8 frames begin in the third of ten epochs: in epoch 10 of 40 or later
    factors = [ramp_factor(FULL, 8, progress=full_progress(schedule, epoch), ramp=8) for epoch in range(10)]
    assert factors == [0, 0, 0, 0.25, 0.75, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("budget", "epochs"), [(1e9, 40), (400, 40), (399, 39), (125, 12), (45, 4), (40, 4), (1, 4), (0.001, 4)]
)
def test_as_many_epochs_as_fit_but_a_tenth_at_least(budget: float, epochs: int) -> None:
    assert epochs_within(FULL, budget, time_of=lambda schedule: 10.0 * schedule.epochs) == epochs


@pytest.mark.parametrize(("epochs", "least"), [(1, 1), (2, 2), (9, 2), (40, 4), (41, 5)])
def test_the_least_number_of_epochs(epochs: int, least: int) -> None:
    assert least_epochs(Schedule(epochs)) == least


LATE = config(temporal_scales=2, first_frames=2, double_every=14, max_frames=8)
"""Sequences of 7 frames, which video discriminator 1 needs, begin in epoch 29 of 30."""
EDGES = TrainConfig(
    method="s-flow", condition=("labels", "edges"), num_labels=12, epochs=30, laplacian_epochs=27, flow_epochs=1
)


def _line(name: str, chosen: TrainConfig, epochs: int) -> str:
    """What the plan says of a loss where a budget leaves so many epochs."""
    spec = method_spec(chosen.method)
    lines = losses_text(spec.losses(chosen), chosen, shortened(spec.schedule(chosen), epochs), 100)
    return next(line for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("name", "chosen", "enough"), [("video discriminator 1", LATE, 15), ("edge network", EDGES, 10)]
)
def test_a_loss_that_the_budget_cuts_off_names_the_budget(name: str, chosen: TrainConfig, enough: int) -> None:
    for epochs in (3, enough - 1):
        line = _line(name, chosen, epochs)
        assert f"never: --budget leaves {epochs} of 30 epochs, and with fewer than {enough} it does not begin" in line
        assert "--max-frames" not in line
    for epochs in (enough, 30):
        assert "never" not in _line(name, chosen, epochs)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"max_frames": 4}, "(--max-frames)"),
        ({"double_every": 30}, "(--epochs, --double-every)"),
        ({"double_every": 0}, "(--double-every 0)"),
    ],
)
def test_a_loss_that_all_epochs_do_not_reach_does_not_name_the_budget(changes: dict[str, Any], cause: str) -> None:
    for epochs in (3, 30):
        line = _line("video discriminator 1", LATE.model_copy(update=changes), epochs)
        assert "never: it needs sequences of 7 frames" in line
        assert cause in line
        assert "--budget" not in line


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return make_workspace(tmp_path / "work", num_clips=1, clip_frames=4)


def _state(options: RunOptions) -> Path:
    return Path(options.work, "checkpoints/spatial-1/state.json")


def _trained_epochs(options: RunOptions) -> int:
    return load_model(Folder(f"{options.work}/checkpoints/spatial-1"))[1].epochs


def test_a_budget_that_is_too_small_trains_the_least(options: RunOptions, capsys: pytest.CaptureFixture[str]) -> None:
    run(STAGE, config(budget="0.001 s"), options)
    told = capsys.readouterr()
    assert "budget    0.001 s: 3 of 30 epochs, the fewest that are trained" in told.out
    (end,) = (line for line in told.err.splitlines() if line.startswith("planned"))
    assert re.fullmatch(r"planned \d+ min \d\d s, took \d+ min \d\d s", end)
    assert _trained_epochs(options) == 3
    assert json.loads(_state(options).read_text())["fitted"] == {"budget": "0.001 s", "epochs": 3, "full_epochs": 30}
    assert status(STAGE, config(budget="0.001 s"), options) == "done"
    assert status(STAGE, config(budget="1 h"), options) == "stale: changed budget (was 0.001 s, now 1 h)"


def test_a_budget_that_is_enough_changes_nothing(options: RunOptions, capsys: pytest.CaptureFixture[str]) -> None:
    run(STAGE, config(budget="9 h", epochs=2), options)
    assert "budget    9 h: 2 of 2 epochs\n" in capsys.readouterr().out
    assert _trained_epochs(options) == 2


def test_a_resumed_training_has_the_number_of_its_snapshot(
    options: RunOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the machine is measured to do now: the snapshot says that 5 epochs were decided, of which 3 are done."""
    begun = config(budget="0.001 s")
    run(STAGE, begun, options)
    state, manifest = _state(options), _state(options).with_name("manifest.json")
    told = json.loads(state.read_text())
    state.write_text(json.dumps({**told, "fitted": {**told["fitted"], "epochs": 5}}))
    manifest.rename(manifest.with_name("manifest.partial.json"))
    capsys.readouterr()
    run(STAGE, begun, options)
    told = capsys.readouterr()
    assert "0.001 s: 5 of 30 epochs, as when this training began" in told.out
    assert "for the whole training, took" in told.err
    assert _trained_epochs(options) == 5


def test_continuing_keeps_the_number_until_budget_or_epochs_change(options: RunOptions) -> None:
    run(STAGE, config(budget="0.001 s"), options)
    go_on = RunOptions(work=options.work, continue_=True)
    with raises("training-finished", "--budget"):
        run(STAGE, config(budget="0.001 s", learning_rate=1e-4), go_on)
    with raises("training-finished", "--budget"):  # decided anew, and too little again
        run(STAGE, config(budget="0.002 s"), go_on)
    planned = run(STAGE, config(budget="9 h", epochs=4), RunOptions(work=options.work, continue_=True, dry_run=True))
    assert "budget    9 h: 4 of 4 epochs" in planned.message
    assert "this training's snapshot after 3 epochs" in planned.message
    run(STAGE, config(budget=None, epochs=4), go_on)
    assert _trained_epochs(options) == 4


def test_a_budget_needs_measured_steps(options: RunOptions) -> None:
    with raises("setting-conflict", "--budget", "--no-measure"):
        run(STAGE, config(budget="1 h", measure=False), options)


def test_a_plan_without_measured_steps_says_so(options: RunOptions, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run(STAGE, config(measure=False), replace(options, dry_run=True)).message
    assert "phase     epochs 1-30: up to 3 frames per sequence" in plan
    assert "not measured (--no-measure)" in plan
    assert "s per step" not in plan
    run(STAGE, config(measure=False, epochs=1), options)
    assert "planned" not in capsys.readouterr().err


def test_the_end_of_a_training_compares_its_time_with_the_plan() -> None:
    assert planned_and_took(480, 665, resumed=False) == "planned 8 min 00 s, took 11 min 05 s"
    assert planned_and_took(7500, 60, resumed=True) == (
        "planned 2 h 05 min for the whole training, took 1 min 00 s since it was resumed"
    )
