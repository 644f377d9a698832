"""`v2v estimate-cost`: what a recipe costs for hours of footage, from rates measured on a short sample of it."""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest, read_manifest
from v2vkit.cli.recipe import read_steps
from v2vkit.config import StageConfig, as_absolute, setting
from v2vkit.errors import V2VError, counted
from v2vkit.pipeline.runner import run
from v2vkit.pipeline.stage import Command, PerClip, RunOptions, Stage
from v2vkit.pipeline.staleness import resolved


class CostConfig(StageConfig):
    """Estimate what a recipe costs for hours of footage: frames, bytes of every artifact, core-hours of every stage.

    The stages run on the first frames of the recipe's sources, in a temporary workspace, at two lengths: the difference
    is the rate without the time to start. Training is measured on a few steps, as its plan does. Name a few typical
    clips with --set ingest.sources, because every source that the recipe names is sampled.

    Core-hours are CPU time, which other programs on this machine raise (by half in a measurement): use an idle machine.
    Hours of training are those of one process on the device of the recipe. Tables with a workspace of their own, and
    commands that make no artifact, are not estimated.
    """

    recipe: str = setting(..., "TOML recipe: one table per stage.", argument=True)
    hours: float = setting(1000.0, "Hours of footage.", gt=0)
    sample: int = setting(
        96, "Frames of every source to measure on; a quarter of them makes the shorter sample.", ge=32
    )
    set: tuple[str, ...] = setting((), "Override one setting: TABLE.KEY=VALUE (VALUE as in TOML).", metavar="T.K=V")
    json_file: str | None = setting(None, "Also write the figures to this file, as JSON.", metavar="FILE")


@dataclass(frozen=True)
class StageCost:
    """One row of the estimate.

    Attributes:
        stage: the command.
        artifacts: what it makes.
        bytes: of these artifacts, for all frames.
        core_hours: CPU time for all frames; None for training.
        hours: of one process for all frames, measured on this machine as busy as it was.
        device: where training was measured; empty for other stages.
        memory_bytes: peak memory of a training step; 0 for other stages.
    """

    stage: str
    artifacts: str
    bytes: int = 0
    core_hours: float | None = None
    hours: float = 0.0
    device: str = ""
    memory_bytes: int = 0


@dataclass(frozen=True)
class _Sample:
    """One run of a stage: its time in seconds, and what it made."""

    cpu: float
    elapsed: float
    frames: int
    bytes: int


def cost_command(load: Callable[[str], Any]) -> Command:
    """The command `estimate-cost`; `load` gives the other commands by name."""
    return Command(
        name="estimate-cost", config=CostConfig, call=lambda config, options: _estimate(config, options, load)
    )


