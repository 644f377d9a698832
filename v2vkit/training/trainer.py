"""The training loop, independent of the method."""

import copy
import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.images import encode_png
from v2vkit.checkpoint.snapshot import FittedSchedule, load_state, save_state, snapshot_tensors
from v2vkit.checkpoint.train_state import TrainState, parameters_of, saved_weights
from v2vkit.engine.cores import UNCHANGED_THREADS, Threads, follow_idle_cores
from v2vkit.engine.precision import make_scaler
from v2vkit.errors import V2VError, counted
from v2vkit.progress import Progress, progress
from v2vkit.training.budget import planned_and_took
from v2vkit.training.config import TrainConfig
from v2vkit.training.data.dataset import VideoDataset
from v2vkit.training.data.loader import clip_sampler, open_batches
from v2vkit.training.data.sampler import ClipSampler
from v2vkit.training.methods.base import Method, StepContext
from v2vkit.training.parallel import ALONE, Parallel
from v2vkit.training.schedule import Schedule, frames_at, full_epoch, full_progress, learning_rate_factor
from v2vkit.training.sharding import gather, shard_state, whole


def new_state(config: TrainConfig, method: Method, device: torch.device, parallel: Parallel = ALONE) -> TrainState:
    """The state before the first step: new optimisers, EMA equal to the weights.

    Args:
        parallel: the processes over which `--zero` distributes the optimiser states.
    """
    networks = method.networks()
    names = dict.fromkeys(network.optimizer for network in networks.values())
    optimizers = {
        name: parallel.adam(
            parameters_of(networks, name),
            zero=config.hardware.zero,
            lr=config.schedule.learning_rate,
            betas=(0.5, 0.999),
            fused=device.type in ("cpu", "cuda"),
        )
        for name in names
    }
    ema = {name: copy.deepcopy(tensor.detach()) for name, tensor in saved_weights(networks).items()}
    return TrainState(networks, optimizers, make_scaler(config.hardware.precision, device), ema)


def take_step(
    method: Method,
    state: TrainState,
    chunk: Any,
    at: StepContext,
    *,
    gradient_clip: float = 0.0,
    parallel: Parallel = ALONE,
) -> dict[str, float]:
    """One optimiser step on a chunk: gradients are unscaled and clipped.

    Args:
        at: with the `averaged` of the other processes, if there are any.

    Returns:
        The unweighted losses, means over the processes.

    Raises:
        V2VError: a loss or a gradient is not finite; the message names it, and nothing is updated. (With fp16 gradients
            may be infinite; such a step is skipped.)
    """
    for optimizer in state.optimizers.values():
        optimizer.zero_grad()
    terms = method.step(chunk, at)
    norms, updated = {}, []
    for name, optimizer in state.optimizers.items():
        parameters = state.parameters(name)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            continue
        updated.append(optimizer)
        state.scaler.unscale_(optimizer)
        norms[f"the gradient of {name}"] = norm = whole(torch.nn.utils.get_total_norm(gradients))
        if gradient_clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, gradient_clip, norm)
    assert updated, "a step without any gradient"
    # Read together, because every read waits for the GPU.
    losses = parallel.mean(torch.stack(list(terms.values())))
    numbers = torch.cat([losses, torch.stack(list(norms.values()))]).tolist()
    values = dict(zip(terms, numbers, strict=False))
    _refuse_non_finite(values)
    if not state.scaler.is_enabled():
        _refuse_non_finite(dict(zip(norms, numbers[len(terms) :], strict=True)))
    for optimizer in updated:
        state.scaler.step(optimizer)
    state.scaler.update()
    state.steps += 1
    return values


def _refuse_non_finite(values: dict[str, float]) -> None:
    wrong = [name for name, value in values.items() if not abs(value) < float("inf")]
    if wrong:
        raise V2VError(
            "training-diverged",
            f"Training stopped: {', '.join(wrong)} is not a finite number.",
            "Rerunning will fail again. Resume the last snapshot with --continue and a lower --learning-rate; where "
            "there is no snapshot yet, give --overwrite instead of --continue.",
        )


