"""`v2v train`: trains a model on finished artifacts and writes `checkpoints/<stage>` or `checkpoints/<method>`."""

import contextlib
import signal
from collections.abc import Mapping
from functools import cache
from threading import Event
from typing import TYPE_CHECKING, Any

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, ShardEntry, entry_of
from v2vkit.engine.devices import fitting
from v2vkit.engine.interrupt import first_interrupt
from v2vkit.engine.launcher import launched_rank
from v2vkit.errors import counted
from v2vkit.pipeline.stage import Build, Stage, Whole
from v2vkit.stages.train_open import OpenedTraining, open_training, preview, preview_ahead
from v2vkit.stages.train_plan import check_training, making, training_inputs, training_sources
from v2vkit.stages.train_report import REPORTS
from v2vkit.stages.train_settings import parts, precheck, renew, resolve
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import method_spec

if TYPE_CHECKING:
    from v2vkit.checkpoint.train_state import TrainState
    from v2vkit.training.parallel import Parallel
    from v2vkit.training.schedule import Schedule


def _build(build: Build) -> tuple[ShardEntry, ...]:
    """Print the plan, train, and return the checkpoint's files.

    Raises:
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the first one in training leaves a snapshot and has a message.
    """
    from v2vkit.checkpoint.model_file import MODEL
    from v2vkit.checkpoint.snapshot import remove_damaged_snapshot
    from v2vkit.training.parallel import open_parallel

    config: TrainConfig = build.config
    # Before the processes synchronise, so that none of them reads it later.
    if build.options.overwrite and launched_rank() == 0 and remove_damaged_snapshot(build.folder):
        print(f"The training snapshot in {build.folder.url} cannot be used; training starts over.", flush=True)
    parallel = open_parallel(config.hardware.device)
    opened = open_training(build, parallel)
    if parallel.rank == 0:
        print(opened.plan, flush=True)
    _fit(build, opened, parallel)
    if parallel.rank != 0:
        return ()
    report = REPORTS.get(config.method)
    measured = () if report is None else report(build.folder, opened.dataset.reader, config.hardware.device)
    return (entry_of(MODEL, build.folder.read(MODEL)), *measured)


def _fit(build: Build, opened: OpenedTraining, parallel: "Parallel") -> None:
    """Train to the end, or until Ctrl-C or SIGTERM: the first one leaves a snapshot and has a message."""
    from v2vkit.checkpoint.model_file import save_model
    from v2vkit.training.plan import SMALLER
    from v2vkit.training.trainer import Trainer

    config: TrainConfig = build.config
    stop = Event()
    trainer = Trainer(
        config=config,
        dataset=opened.dataset,
        schedule=opened.schedule,
        context=method_spec(config.method).context(config),
        folder=build.folder,
        fingerprint=build.fingerprint,
        save_model=lambda state: save_model(
            build.folder, state.ema, opened.info.model_copy(update={"epochs": state.epoch, "steps": state.steps})
        ),
        device=opened.device,
        writer=_open_tensorboard(config, Folder(build.options.work)) if parallel.rank == 0 else None,
        parallel=parallel,
        threads=opened.threads,
        planned=opened.planned,
        continued=build.continued,
        begin=cache(build.begin),
        stop_after=lambda state: stop.is_set(),
    )
    # Several processes would have to agree on the batch, while their launcher already ends them.
    alone = parallel.num_processes == 1
    handled = first_interrupt(_STOPPING, stop, signals=_STOP_SIGNALS) if alone else contextlib.nullcontext()
    try:
        with fitting("This training", opened.device, SMALLER), handled:
            trainer.fit(opened.method, opened.state)
    finally:
        if trainer.writer is not None:
            trainer.writer.close()
    if stop.is_set():
        raise KeyboardInterrupt(_stopped(config, opened.state, opened.schedule))


_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STOPPING = "Stopping after this batch, with a snapshot to resume from. Ctrl-C again stops at once."


def _stopped(config: TrainConfig, state: "TrainState", schedule: "Schedule") -> str:
    epoch = min(state.epoch + 1, schedule.epochs)
    at = f"after {counted(state.steps, 'step')}, in epoch {epoch} of {schedule.epochs}"
    return f"{config.checkpoint}: stopped {at}; rerunning the command resumes there."


def _open_tensorboard(config: TrainConfig, work: Folder) -> Any:
    """A SummaryWriter in <work>/logs; None if switched off, not installed, or the workspace is remote."""
    if not config.output.tensorboard or "://" in work.url:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed; no logs are written. Install it with: pip install 'v2vkit[tensorboard]'")
        return None
    return SummaryWriter(f"{work.path}/logs/{config.checkpoint}")


def _continued(config: TrainConfig, old: Manifest, changed: Mapping[str, str], folder: Folder) -> str:
    from v2vkit.training.continuing import continued_snapshot

    return continued_snapshot(config, old, changed, folder)


def _advice(config: TrainConfig, old: Manifest, changed: Mapping[str, str]) -> str:
    from v2vkit.training.continuing import advice

    return advice(config, old, changed)


STAGE = Stage(
    name="train",
    config=TrainConfig,
    version=1,
    output=lambda config: f"checkpoints/{config.checkpoint}",
    make=Whole(_build, preview, preview_ahead, _continued),
    inputs=training_inputs,
    making=making,
    sources=training_sources,
    parts=parts,
    precheck=precheck,
    resolve=resolve,
    renew=renew,
    check=check_training,
    stale_hint=_advice,
)