def _estimate(config: CostConfig, options: RunOptions, load: Callable[[str], Any]) -> list[str]:
    steps = read_steps(config.recipe, config.set, options, load)
    own = [(target, settings) for target, settings, where in steps if where.work == options.work]
    makers = [(target, settings) for target, settings in own if isinstance(target, Stage)]
    if not any(target.name == "ingest" for target, _ in makers):
        raise V2VError(
            "table-missing", f"Recipe {config.recipe} has no table [ingest].", "Give a recipe that starts from footage."
        )
    out = None if config.json_file is None else Path(str(as_absolute(config.json_file)))
    if out is not None:
        Folder(str(out.parent)).refuse_unwritable()
    rows: list[StageCost] = []
    problems = [f"{counted(len(steps) - len(own), 'table')} of other workspaces: not estimated"] * (
        len(own) < len(steps)
    )
    problems += [f"{target.name}: not estimated" for target, _ in own if not isinstance(target, Stage)]
    frames, fps = 0.0, Fraction(0)
    with tempfile.TemporaryDirectory(prefix="v2v-cost-") as folder:
        first, short, long = (
            RunOptions(work=str(Path(folder) / name), workers=1) for name in ("first", "short", "long")
        )
        for target, given in makers:
            try:
                if isinstance(target.make, PerClip):
                    _measure(target, _cut(target, given, config.sample // 4), first)  # loads libraries
                    before = _measure(target, _cut(target, given, config.sample // 4), short)
                    after = _measure(target, _cut(target, given, config.sample), long)
                    if target.name == "ingest":
                        fps = _rate(Folder(long.work) / "frames")
                        frames = config.hours * 3600 * float(fps)
                    rows.append(_scaled(target, given, before, after, frames))
                elif target.name == "train":
                    rows += _training(target, given, long, frames)
                else:
                    problems.append(f"{target.name}: not estimated")
            except V2VError as error:
                if target.name == "ingest":  # nothing else can be measured
                    raise
                problems.append(f"{target.name}: not estimated. {error}")
    click.echo(_table(rows, config.hours, fps, frames))
    if out is not None:
        found = {
            "hours": config.hours,
            "fps": str(fps),
            "frames": round(frames),
            "stages": [asdict(row) for row in rows],
        }
        Folder(str(out.parent)).write(out.name, (json.dumps(found, indent=2) + "\n").encode())
    return problems


def _cut(target: Stage, config: Any, num_frames: int) -> Any:
    """The settings for a sample of that many frames of every source."""
    if target.name != "ingest":
        return config
    return config.model_copy(update={"max_frames": min(num_frames, config.max_frames or num_frames)})


def _measure(target: Stage, config: Any, options: RunOptions) -> _Sample:
    cpu, start = time.process_time(), time.perf_counter()
    run(target, config, options)
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - start
    work = Folder(options.work)
    made = [read_manifest(work / kind) for kind in (target.output(config), *target.side_outputs(config))]
    found: list[Manifest] = [manifest for manifest in made if manifest is not None]
    return _Sample(cpu, elapsed, found[0].num_frames, sum(entry.bytes for of in found for entry in of.shards))


def _rate(folder: Folder) -> Fraction:
    """Average frames per second of the clips."""
    manifest = read_manifest(folder)
    if manifest is None or not manifest.clips:
        raise V2VError(
            "clips-missing",
            "The sample has no clip, so nothing can be measured.",
            "Give a larger --sample, or name longer sources with --set ingest.sources=...",
        )
    seconds = sum((clip.num_frames / Fraction(clip.fps) for clip in manifest.clips), Fraction(0))
    return (manifest.num_frames / seconds).limit_denominator(1001)


def _scaled(target: Stage, config: Any, short: _Sample, long: _Sample, frames: float) -> StageCost:
    """The cost for all frames. The difference of two samples leaves out the time to open estimators."""
    more = long.frames - short.frames

    def hours(before: float, after: float) -> float:
        rate = (after - before) / more if more > 0 and after > before else after / max(1, long.frames)
        return rate * frames / 3600

    return StageCost(
        target.name,
        ", ".join((target.output(config), *target.side_outputs(config))),
        round(long.bytes / max(1, long.frames) * frames),
        hours(short.cpu, long.cpu),
        hours(short.elapsed, long.elapsed),
    )


def _training(target: Stage, config: Any, options: RunOptions, frames: float) -> list[StageCost]:
    """Training by its measured steps: the time of an epoch grows with the frames, or is what `--budget` allows."""
    from v2vkit.stages.train_plan import time_training

    rows = []
    for part in target.parts(config):
        work = Folder(options.work)
        settings: Any = resolved(target, part, options)
        found = time_training(settings, work)
        seconds, budget = found.seconds * frames / found.num_frames, settings.schedule.budget
        if budget is not None:
            seconds = min(seconds, budget.seconds)
        rows.append(
            StageCost(
                target.name,
                target.output(settings),
                hours=seconds / 3600,
                device=found.device,
                memory_bytes=found.peak_bytes,
            )
        )
    return rows


def _table(rows: list[StageCost], hours: float, fps: Fraction, frames: float) -> str:
    lines = [f"{hours:g} hours at {float(fps):g} frames per second: {frames:,.0f} frames"]
    lines.append(f"{'stage':16}{'artifact':26}{'size':>12}{'core-hours':>14}  training")
    for row in rows:
        cores = "" if row.core_hours is None else f"{row.core_hours:,.1f}"
        memory = f"{row.memory_bytes / 2**30:.1f} GiB"
        trained = f"{row.hours:,.1f} hours of one process on {row.device}, {memory}" if row.device else ""
        size = _size(row.bytes) if row.bytes else ""
        lines.append(f"{row.stage:16}{row.artifacts:26}{size:>12}{cores:>14}  {trained}".rstrip())
    total = sum(row.core_hours or 0 for row in rows)
    lines.append(f"{'total':42}{_size(sum(row.bytes for row in rows)):>12}{total:>14,.1f}")
    estimated = [row for row in rows if row.core_hours is not None]
    lines.append(
        f"measured with {counted(len(estimated), 'stage')} on one core of this machine; other data costs other time."
    )
    return "\n".join(lines)


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.3g} PB"
