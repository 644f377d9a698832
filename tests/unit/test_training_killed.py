"""Training killed at any moment goes on from its last snapshot and ends with the same bits, whatever the stage."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.unit.training_data import SMALL, make_workspace, same
from v2vkit.pipeline.runner import run
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
ALONE = SMALL.model_copy(update={"threads": 1, "save_every": 0.0, "sample_every": 4})
TWO = ALONE.model_copy(
    update={"num_scales": 2, "discriminator_width": 64, "epochs": 1, "temporal_scales": 1, "max_frames": 4}
)
FINE = TWO.model_copy(update={"stage": "spatial-2", "fix_epochs": 1})
UNUSED = {"first_frames": 4, "double_every": 5, "max_frames": 16, "drop_history": 0.2}
IMAGE = ALONE.model_copy(update={"method": "pix2pixhd", "foreground": (), "flip": True} | UNUSED)

# To be killed, it makes two snapshots and waits: however fast it is, it does not finish before.
_KILLED = """
import itertools, sys, time
from dataclasses import replace
from v2vkit.pipeline.stage import RunOptions
from v2vkit.pipeline.runner import run
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig
from v2vkit.training.trainer import Trainer
if __name__ == "__main__":
    batches, fit = itertools.count(1), Trainer.fit
    def waiting(trainer, method, state):
        stop = lambda state: next(batches) > 2 and time.sleep(3600)
        return fit(replace(trainer, stop_after=stop), method, state)
    if sys.argv[3] == "kill":
        Trainer.fit = waiting
    run(STAGE, TrainConfig.model_validate_json(sys.argv[2]), RunOptions(work=sys.argv[1]))
"""


def _train_and_kill(script: Path, work: str, config: TrainConfig, folder: Path, *, kill: bool) -> bool:
    """Train in a process of its own; with `kill`, SIGKILL it when its next snapshot is there. Whether it was killed."""
    state = folder / "state.json"
    before = state.read_text() if state.exists() else ""
    command = [sys.executable, str(script), work, config.model_dump_json(), "kill" if kill else "finish"]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT)
    while kill and process.poll() is None:
        if state.exists() and state.read_text() != before:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    return process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("coarser", "config"),
    [
        (None, ALONE),
        (TWO, FINE),
        (None, IMAGE),
        (None, IMAGE.model_copy(update={"method": "covst", "first_frames": 3, "max_frames": 8})),
    ],
    ids=["spatial-1", "spatial-2", "pix2pixhd", "covst"],
)
def test_killed_training_resumes_to_the_same_weights(
    tmp_path: Path, coarser: TrainConfig | None, config: TrainConfig
) -> None:
    whole, killed = make_workspace(tmp_path / "whole"), make_workspace(tmp_path / "killed")
    for options in (whole, killed):
        if coarser is not None:
            run(STAGE, coarser, options)
    run(STAGE, config, whole)
    script = tmp_path / "train.py"
    script.write_text(_KILLED)
    folder = tmp_path / "killed/checkpoints" / config.checkpoint
    for _ in range(2):
        assert _train_and_kill(script, killed.work, config, folder, kill=True)
        assert not (folder / "manifest.json").exists()
    assert not _train_and_kill(script, killed.work, config, folder, kill=False)
    assert (folder / "manifest.json").exists()
    made = tmp_path / "whole/checkpoints" / config.checkpoint
    assert same(load_file(folder / "model.safetensors"), load_file(made / "model.safetensors"))
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in made.iterdir())
    final = [sorted(path.glob("state-*.safetensors")) for path in (folder, made)]
    assert [len(files) for files in final] == [1, 1]
    assert same(*(load_file(files[0]) for files in final))  # discriminators and optimisers too