@dataclass(frozen=True)
class Trainer:
    """Trains a method to the end of its schedule, resuming a stopped run exactly.

    Attributes:
        schedule: of the method, shortened where a budget has left fewer epochs.
        dataset: the training windows; their first `context` frames are real ones.
        folder: for snapshots, the model file and sample grids.
        fingerprint: of this run; its snapshot is resumed.
        save_model: writes the model file from the state.
        writer: a TensorBoard SummaryWriter, or None.
        parallel: the other processes of this run; only the first one writes.
        threads: torch's threads; if automatic, their number follows the idle cores.
        planned: seconds that the whole schedule takes by the plan; None = not measured.
        continued: checksum of the snapshot of a run with other settings, to resume (`--continue`).
        begin: called before the first write to `folder`, which is after the first step: an error in it, or in the data
            that it reads, leaves an earlier training's files there. Later calls do nothing.
        stop_after: called after every batch; True saves a snapshot and stops.
    """

    config: TrainConfig
    dataset: VideoDataset
    schedule: Schedule
    context: int
    folder: Folder
    fingerprint: str
    save_model: Callable[[TrainState], None]
    device: torch.device
    writer: Any = None
    parallel: Parallel = ALONE
    threads: Threads = UNCHANGED_THREADS
    planned: float | None = None
    continued: str | None = None
    begin: Callable[[], None] = lambda: None
    stop_after: Callable[[TrainState], bool] | None = None

    def fit(self, method: Method, state: TrainState) -> bool:
        """Train `method` from `state`, or from this run's snapshot in `folder` if there is one.

        Returns:
            Whether the schedule was finished.

        Raises:
            V2VError: a loss is not finite, the disk is full, the snapshot is damaged.
        """
        load_state(self.folder, state, fingerprint=self.fingerprint, continued=self.continued)
        if self.config.hardware.shard:
            shard_state(state, self.device)
        for module in state.modules.values():
            module.train()
        clips, epochs = self.dataset.reader.clips, self.schedule.epochs
        sampler = clip_sampler(self.config, clips, schedule=self.schedule, context=self.context)
        averaged = self.parallel.averaging(state.networks)
        plans = sampler.remaining(epochs, epoch=state.epoch, batch=state.batch)
        began = saved_at = time.monotonic()
        resumed = state.steps > 0
        with (
            open_batches(self.config, self.dataset, plans, self.device, parallel=self.parallel) as loaded,
            self._progress(sampler, state) as shown,
        ):
            if resumed:
                shown.write(
                    f"resumed after {counted(state.steps, 'step')}, in epoch {min(state.epoch + 1, epochs)} of {epochs}"
                )
            loaded = follow_idle_cores(loaded, self.threads, tell=shown.write)
            for epoch in range(state.epoch, epochs):
                rate = self._set_learning_rate(state, epoch)
                num_batches = len(sampler.batches(epoch))
                values: dict[str, float] = {}
                for number in range(state.batch, num_batches):
                    at = StepContext(
                        full_epoch(self.schedule, epoch),
                        full_progress(self.schedule, epoch + number / num_batches),
                        frames_at(self.schedule, epoch),
                        state.scaler.scale,
                        averaged,
                    )
                    for chunk in method.chunks(next(loaded)):
                        values = self._step(method, state, chunk, at)
                        shown.update(method.num_frames(chunk))
                        self._log(method, state, chunk, values, rate)
                    state.epoch, state.batch = (epoch + 1, 0) if number + 1 == num_batches else (epoch, number + 1)
                    stop = self.stop_after is not None and self.stop_after(state)
                    due = time.monotonic() - saved_at >= self.config.output.save_every
                    if self.parallel.agree(stop or due):
                        self._save(state)
                        saved_at = time.monotonic()
                    if stop:
                        return False
                if not values:  # after --continue with longer sequences, this epoch may have no batches left
                    state.epoch, state.batch = epoch + 1, 0
                shown.note(", ".join(f"{name} {values[name]:.3f}" for name in method.headline if name in values))
            if self.planned is not None:
                shown.write(planned_and_took(self.planned, time.monotonic() - began, resumed=resumed))
        self._save(state)
        return True

    def _progress(self, sampler: ClipSampler, state: TrainState) -> AbstractContextManager[Progress]:
        """Progress bar over the generated frames of the whole schedule, starting at the state's position."""
        total = done = 0
        for epoch in range(self.schedule.epochs):
            for number, batch in enumerate(sampler.batches(epoch)):
                frames = sampler.num_generated(batch)
                total += frames
                done += frames if (epoch, number) < (state.epoch, state.batch) else 0
        return progress(total, done=done, desc=self.config.checkpoint, quiet=bool(self.parallel.rank))

    def _set_learning_rate(self, state: TrainState, epoch: int) -> float:
        """Set the epoch's learning rate in every optimiser; returns it."""
        rate = self.config.schedule.learning_rate * learning_rate_factor(self.schedule, epoch)
        for optimizer in state.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        return rate

    def _step(self, method: Method, state: TrainState, chunk: Any, at: StepContext) -> dict[str, float]:
        clip = self.config.schedule.gradient_clip
        values = take_step(method, state, chunk, at, gradient_clip=clip, parallel=self.parallel)
        state.update_ema(self.config.schedule.ema)
        return values

    def _log(self, method: Method, state: TrainState, chunk: Any, values: dict[str, float], rate: float) -> None:
        """TensorBoard scalars of every step and sample grids of some; which ones depends only on the step number."""
        for name, value in values.items() if self.writer is not None else ():
            self.writer.add_scalar(f"loss/{name}", value, state.steps)
        if self.writer is not None:
            self.writer.add_scalar("learning_rate", rate, state.steps)
        self.begin()
        every = self.config.output.sample_every
        if self.parallel.rank == 0 and every and (state.steps == 1 or state.steps % every == 0):
            grid = method.sample(chunk)
            self.folder.write(f"sample-{state.steps:08d}.png", encode_png(grid))
            if self.writer is not None:
                self.writer.add_image("sample", grid, state.steps, dataformats="HWC")

    def _save(self, state: TrainState) -> None:
        self.begin()
        self.parallel.collect(state.optimizers.values())
        first = self.parallel.rank == 0
        tensors = None
        if self.config.hardware.shard:
            tensors = gather(snapshot_tensors(state), keep=first)
        if first:
            budget, schedule = self.config.schedule.budget, self.schedule
            full = schedule.full_epochs or schedule.epochs
            fitted = (
                None if budget is None else FittedSchedule(budget=str(budget), epochs=schedule.epochs, full_epochs=full)
            )
            save_state(self.folder, state, fingerprint=self.fingerprint, fitted=fitted, tensors=tensors)
            if tensors is not None:
                state = dataclasses.replace(state, ema={name: tensors[f"ema/{name}"] for name in state.ema})
            self.save_model(state)
