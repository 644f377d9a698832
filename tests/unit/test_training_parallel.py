"""Several processes on one training run, over gloo on the CPU."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.training_data import SMALL, begin, make_workspace, open_dataset, same
from v2vkit.training.config import TrainConfig

pytest.importorskip("lightning")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ONE = SMALL.model_copy(
    update={"epochs": 1, "decay": 0.0, "max_frames": 3, "temporal_scales": 1, "threads": 1, "chunk": 3}
)
# Two sequences per batch, and enough steps to stop in the middle.
PAIR = SMALL.model_copy(
    update={"batch_size": 2, "drop_history": 0.0, "threads": 1, "epochs": 2, "decay": 0.5, "foreground": ()}
)

# Trains with the settings argv[2]; after argv[3] steps (0 = never) it snapshots and dies without a word.
_SCRIPT = """
import os, sys
from dataclasses import replace
from v2vkit.pipeline.stage import RunOptions
from v2vkit.pipeline.runner import run
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig
from v2vkit.training.trainer import Trainer
if __name__ == "__main__":
    steps, fit = int(sys.argv[3]), Trainer.fit
    def watched(trainer, method, state):
        fit(replace(trainer, stop_after=(lambda now: now.steps >= steps) if steps else None), method, state)
        moments = [getattr(optimizer, "optim", optimizer).state for optimizer in state.optimizers.values()]
        print("MOMENTS", sum(v.numel() for state in moments for values in state.values() for v in values.values()))
        if steps:
            sys.stdout.flush()
            os._exit(9)
    Trainer.fit = watched
    run(STAGE, TrainConfig.model_validate_json(sys.argv[2]), RunOptions(work=sys.argv[1]))
"""

# Trains with the settings argv[2]; before any restart, the second process dies after two steps and a snapshot.
_DIES_ONCE = """
import os, sys, time
from dataclasses import replace
from v2vkit.artifacts.folder import Folder
from v2vkit.checkpoint.snapshot import read_progress
from v2vkit.pipeline.stage import RunOptions
from v2vkit.pipeline.runner import run
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig
from v2vkit.training.trainer import Trainer
if __name__ == "__main__":
    fit, first = Trainer.fit, os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    def watched(trainer, method, state):
        folder = Folder(sys.argv[1] + "/checkpoints/spatial-1")
        before = read_progress(folder)
        # a file for each process: what several of them print to one pipe gets mixed
        found = sys.argv[1] + f"/found-{os.environ['RANK']}-{os.environ['TORCHELASTIC_RESTART_COUNT']}"
        with open(found, "w") as file:
            file.write(str(before and before.steps))
        fit(replace(trainer, stop_after=(lambda now: now.steps >= 2) if first else None), method, state)
        if first and os.environ["RANK"] == "1":
            while read_progress(folder) is None:
                time.sleep(0.1)  # until the first process has saved
            os._exit(9)
        while first:
            time.sleep(1)  # until the launcher ends this process
    Trainer.fit = watched
    run(STAGE, TrainConfig.model_validate_json(sys.argv[2]), RunOptions(work=sys.argv[1]))
"""

# Runs the stage with the settings argv[2]; the first process finishes each folder when the second waits for it.
_LATE = """
import os, sys, time
from pathlib import Path
from v2vkit.pipeline import runner
from v2vkit.pipeline.stage import RunOptions
from v2vkit.stages.train import STAGE
from v2vkit.training.config import TrainConfig
if __name__ == "__main__":
    write, agree, calls, finished = runner.write_manifest, runner.agree, Path(sys.argv[1], "calls"), []
    calls.touch()
    def late(folder, manifest, *name):
        if not name:
            finished.append(folder)
            while calls.stat().st_size < 2 * len(finished):  # one before the folder is begun, one after it is finished
                time.sleep(0.05)
        write(folder, manifest, *name)
    def noted(yes):
        with calls.open("a") as file:
            file.write(".")
        return agree(yes)
    if os.environ["RANK"] == "0":
        runner.write_manifest = late
    else:
        runner.agree = noted
    settings = TrainConfig.model_validate_json(sys.argv[2])
    print(runner.run(STAGE, settings, RunOptions(work=sys.argv[1])).message)
