"""A loss is added in one place, as a row: plan, training, logs and the rules of `--continue` follow."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.errors import raises
from tests.unit.training_data import SMALL, make_workspace
from v2vkit.config import setting
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE
from v2vkit.training.adversarial import image_inputs
from v2vkit.training.check import check_settings
from v2vkit.training.config import TrainConfig
from v2vkit.training.generated import GeneratedChunk
from v2vkit.training.loss_settings import LossSettings
from v2vkit.training.methods import vid2vid
from v2vkit.training.terms import FROM_NOTHING, LossTerm, may_change


class MoreLosses(LossSettings):
    """Weights of the losses."""

    lambda_dark: float = setting(0.0, "Weight of a loss on bright frames.", ge=0)


class Config(TrainConfig):
    """With one weight more."""

    losses: MoreLosses = MoreLosses()


DARK = LossTerm(
    "G_Dark",
    "darkness",
    "mean of x_fake",
    "lambda_dark",
    needs=(FROM_NOTHING,),
    compute=lambda chunk: brightness(chunk),
)
SECOND = LossTerm("Second", "second opinion", "another D", "lambda_dark", network="second", compute=image_inputs)
TRAIN = replace(STAGE, config=Config)
BASE = Config(**SMALL.model_dump()).model_copy(
    update={"epochs": 2, "decay": 0.0, "max_frames": 3, "temporal_scales": 1, "learning_rate": 1e-2, "foreground": ()}
)


def brightness(chunk: GeneratedChunk) -> Any:
    return chunk.fakes[0].mean()


def changed(**changes: object) -> Config:
    return BASE.model_copy(update=changes)


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a row beside those of vid2vid."""
    plain = vid2vid.VID2VID

    def put(row: LossTerm) -> None:
        spec = replace(plain, losses=lambda config: (*plain.losses(config), row))
        monkeypatch.setattr(vid2vid, "VID2VID", spec)

    return put


@pytest.fixture
def scalars(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """What TensorBoard is told."""
    found: list[tuple[str, float]] = []
    writer = SimpleNamespace(
        add_scalar=lambda name, value, step: found.append((name, value)), add_image=None, close=lambda: None
    )
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=lambda path: writer))
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "work"
    make_workspace(path, num_clips=1, clip_frames=8)
    return path


@pytest.fixture
def options(data: Path, tmp_path: Path) -> RunOptions:
    for kind in ("frames", "labels", "flow"):
        (tmp_path / kind).symlink_to(data / kind)
    return RunOptions(work=str(tmp_path))


def mean_of(scalars: list[tuple[str, float]], name: str) -> float:
    """Of the last steps."""
    return sum([value for key, value in scalars if key == name][-2:]) / 2


def test_a_row_is_all_that_a_loss_needs(
    options: RunOptions, add: Any, scalars: list[tuple[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    add(DARK)
    run(TRAIN, changed(lambda_dark=1000.0, tensorboard=True), options)
    assert "loss      darkness 1000 (mean of x_fake)" in capsys.readouterr().out
    dark = mean_of(scalars, "loss/G_Dark")
    scalars.clear()
    longer = changed(lambda_dark=2000.0, epochs=3, tensorboard=True)
    with raises("artifact-stale", "lambda_dark (was 1000.0, now 2000.0)", "--continue"):
        run(TRAIN, longer, options)
    run(TRAIN, longer, replace(options, continue_=True))
    assert "this training's snapshot after 2 epochs" in capsys.readouterr().out
    assert mean_of(scalars, "loss/G_Dark") < dark < 0  # and darker still
    off = run(TRAIN, changed(), replace(options, overwrite=True, dry_run=True)).message
    assert "loss      darkness OFF (--lambda-dark 0)" in off
    real = run(TRAIN, changed(first_frame="real", drop_history=0.2), replace(options, overwrite=True, dry_run=True))
    assert "loss      darkness OFF (--first-frame real)" in real.message


def test_without_the_row_its_weight_is_refused(options: RunOptions, add: Any) -> None:
    unknown = changed(lambda_dark=1.0)
    assert not [term for term in vid2vid.VID2VID.losses(unknown) if term.weight == "lambda_dark"]
    add(DARK)
    with raises("setting-unused", "--lambda-dark", "pix2pixhd"):
        run(TRAIN, Config(method="pix2pixhd", domain="street", lambda_dark=1.0), options)
    with raises("setting-unused", "--lambda-dark", "--first-frame self"):
        check_settings(changed(lambda_dark=1.0, first_frame="real", drop_history=0.2), {})


def test_a_row_with_a_network_has_it_built_trained_and_kept(
    options: RunOptions, add: Any, scalars: list[tuple[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    add(SECOND)
    run(TRAIN, changed(lambda_dark=1.0, tensorboard=True), options)
    assert "network   second: " in capsys.readouterr().out
    assert {"loss/G_Second", "loss/G_Second_Feat", "loss/D_Second_real"} <= {name for name, _ in scalars}
    (state,) = Path(options.work, "checkpoints/spatial-1").glob("state-*.safetensors")
    assert any(name.startswith("optimizer/second/") for name in load_file(state))
    resume = replace(options, continue_=True)
    with raises("setting-fixed", "lambda_dark (was 1.0, now 0.0)"):
        run(TRAIN, changed(lambda_dark=0.0, epochs=3), resume)
    run(TRAIN, changed(lambda_dark=3.0, epochs=3), resume)


@pytest.mark.parametrize(
    ("row", "name", "old", "new", "may"),
    [
        (DARK, "lambda_dark", 0.0, 1.0, True),
        (SECOND, "lambda_dark", 0.0, 1.0, False),
        (SECOND, "lambda_dark", 2.0, 1.0, True),
        (DARK, "epochs", 2, 1, False),
    ],
)
def test_a_weight_may_change_unless_a_network_comes_or_goes(
    row: LossTerm, name: str, old: float, new: float, may: bool
) -> None:
    assert may_change((row,), name, old, new) is may
