"""Resuming the last snapshot with changed settings (`--continue`): which may change, and from what it goes on.

What is kept is the snapshot: weights, moments, EMA, and the place in the schedule, read by the new schedule.
"""

from collections.abc import Mapping

from v2vkit.artifacts.folder import Folder
from v2vkit.artifacts.manifest import Manifest
from v2vkit.checkpoint.snapshot import Progress, read_progress
from v2vkit.config import as_plain
from v2vkit.errors import V2VError
from v2vkit.training.config import TrainConfig
from v2vkit.training.methods.registry import method_spec
from v2vkit.training.terms import may_change

_FREE = ("epochs", "budget", "decay", "learning_rate", "double_every", "max_frames")
"""Settings that may change, besides weights of losses."""


def fixed_changes(config: TrainConfig, old: Manifest, changed: Mapping[str, str]) -> list[str]:
    """Phrases for those of the changes with which a snapshot would not fit, or come from something else."""
    terms = method_spec(config.method).losses(config)

    def free(name: str) -> bool:
        return name in _FREE or (
            name in old.config and may_change(terms, name, old.config[name], as_plain(config)[name])
        )

    return [phrase for name, phrase in changed.items() if not free(name)]


def continued_snapshot(config: TrainConfig, old: Manifest, changed: Mapping[str, str], folder: Folder) -> str:
    """The checksum of the snapshot that is resumed with these settings.

    Args:
        old: of the training that is there, finished or not.
        changed: setting or input that is another than in `old` -> phrase that says so.

    Raises:
        V2VError: a change does not fit the snapshot, there is none, it is damaged, or the schedule is over with it.
    """
    if fixed := fixed_changes(config, old, changed):
        free = ", ".join(config.flag(name) for name in _FREE)
        raise V2VError(
            f"--continue cannot go on with the training in {folder.url} after these changes: {', '.join(fixed)}.",
            f"It can change {free} and weights of losses that are on. {another_start(config)}",
        )
    progress = read_progress(folder)
    if progress is None or not _belongs(progress, old):
        raise V2VError(
            f"The training in {folder.url} has left no snapshot to go on from.",
            "Give --overwrite instead of --continue.",
        )
    refuse_finished(config, progress, folder, epochs=fitted_epochs(config, progress) or config.schedule.epochs)
    return progress.sha256


def fitted_epochs(config: TrainConfig, progress: Progress) -> int | None:
    """The epochs that this budget was found to leave of this schedule when the training of the snapshot began.

    None = it was another budget or another number of epochs, or no budget.
    """
    asked, fitted = config.schedule, progress.fitted
    same = fitted is not None and (fitted.budget, fitted.full_epochs) == (str(asked.budget), asked.epochs)
    return fitted.epochs if same and fitted is not None else None


def refuse_finished(config: TrainConfig, progress: Progress, folder: Folder, *, epochs: int) -> None:
    """Whether epochs are left after a snapshot.

    Raises:
        V2VError: none are.
    """
    if progress.epoch >= epochs:
        raise V2VError(
            "training-finished",
            f"The training in {folder.url} has done {progress.epoch} epochs; with these settings there are "
            f"{epochs}, and nothing is left to train.",
            "Raise --epochs." if config.schedule.budget is None else "Raise --budget or --epochs.",
        )


def _belongs(progress: Progress, old: Manifest) -> bool:
    """Whether a snapshot is of that training, or the one that it was itself continued from."""
    return progress.fingerprint == old.fingerprint or progress.sha256 in old.inputs.values()


def advice(config: TrainConfig, old: Manifest, changed: Mapping[str, str]) -> str:
    """What to do about a training with other settings."""
    if not fixed_changes(config, old, changed):
        return (
            "Add --continue to train it on with the new settings, or --overwrite to train anew; the old ones keep it."
        )
    return f"{another_start(config)} The old settings keep it."


def another_start(config: TrainConfig) -> str:
    """How to begin with a model and to write in place of the one that is there."""
    if config.start_from:
        return f"Add --overwrite to write what is trained from {config.start_from} in its place."
    return (
        "Add --overwrite to train anew in its place; to begin with its weights, copy its folder and add "
        "`--start-from COPY --overwrite`."
    )