"""

# A stage that several processes make together and of which the first cannot write the manifest.
_UNFINISHED = """
import sys
from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import entry_of
from v2vkit.config import StageConfig
from v2vkit.errors import V2VError
from v2vkit.pipeline.stage import RunOptions, Stage, Whole
from v2vkit.pipeline.runner import run
from v2vkit.training.parallel import open_parallel

def build(build):
    open_parallel("cpu")
    build.begin()
    write = Folder.write
    def full(folder, name, data):
        if name == "manifest.json":
            raise V2VError("The disk is full.", "Free some space.")
        write(folder, name, data)
    Folder.write = full
    return (entry_of("model", b"weights"),)

if __name__ == "__main__":
    run(Stage("fake", StageConfig, 1, lambda config: "made", Whole(build)), StageConfig(), RunOptions(sys.argv[1]))
"""


def launch(command: list[str], *, processes: int, code: int = 0) -> list[str]:
    """Run a command in several processes, with the variables that torchrun sets; what each of them printed."""
    common = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            env=common if processes == 1 else {**common, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate(timeout=800)[0] for process in started]
    assert [process.returncode for process in started] == [code] * processes, outputs
    return outputs


def train_command(work: Path, config: TrainConfig) -> list[str]:
    flags = ["--stage", "spatial-1", "--work", str(work), "--no-tensorboard"]
    for name in (
        "preset",
        "width",
        "num_down",
        "num_blocks",
        "discriminator_width",
        "epochs",
        "decay",
        "device",
    ):
        flags += [f"--{name.replace('_', '-')}", str(config.value(name))]
    for name in (
        "first_frames",
        "max_frames",
        "chunk",
        "domain",
        "num_labels",
        "temporal_scales",
        "threads",
        "precision",
        "feature_dims",
    ):
        flags += [f"--{name.replace('_', '-')}", str(config.value(name))]
    return ["train", *flags, "--batch-size", "2", "--drop-history", "0", "--sample-every", "0"]


@pytest.mark.parametrize("dims", [0, 3])
def test_two_processes_train_like_one(tmp_path: Path, dims: int) -> None:
    """Data parallel over gloo: the batch is shared out, gradients averaged, rank 0 writes."""
    config = ONE.model_copy(update={"feature_dims": dims})
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        make_workspace(path, clip_frames=3)
    launch(["-m", "v2vkit", *train_command(one, config)], processes=1)
    outputs = launch(["-m", "v2vkit", *train_command(two, config)], processes=2)
    assert "plan:" in outputs[0]
    assert "plan:" not in outputs[1]
    alone, together = (load_file(path / "checkpoints/spatial-1/model.safetensors") for path in (one, two))
    assert _apart(alone, together, config, one) < 0.1


def test_every_process_trains_the_epochs_that_the_first_one_fits_into_the_budget(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT)
    make_workspace(tmp_path / "work", clip_frames=3)
    config = ONE.model_copy(update={"batch_size": 2, "epochs": 3, "drop_history": 0.0, "foreground": ()})
    settings = json.loads(config.model_dump_json()) | {"budget": "0.001 s", "measure": True}
    first, _ = launch([str(script), str(tmp_path / "work"), json.dumps(settings), "0"], processes=2)
    assert "0.001 s: 2 of 3 epochs" in first
    progress = json.loads((tmp_path / "work/checkpoints/spatial-1/state.json").read_text())
    assert progress["epoch"] == progress["fitted"]["epochs"] == 2


def test_a_finer_scale_waits_for_the_first_process_to_finish_the_coarser_one(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(_LATE)
    work = tmp_path / "work"
    make_workspace(work, clip_frames=3)
    scales = {"stage": "all", "num_scales": 2, "discriminator_width": 64}
    settings = ONE.model_copy(update={"batch_size": 2, "foreground": (), **scales})
    first, second = launch([str(script), str(work), settings.model_dump_json()], processes=2)
    assert first.count("made by train") == 2
    assert second.count("made with the other processes") == 2
    assert len(list(work.glob("checkpoints/*/manifest.json"))) == 2


def test_a_first_process_that_cannot_finish_leaves_no_other_waiting(tmp_path: Path) -> None:
    script = tmp_path / "build.py"
    script.write_text(_UNFINISHED)
    first, second = launch([str(script), str(tmp_path / "work")], processes=2, code=1)
    assert "The disk is full" in first
    assert "The first process could not finish" in second


def _apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], config: TrainConfig, work: Path) -> float:
    """How far two trained generators are from each other, as a share of how far training has moved the first.

    Adam makes every gradient equally large, those near zero too, and so rounding (averaged gradients are summed in
    another order) grows from step to step. Convolution biases before a norm have no gradient but rounding.
    """
    config = config.model_copy(update={"foreground": ()})
    begun = begin(config, open_dataset(str(work)).source, torch.device("cpu")).state.ema
    names = [name for name in begun if begun[name].dim() == 4]
    moved = sum(float((a[name] - begun[name]).norm()) for name in names)
    return sum(float((a[name] - b[name]).norm()) for name in names) / moved


def _states(work: Path) -> dict[str, torch.Tensor]:
    (file,) = (work / "checkpoints/spatial-1").glob("state-*.safetensors")
    return load_file(file)


def test_sharded_and_resumed_training_is_bit_equal(tmp_path: Path) -> None:
    """Moments shared out between processes, collected for a snapshot and handed out again, change no bit."""
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT)
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    printed = {}
    for work, zero, steps in ((whole, False, 0), (halved, True, 2), (halved, True, 0)):
        make_workspace(work, clip_frames=6)
        config = PAIR.model_copy(update={"zero": zero, "feature_dims": 3})
        command = [str(script), str(work), config.model_dump_json(), str(steps)]
        printed[zero] = launch(command, processes=2, code=9 if steps else 0)
    assert same(_states(whole), _states(halved))
    full, *shares = (int(text.split("MOMENTS ")[1].split()[0]) for text in (printed[False][0], *printed[True]))
    assert sum(shares) == full
    assert max(shares) < 0.7 * full


@pytest.mark.parametrize("processes", [(1, 2), (2, 1)], ids=["one, then two", "two, then one"])
def test_training_resumes_on_another_number_of_processes(tmp_path: Path, processes: tuple[int, int]) -> None:
    script = tmp_path / "train.py"
    script.write_text(_SCRIPT)
    whole, changed = tmp_path / "whole", tmp_path / "changed"
    short = PAIR.model_copy(update={"max_frames": 3, "chunk": 3, "epochs": 2, "decay": 0.0})  # two steps
    for work, number, steps in ((whole, 1, 0), (changed, processes[0], 1), (changed, processes[1], 0)):
        make_workspace(work, clip_frames=5)
        config = short.model_copy(update={"zero": number > 1})
        launch([str(script), str(work), config.model_dump_json(), str(steps)], processes=number, code=9 if steps else 0)
    alone, together = _states(whole), _states(changed)
    assert alone.keys() == together.keys()
    for name in alone:
        if name.endswith("/step"):
            assert torch.equal(alone[name], together[name])
    # Rounding (see `_apart`) grows least in the image discriminator's first moments: 0.05 and 0.1 here. Without the
    # moments of the step before they would be apart by 0.4.
    names = [name for name in alone if name.startswith("optimizer/image/") and name.endswith("/exp_avg")]
    a, b = (torch.cat([state[name].flatten() for name in names]) for state in (alone, together))
    assert float((a - b).norm() / a.norm()) < 0.2


def test_a_launcher_that_restarts_a_dead_process_gets_the_same_weights(tmp_path: Path) -> None:
    """`torchrun --max-restarts`: all processes are started again, and resume from the snapshot."""
    plain, fragile = tmp_path / "train.py", tmp_path / "fragile.py"
    plain.write_text(_SCRIPT)
    fragile.write_text(_DIES_ONCE)
    whole, restarted = tmp_path / "whole", tmp_path / "restarted"
    for work in (whole, restarted):
        make_workspace(work, clip_frames=6)
    launch([str(plain), str(whole), PAIR.model_dump_json(), "0"], processes=2)
    launcher = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "1",
        "--monitor-interval",
        "1",
    ]
    launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    launch([*launcher, str(fragile), str(restarted), PAIR.model_dump_json()], processes=1)
    found = {path.name: path.read_text() for path in restarted.glob("found-*")}
    assert found == {"found-0-0": "None", "found-1-0": "None", "found-0-1": "2", "found-1-1": "2"}
    assert same(_states(whole), _states(restarted))
