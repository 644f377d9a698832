"""`--shard`: two processes that share out the generator's weights, gradients, moments and EMA, over gloo on the CPU."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.errors import raises
from tests.unit.test_training_parallel import PAIR, launch
from tests.unit.training_data import make_workspace, same
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE

# Trains with the settings argv[2]; after argv[3] steps (0 = never) it snapshots and dies without a word. With Adam's
# usual epsilon, gradients that are rounding alone (of biases before a norm) would move weights as far as all others;
# with a usual learning rate, rounding grows twentyfold in a step (as between one process and two).
_SCRIPT = """
import json, os, sys
from dataclasses import replace
from v2vkit.pipeline.stage import RunOptions
from v2vkit.pipeline.runner import run
from v2vkit.stages.train import STAGE
from v2vkit.training import trainer
from v2vkit.training.config import TrainConfig
if __name__ == "__main__":
    steps, losses, fit, take_step = int(sys.argv[3]), [], trainer.Trainer.fit, trainer.take_step
    def noted(*args, **kwargs):
        losses.append(take_step(*args, **kwargs))
        return losses[-1]
    def held(tensors):
        return sum((tensor.to_local() if hasattr(tensor, "to_local") else tensor).numel() for tensor in tensors)
    def watched(self, method, state):
        for optimizer in state.optimizers.values():
            optimizer.param_groups[0]["eps"] = 0.01
        fit(replace(self, stop_after=(lambda now: now.steps >= steps) if steps else None), method, state)
        moments = [value for values in state.optimizers["generator"].state.values() for value in values.values()]
        shares = [held(tensors) for tensors in (state.parameters("generator"), state.ema.values(), moments)]
        print("REPORT", json.dumps({"losses": losses, "held": shares}), flush=True)
        if steps:
            os._exit(9)
    trainer.Trainer.fit, trainer.take_step = watched, noted
    run(STAGE, TrainConfig.model_validate_json(sys.argv[2]), RunOptions(work=sys.argv[1]))
"""
SETTINGS = PAIR.model_copy(
    update={
        "feature_dims": 3,
        "gradient_clip": 1.0,
        "gradient_checkpointing": True,
        "drop_history": 0.5,
        "learning_rate": 1e-5,
    }
)


def _train(work: Path, *, shard: bool, stop_after: int = 0) -> list[dict[str, Any]]:
    """Train, or continue to train, in two processes; what each of them reports."""
    script = work.parent / "train.py"
    script.write_text(_SCRIPT)
    if not work.exists():
        make_workspace(work, clip_frames=5)
    settings = SETTINGS.model_copy(update={"shard": shard}).model_dump_json()
    printed = launch([str(script), str(work), settings, str(stop_after)], processes=2, code=9 if stop_after else 0)
    return [json.loads(text.split("REPORT ")[1].splitlines()[0]) for text in printed]


def _snapshot(work: Path) -> dict[str, torch.Tensor]:
    (file,) = (work / "checkpoints/spatial-1").glob("state-*.safetensors")
    return load_file(file)


@pytest.mark.slow
def test_sharded_training_computes_the_same_and_resumes_with_and_without(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    plain, begun = _train(whole, shard=False, stop_after=2), _train(first, shard=True, stop_after=2)
    _check_alike(_snapshot(first), _snapshot(whole), moments=1e-4)
    _check_losses(begun, plain)
    for mine, full in zip(zip(*(report["held"] for report in begun), strict=True), plain[0]["held"], strict=True):
        assert full <= sum(mine) < 1.01 * full  # the moments' counts of steps are in both processes
        assert max(mine) < 0.6 * full
    shutil.copytree(first, second)
    plain = _train(whole, shard=False, stop_after=4)
    for path, shard in ((first, True), (second, False)):
        _check_losses(_train(path, shard=shard, stop_after=4), plain)
        _check_alike(_snapshot(path), _snapshot(whole), moments=0.1)
        model = load_file(path / "checkpoints/spatial-1/model.safetensors")
        assert same(model, {name: _snapshot(path)[f"ema/{name}"] for name in model})


def _check_losses(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> None:
    for one, other in zip(a[0]["losses"], b[0]["losses"], strict=True):
        assert one == pytest.approx(other, rel=2e-5)


def _check_alike(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], *, moments: float) -> None:
    """Snapshots differ by rounding: weights by far less than a step, moments by at most this share.

    Warping by a flow of almost nothing turns rounding into other neighbours and so into other gradients: within two
    steps, 4e-6 of the moments became 0.02.
    """
    assert {name: tensor.shape for name, tensor in a.items()} == {name: tensor.shape for name, tensor in b.items()}
    of_moments = [name for name in a if name.endswith(("/exp_avg", "/exp_avg_sq"))]
    for name in a.keys() - of_moments:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0.1 * SETTINGS.schedule.learning_rate, msg=name)
    for kind in ("/exp_avg", "/exp_avg_sq"):
        one, other = (torch.cat([of[name].flatten() for name in of_moments if name.endswith(kind)]) for of in (a, b))
        assert float((one - other).norm() / other.norm()) < moments


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("sharding")
    make_workspace(path, clip_frames=3)
    return str(path)


@pytest.mark.parametrize(
    ("processes", "changes", "names"),
    [
        (1, {}, ["torchrun"]),
        (2, {"zero": True, "compile": True}, ["--zero and --compile"]),
        (2, {"channels_last": True}, ["--channels-last"]),
    ],
)
def test_what_cannot_be_sharded_is_refused(
    work: str, monkeypatch: pytest.MonkeyPatch, processes: int, changes: dict[str, Any], names: list[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    with raises("setting-conflict", "--shard", *names):
        run(STAGE, PAIR.model_copy(update={"shard": True, **changes}), RunOptions(work=work))


def test_optimiser_states_are_not_shared_by_one_process(work: str) -> None:
    with raises("setting-conflict", "--zero", "torchrun"):
        run(STAGE, PAIR.model_copy(update={"zero": True}), RunOptions(work=work, dry_run=True))


def test_only_vid2vid_is_sharded(tmp_path: Path) -> None:
    with raises("setting-unused", "--shard", "covst"):
        run(STAGE, PAIR.model_copy(update={"shard": True, "method": "covst"}), RunOptions(work=str(tmp_path)))
